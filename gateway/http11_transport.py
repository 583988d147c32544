"""One accepted socket, plain or TLS: reads, bounded writes, and their deadline.

Owns: the socket, what the kernel has not taken yet, and the news that the peer has
gone. Never: looks inside what it carries. It talks to: runtime.poller.
"""

import contextlib
import errno
import socket
import ssl
import struct
from collections.abc import Callable
from math import inf

import trio
from msgspec import Struct
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from gateway.http11_timers import Timers
from runtime.poller import BROKEN, GONE, READABLE, Poller

TURNS_IN_A_ROW_MAX = 16  # Reads and writes; a fast peer must not starve the rest.

TLS_RECORD_BYTES = 16_384  # RFC 8446 section 5.1.
RESET = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds.

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class EdgeDeadlines(Struct, frozen=True, kw_only=True):
    """How long the edge waits for a client, each with its reason."""

    handshake_s: float = 10.0  # TLS over a slow phone: two round trips, with margin.
    head_s: float = 10.0  # From the first byte of a request to the end of its head.
    idle_s: float = 75.0  # Longer than the 60 s of usual balancers: they close first.
    body_s: float = 30.0  # To which each body_rate_min bytes add a second.
    body_rate_min: int = 1_024  # Apache's mod_reqtimeout asks for 500 bytes/s.
    write_s: float = 30.0  # No byte waits longer for the peer to make room.
    ping_s: float = 20.0  # WebSockets: below the 30 s of mobile NATs and proxies.
    linger_s: float = 2.0  # Reading on after a refusal, so that it is not reset away.
    stop_s: float = 30.0  # A graceful stop; then what still runs is cancelled.


class ClientGone(OSError):
    """The client left or stopped reading; nothing more can be sent to it."""


