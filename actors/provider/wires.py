"""Sockets as the transport wants them: send, receive, close at once.

A `Wire` is less than a trio stream: its `close` is synchronous (so that cleaning up
after a cancel needs no shield and no checkpoint), it can say whether an idle peer hung
up, and it reads only when asked. dial.py makes them, tls_wire.py adds TLS.

Who only passes bytes on can have them handed over as they come (`flow`), without a task
being woken for each: most of what a delta costs is waiting for it.

Owns nothing beyond the one socket. Never retries.
"""

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

import trio
from outcome import Error, Outcome, Value
from trio.lowlevel import Abort, Task, current_task, wait_task_rescheduled

from runtime.poller import GONE, READS, poller_here

# One read. Larger does not pay (a TLS record is 16 KiB, a delta 200 bytes); it is also
# what an open stream may hold of a body that its consumer has not asked for yet.
READ_BYTES: Final = 32_768
# A half-open peer is found in about two minutes, below the patience of most NATs.
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 20
KEEPALIVE_PROBES: Final = 3

# What a wire raises when the peer or the network failed. ssl.SSLError is an OSError.
WIRE_FAULTS: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

PhaseHook: TypeAlias = Callable[[str], object]
# Takes what came, b"" at the end; whether it wants more. It must not wait, and what it
# raises is raised in the task that asked for the flow.
Take: TypeAlias = Callable[[bytes], bool]


class Origin(NamedTuple):
    """Where a connection leads."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Wire(Protocol):
    """One connected byte stream."""

    @property
    def secure(self) -> bool:
        """TLS, with the certificate and the server's name verified."""
        ...

    async def send_all(self, data: bytes | bytearray) -> None:
        """Write all of it."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes, at most READ_BYTES; empty at the end of the stream."""
        ...

    async def flow(self, take: Take) -> None:
        """Give `take` what comes, as it comes, until it has had enough.

        It also returns, perhaps at once, where there is more than `take` should be
        given in a row, or the end is near: then `receive`, and come back.
        """
        ...

    def quiet(self) -> bool:
        """Whether an idle wire is still usable: nothing came, nobody hung up."""
        ...

    def close(self) -> None:
        """Close the socket now; harmless when repeated."""
        ...

    def get_extra_info(self, info: str) -> object:
        """What httpx's `network_stream` extension tells about the connection."""
        ...


class Dial(Protocol):
    """Makes wires; tests and unusual networks bring their own."""

    async def __call__(
        self, origin: Origin, tls: ssl.SSLContext | None, phase: PhaseHook
    ) -> Wire:
        """Connect to `origin`, over TLS if a context is given."""
        ...