class Transport:
    """One accepted socket, plain or TLS, for one reader and one writer.

    Writing: what the kernel does not take at once is kept, at most
    `unsent_bytes_max`, and goes out with the next write or as soon as the peer makes
    room, whichever is first: so small writes to a busy peer travel together. A byte
    that waits longer than the write deadline ends the connection.
    """

    __slots__ = (
        "_goal_bytes",
        "_in_a_row",
        "_interrupted",
        "_parked_reader",
        "_parked_writers",
        "_poller",
        "_sent_bytes",
        "_stuck",
        "_tls",
        "_unsent",
        "_unsent_bytes_max",
        "broken",
        "clock",
        "closed",
        "fd",
        "gone",
        "on_gone",
        "readable",
        "sock",
        "why_broken",
        "write_s",
    )

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        timers: Timers,
        *,
        unsent_bytes_max: int,
        write_s: float,
    ) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.write_s = write_s
        self.readable = True
        self.gone = False  # The peer has closed its side, or the connection broke.
        self.broken = False  # Nothing can be sent any more.
        self.closed = False
        self.on_gone: Callable[[], None] | None = None
        self.why_broken = ""
        self._poller = poller
        # As trio.current_time, without its layers: it is read with each write.
        self.clock: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._stuck = timers.kind("write")
        self._unsent = bytearray()
        self._unsent_bytes_max = unsent_bytes_max
        self._sent_bytes = 0
        self._goal_bytes = 0
        self._in_a_row = 0
        self._interrupted = False
        self._parked_reader: trio.lowlevel.Task | None = None
        self._parked_writers: list[trio.lowlevel.Task] = []  # One, and one draining.
        poller.add(self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "broken" if self.broken else "open"
        gone = " gone" if self.gone else ""
        return f"<Transport fd={self.fd} {state}{gone} unsent={self.unsent_bytes}>"

    @property
    def unsent_bytes(self) -> int:
        """Bytes written here and not yet taken by the kernel."""
        return len(self._unsent)

    @property
    def write_deadline(self) -> float:
        """When the connection is dropped unless the peer reads; inf when it does."""
        since = self._stuck.get(self)
        return inf if since is None else since + self.write_s

    # Reading.

    async def receive(self, bytes_max: int) -> bytes:
        """Read what is there, or wait; b"" at the end, or after `interrupt`."""
        if self.readable:
            await self._take_turns()  # Before the read: a cancellation loses nothing.
        while not (self.closed or self.broken):
            if self.readable or self._interrupted:
                try:
                    data = self.sock.recv(bytes_max)
                except _WOULD_BLOCK:
                    self.readable = False
                    if self._interrupted:
                        self._interrupted = False
                        return b""
                    continue
                except OSError as error:
                    self._break(f"reading failed: {errno_name(error)}")
                    return b""
                if len(data) < bytes_max and not self._tls and not self.gone:
                    # A short read has drained a stream socket (epoll(7)); what
                    # comes later raises a new edge, a hang-up included.
                    self.readable = False
                self._interrupted = False
                return data
            await self._park_reader()
        return b""

    async def _take_turns(self) -> None:
        """Cancellation always, a turn for the others now and then: it costs 2 us."""
        self._in_a_row += 1
        if self._in_a_row < TURNS_IN_A_ROW_MAX:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()

    def interrupt(self) -> None:
        """Wake a waiting read, which returns b"" unless something has just come.

        So a request that crosses the end of an idle connection is not thrown away.
        """
        if self._parked_reader is not None:
            self._interrupted = True
            self._wake_reader()

    async def _park_reader(self) -> None:
        assert self._parked_reader is None, "one reader at a time"
        self._in_a_row = 0
        self._parked_reader = current_task()

        def abort(_: object) -> Abort:
            self._parked_reader = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def _wake_reader(self) -> None:
        task = self._parked_reader
        if task is not None:
            self._parked_reader = None
            reschedule(task)

    # Writing.

    async def write(self, data: bytes) -> None:
        """Send; wait only while more than the bound is unsent.

        Raises:
            ClientGone: the connection broke, or a byte waited past its deadline.
        """
        if self.broken:
            raise ClientGone(self.why_broken)
        sent = 0 if self._unsent else self._send_now(data)
        if sent == len(data):
            await self._take_turns()
        else:
            await self._write_rest(memoryview(data)[sent:])

    def write_now(self, data: bytes) -> bool:
        """Send without waiting; False when nothing was taken and `write` has to.

        What the kernel refuses of it is kept, within the bound, like `write`'s.
        """
        if self.broken or self._unsent or len(data) > self._unsent_bytes_max:
            return False
        sent = self._try_send(data)
        if sent == len(data):
            return True
        more, view = sent, memoryview(data)
        while more and sent < len(data):  # To its refusal, see `_write_rest`.
            more = self._try_send(view[sent:])
            sent += more
        if sent < len(data):
            self._keep(view[sent:])
        return True

    def _keep(self, refused: memoryview) -> None:
        if not self.broken:
            self._unsent += refused
            self._mark_stuck()

    async def _write_rest(self, rest: memoryview) -> None:
        """Buffer within the bound, wait for room for what is over it.

        Invariant: what is in the buffer has been refused by the kernel. Only a
        refusal arms the next edge; bytes it was never offered would lie for ever.
        """
        try:
            while True:
                if self.broken:
                    raise ClientGone(self.why_broken)
                if not self._unsent:
                    rest = rest[self._send_now(rest) :]
                room = self._unsent_bytes_max - len(self._unsent)
                if rest and room > 0:
                    self._unsent += rest[:room]
                    rest = rest[room:]
                    if self not in self._stuck:
                        self._mark_stuck()
                if not rest:
                    await trio.lowlevel.checkpoint()
                    return
                await self._park_writer()
        except trio.Cancelled:
            if rest:
                # Half a chunk cannot be completed later: the framing is lost.
                self._break("a write was cancelled half-way")
            raise

    async def drain(self) -> None:
        """Wait until the kernel has everything; at most the write deadline."""
        while self._unsent and not self.broken:
            await self._park_writer()

    def _send_now(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes, up to its first refusal."""
        sent = self._try_send(data)
        if self._tls:
            more, view = sent, memoryview(data)  # One call is one record at most.
            while more and sent < len(data):
                more = self._try_send(view[sent:])
                sent += more
        return sent

    def _try_send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            if self._tls and len(data) > TLS_RECORD_BYTES:
                # OpenSSL wants to be asked for at least as much again after it could
                # not write: a record at a time, which the bound always holds.
                return self.sock.send(memoryview(data)[:TLS_RECORD_BYTES])
            return self.sock.send(data)
        except _WOULD_BLOCK:
            return 0
        except OSError as error:
            self._break(f"writing failed: {errno_name(error)}")
            return 0

    def _flush(self) -> None:
        """The peer made room: send on. Called by the poller, so it never waits."""
        unsent = self._unsent
        while unsent and not self.broken:
            sent = self._try_send(unsent)
            if sent == 0:
                break
            del unsent[:sent]
            self._sent_bytes += sent
        if not unsent:
            self._stuck.pop(self, None)
        elif self._sent_bytes >= self._goal_bytes:
            self._mark_stuck()
        if len(unsent) < self._unsent_bytes_max:
            self._wake_writers()

    def _mark_stuck(self) -> None:
        """From now, all that is unsent has `write_s` to leave."""
        self._stuck.pop(self, None)
        self._stuck[self] = trio.current_time()
        self._goal_bytes = self._sent_bytes + len(self._unsent)

    async def _park_writer(self) -> None:
        task = current_task()
        self._parked_writers.append(task)

        def abort(_: object) -> Abort:
            self._parked_writers.remove(task)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def _wake_writers(self) -> None:
        parked, self._parked_writers = self._parked_writers, []
        for task in parked:
            reschedule(task)

    # News, from the poller and the sweeper.

    def on_events(self, events: int) -> None:
        """Take note of what epoll says; wake whoever waits for it."""
        if events & READABLE or events & GONE or self._tls:
            self.readable = True
        if events & GONE and not self.gone:
            self.gone = True
            if self.on_gone is not None:
                self.on_gone()
        if events & BROKEN:
            self._break("the client closed the connection")
        elif self._unsent:
            self._flush()
        if self.readable:
            self._wake_reader()

    def expire(self, kind: str) -> None:
        """Write deadline: the peer has stopped reading."""
        assert kind == "write"
        self._break(f"the client read nothing for {self.write_s:g} s")

    def _break(self, why: str) -> None:
        """Give up both directions and wake everyone."""
        if self.broken:
            return
        self.broken = self.readable = True
        self.why_broken = why
        self._unsent.clear()
        self._stuck.pop(self, None)
        if not self.gone:
            self.gone = True
            if self.on_gone is not None:
                self.on_gone()
        self._wake_reader()
        self._wake_writers()

    def abort(self, why: str) -> None:
        """Break the connection at once, from any task; its own task closes it."""
        self._break(why)

    def close(self) -> None:
        """Close the socket. Never waits; `drain` first if what was sent matters."""
        if self.closed:
            return
        self._poller.remove(self)
        self.closed = True
        if self.broken:
            # Reset: what the kernel still holds for a stuck peer is dropped too.
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()  # Sends close_notify; we do not wait for theirs.
        self.on_gone = None
        self._break("closed here")
        self.sock.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent; the peer's bytes may still come."""
        if not self._unsent and not self.broken and not self._tls:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    async def handshake(self) -> None:
        """TLS's handshake; returns at once for a plain socket.

        Raises:
            OSError: it failed, ssl.SSLError included.
        """
        sock = self.sock
        if not isinstance(sock, ssl.SSLSocket):
            return
        while True:
            try:
                sock.do_handshake()
            except _WOULD_BLOCK:
                self.readable = False
                await self._park_reader()
                if self.broken:
                    raise ClientGone(self.why_broken) from None
            else:
                return


def errno_name(error: OSError) -> str:
    """ECONNRESET and the like: what an operator can look up."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or type(error).__name__)
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