class SocketWire:
    """A plain TCP connection, driven without trio's stream layers (2 of 3 µs)."""

    __slots__ = (
        "_bytes_max",
        "_ended",
        "_open",
        "_poll",
        "_poller",
        "_readable",
        "_reader",
        "_socket",
        "_take",
        "fd",
    )

    secure: bool = False

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over the stream's descriptor; the stream is of no use afterwards.

        Raises OSError when the system cannot watch one more.
        """
        self._socket = _detach(stream.socket)
        # On some systems a socket that died meanwhile refuses options; its first use
        # will say so.
        with contextlib.suppress(OSError):
            _keep_alive(self._socket)
        self._poll = _hangup_poll(self._socket)
        self._open = True
        self._readable = False  # As far as is known; the poller tells.
        self._ended = False  # The peer will send no more than what is there.
        self._reader: Task | None = None
        self._take: Take | None = None  # Of a reader that has its bytes flow.
        self._bytes_max = READ_BYTES
        self.fd: int = self._socket.fileno()
        self._poller = poller_here()
        try:
            self._poller.add(self, READS)
        except OSError:
            self._socket.close()
            raise

    async def send_all(self, data: bytes | bytearray) -> None:
        """Write all of it."""
        # A checkpoint for cancels only: the read that follows every write yields.
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self.send_nowait(data)
        if sent == len(data):
            return
        with memoryview(data) as view:
            while sent < len(view):
                await trio.lowlevel.wait_writable(self._socket)
                sent += self.send_nowait(view[sent:])

    async def receive(self, bytes_max: int = READ_BYTES) -> bytes:
        """Wait for bytes; empty at the end of the stream."""
        while True:
            if self._readable:
                # Before the read: a cancellation loses nothing.
                await trio.lowlevel.checkpoint()
            else:
                await self._park()
            data = self._read(bytes_max)
            if data is not None:
                return data

    async def flow(self, take: Take, bytes_max: int = READ_BYTES) -> None:
        """See Wire."""
        if self._readable:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        self._take, self._bytes_max = take, bytes_max
        try:
            await self._park()
        finally:
            self._take = None

    def on_events(self, events: int) -> None:
        """The poller's news: wake who waits, or let flow."""
        self._readable = True
        if events & GONE:
            self._ended = True
        take = self._take
        if take is None:
            self._wake(Value(None))
            return
        try:
            data = self._read(self._bytes_max)
            if data is None or (take(data) and not self._readable):
                return
        except Exception as error:  # noqa: BLE001 - it is the reader's
            self._wake(Error(error))
        else:
            self._wake(Value(None))

    def _read(self, bytes_max: int) -> bytes | None:
        try:
            data = self._socket.recv(bytes_max)
        except BlockingIOError:
            self._readable = False
            return None
        # A short read has drained a stream socket (epoll(7)): what comes later is a new
        # edge. But the end's own edge may have come with the last bytes.
        if len(data) < bytes_max and not self._ended:
            self._readable = False
        return data

    async def _park(self) -> None:
        if self._reader is not None:
            raise trio.BusyResourceError("another task reads from this wire")
        self._reader = current_task()

        def abort(_: object) -> Abort:
            self._reader = self._take = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def _wake(self, outcome: Outcome[None]) -> None:
        reader, self._reader = self._reader, None
        self._take = None
        if reader is not None:
            trio.lowlevel.reschedule(reader, outcome)

    def receive_nowait(self, bytes_max: int = READ_BYTES) -> bytes | None:
        """Return what is there already; None if nothing is."""
        try:
            return self._socket.recv(bytes_max)
        except BlockingIOError:
            return None

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Write what fits now; return how much did."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def quiet(self) -> bool:
        """Whether nothing came and nobody hung up."""
        # One syscall a reuse, on a poll object made once a connection.
        return self._open and not self._poll.poll(0)

    def close(self) -> None:
        """Close the socket now."""
        if self._open:
            self._open = False
            self._poller.remove(self)
            trio.lowlevel.notify_closing(self._socket)  # For who waits to write.
            self._socket.close()
            self._wake(Error(trio.ClosedResourceError("this wire was closed")))

    def get_extra_info(self, info: str) -> object:
        """Answer httpx's `network_stream` questions."""
        return _socket_info(self._socket, info) if self._open else None

    def __repr__(self) -> str:
        return f"<SocketWire {'open' if self._open else 'closed'}>"


def _detach(wrapped: trio.socket.SocketType) -> socket.socket:
    plain = socket.socket(
        wrapped.family, wrapped.type, wrapped.proto, fileno=wrapped.detach()
    )
    plain.setblocking(False)
    return plain


def _keep_alive(socket_: socket.socket) -> None:
    if socket_.family not in (socket.AF_INET, socket.AF_INET6):
        return
    socket_.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        option = getattr(socket, name, None)  # Not every system has all three.
        if option is not None:
            socket_.setsockopt(socket.IPPROTO_TCP, option, value)


def _hangup_poll(socket_: socket.socket) -> select.poll:
    poll = select.poll()
    # POLLERR and POLLHUP are always reported.
    poll.register(socket_.fileno(), select.POLLIN)
    return poll


def _socket_info(socket_: socket.socket, info: str) -> object:
    try:
        match info:
            case "server_addr":
                return socket_.getpeername()
            case "client_addr":
                return socket_.getsockname()
            case "socket":
                return socket_
            case _:
                return None
    except OSError:  # The peer is gone already.
        return None
