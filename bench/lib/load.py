"""The load: one thread, one epoll, thousands of connections, every answer checked.

``UnaryLoad`` is a closed loop: each connection sends its next request when the
answer to the last one is whole and right. ``StreamLoad`` opens many streams and
reads them all to their end. Both raise AnswerError at the first wrong byte.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import itertools
import random
import resource
import select
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import httptools

from bench.lib import shape
from bench.lib.verify import AnswerCheck, AnswerError, DeltaCheck, EndWatch, Reply

READ_BYTES = 65_536
BURST_READ_BYTES = 1 << 20  # one stream at full speed: fewer turns for us
CONNECTING_MAX = 64  # connects under way; more would measure the backlog
OPENING_PAUSE_S = 0.002  # while the ramp lasts, it is looked at this often
SILENCE_MAX_S = 30.0  # nothing from anyone for this long: say so instead of hanging
FILES_MAX = 65_536  # 32,000 streams through a gateway, which has two sockets each


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and the key they carry."""

    host: str
    port: int
    key: str = field(default="none", repr=False)

    def request(self, directive: shape.Directive, *, prompt_bytes: int = 0) -> bytes:
        """The bytes of one request to this target."""
        host = f"{self.host}:{self.port}"
        return shape.request(
            directive, host=host, key=self.key, prompt_bytes=prompt_bytes
        )


@dataclass(frozen=True, slots=True)
class UnaryResult:
    """What a closed loop saw between its first send and its last answer."""

    requests: int
    elapsed_s: float
    latencies_ns: array[int]

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.elapsed_s

    def latency_us(self, quantile: float) -> float:
        """From send to the last byte of the answer."""
        return quantile_of(self.latencies_ns, quantile) / 1e3


def quantile_of(values: array[int], quantile: float) -> int:
    """The value below which ``quantile`` of them lie (nearest rank)."""
    if not values:
        raise ValueError("no values to take a quantile of")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def allow_files() -> int:
    """Raise this process's limit of open files as far as it goes; return it.

    What is started afterwards inherits it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if most < FILES_MAX:
        with contextlib.suppress(ValueError, OSError):  # Root alone may.
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
            return FILES_MAX
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


class _Caller:
    """One connection of the closed loop."""

    __slots__ = ("check", "reply", "request", "sent_ns", "sock")

    def __init__(self, sock: socket.socket, request: bytes, tag: str) -> None:
        self.sock = sock
        self.request = request
        self.reply = Reply()
        self.check = AnswerCheck(tag)
        self.sent_ns = 0


class UnaryLoad:
    """A closed loop over keep-alive connections; a context manager."""

    def __init__(
        self, target: Target, connections: int, *, prompt_bytes: int = 0
    ) -> None:
        self._epoll = select.epoll()
        self._callers: dict[int, _Caller] = {}
        for number in range(connections):
            sock = socket.create_connection((target.host, target.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tag = f"c{number}"
            request = target.request(shape.Directive(tag), prompt_bytes=prompt_bytes)
            self._callers[sock.fileno()] = _Caller(sock, request, tag)
            self._epoll.register(sock, select.EPOLLIN)

    def __enter__(self) -> Self:
        """Return the load, connected."""
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self._callers.values():
            caller.sock.close()
        self._epoll.close()

    def run(self, duration_s: float) -> UnaryResult:
        """Keep every connection busy for a while, then let the last answers come."""
        latencies_ns = array("q")
        clock = time.perf_counter_ns
        start_ns = clock()
        until_ns = start_ns + int(duration_s * 1e9)
        for caller in self._callers.values():
            caller.sent_ns = clock()
            caller.sock.sendall(caller.request)
        busy = len(self._callers)
        last_ns = start_ns
        while busy:
            ready = self._epoll.poll(SILENCE_MAX_S)
            if not ready:
                raise AnswerError(f"silence for {SILENCE_MAX_S} s, {busy} unanswered")
            for fd, _ in ready:
                caller = self._callers[fd]
                data = caller.sock.recv(READ_BYTES)
                if not data:
                    raise AnswerError("the connection was closed")
                body = caller.reply.body_of(data)
                if body is None:
                    continue
                caller.check.check(caller.reply.status, body)
                last_ns = clock()
                latencies_ns.append(last_ns - caller.sent_ns)
                if last_ns < until_ns:
                    caller.sent_ns = last_ns
                    caller.sock.sendall(caller.request)
                else:
                    busy -= 1
        elapsed_s = (last_ns - start_ns) / 1e9
        return UnaryResult(len(latencies_ns), elapsed_s, latencies_ns)


@dataclass(slots=True)
class Seen:
    """How late deltas came, and how far apart."""

    delays_ns: array[int] = field(default_factory=lambda: array("q"))
    gaps_ns: array[int] = field(default_factory=lambda: array("q"))

    def delay_ms(self, quantile: float) -> float:
        """A delta's way: from the mock's write to our read."""
        return quantile_of(self.delays_ns, quantile) / 1e6

    def gap_ms(self, quantile: float) -> float:
        """Between a delta and the next, as a reader sees them."""
        return quantile_of(self.gaps_ns, quantile) / 1e6


@dataclass(slots=True)
class StreamResult:
    """What the readers of many streams saw; every stream came whole, as far as read.

    ``steady`` is what they saw once all of them were open. ``left`` hung up early,
    ``stalled`` stopped reading; both by our own choice.
    """

    streams: int
    deltas: int
    steady: Seen = field(default_factory=Seen)
    seen: Seen = field(default_factory=Seen)
    deltas_steady: int = 0
    elapsed_s: float = 0.0
    open_peak: int = 0
    left: int = 0
    stalled: int = 0
    first_ns: array[int] = field(default_factory=lambda: array("q"))

    def first_ms(self, quantile: float) -> float:
        """From the request to the first content."""
        return quantile_of(self.first_ns, quantile) / 1e6


class _Reader:
    """One stream: connects, asks, reads deltas."""

    __slots__ = (
        "check",
        "ended",
        "leaves_at",
        "now_ns",
        "number",
        "parser",
        "sent_ns",
        "sock",
        "stalls_at",
        "tag",
    )

    def __init__(self, sock: socket.socket, number: int, deltas: int) -> None:
        self.sock = sock
        self.leaves_at = self.stalls_at = deltas + 1  # After so many deltas: never.
        self.number = number
        self.tag = f"s{number}"
        self.check = DeltaCheck(self.tag, deltas)
        self.parser = httptools.HttpResponseParser(self)
        self.sent_ns = 0
        self.now_ns = 0
        self.ended = False

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take bytes of the connection."""
        self.now_ns = now_ns
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None  # ours, from on_body

    def on_body(self, data: bytes) -> None:
        """Parser callback."""
        status = self.parser.get_status_code()
        if status != 200:
            raise AnswerError(f"status {status}: {data[:200]!r}")
        self.check.feed(data, self.now_ns)

    def on_message_complete(self) -> None:
        """Parser callback."""
        self.check.finish()
        self.ended = True


class StreamLoad:
    """Many streams at a fixed pace, all read to the end.

    But those that misbehave: ``leaving`` and ``stalled`` are shares of all streams.
    They do so at a random delta, and not before all streams are open. The streams open
    at random moments of the ramp, as users come; evenly spaced ones would fall into
    step with each other, a whole crowd of deltas to the same millisecond. The first
    ``warm`` ones do not count for the time to the first content.
    """

    def __init__(
        self,
        target: Target,
        *,
        streams: int,
        deltas: int,
        gap_us: int,
        ramp_s: float,
        leaving: float = 0.0,
        stalled: float = 0.0,
        warm: int = 0,
        seed: int = 0,
    ) -> None:
        chance = random.Random(seed)
        self._opens_s = sorted(chance.uniform(0, ramp_s) for _ in range(streams))
        self._warm = warm
        wayward = chance.sample(range(streams), round(streams * (leaving + stalled)))
        self._stalls = set(wayward[: round(streams * stalled)])
        self._leaves = set(wayward[len(self._stalls) :])
        self._chance = chance
        self._stalled: list[_Reader] = []
        self._target = target
        self._streams = streams
        self._deltas = deltas
        self._gap_us = gap_us
        self._numbers = itertools.count()
        self._epoll = select.epoll()
        self._asking: dict[int, _Reader] = {}  # connecting
        self._open: dict[int, _Reader] = {}
        self._waiting_first = streams
        self._open_ns = 0  # when all were open
        self._delivered = 0  # deltas of those that ended or left
        self._result = StreamResult(streams, deltas)

    def run(
        self,
        on_all_open: Callable[[], None] = lambda: None,
        on_first_end: Callable[[], None] = lambda: None,
    ) -> StreamResult:
        """Open, read and check them all.

        ``on_all_open`` is called once, when every stream has had its first content
        and all of them are open: the moment to look at the gateway's memory.
        ``on_first_end`` is called once, when the first has come to its end: between
        the two nothing but deltas costs anything (and whoever leaves early).
        """
        allow_files()
        try:
            return self._run(on_all_open, on_first_end)
        finally:
            asking, reading = self._asking.values(), self._open.values()
            for reader in (*asking, *reading, *self._stalled):
                reader.sock.close()
            self._epoll.close()

    def _run(
        self, on_all_open: Callable[[], None], on_first_end: Callable[[], None]
    ) -> StreamResult:
        result = self._result
        start_ns = heard_ns = time.monotonic_ns()
        started = ended = 0
        came = 0
        told = False
        while ended + len(self._stalled) < self._streams:
            due = self._due(time.monotonic_ns() - start_ns)
            while started < due and len(self._asking) < CONNECTING_MAX:
                self._connect()
                started += 1
            pause_s = OPENING_PAUSE_S if started < self._streams else 1.0
            for fd, _ in self._epoll.poll(pause_s):
                heard_ns = time.monotonic_ns()
                ended += self._turn(fd, heard_ns)
            result.open_peak = max(result.open_peak, len(self._open))
            if not told and not self._waiting_first:
                told = True
                self._open_ns = heard_ns
                came = sum(reader.check.next for reader in self._open.values())
                came += ended * self._deltas
                on_all_open()
            if told and not result.deltas_steady and ended > result.left:
                result.deltas_steady = self._came() - came
                on_first_end()
            if time.monotonic_ns() - heard_ns > SILENCE_MAX_S * 1e9:
                raise AnswerError(
                    f"silence for {SILENCE_MAX_S} s, {len(self._open)} streams open"
                )
        result.elapsed_s = (time.monotonic_ns() - start_ns) / 1e9
        result.stalled = len(self._stalled)
        return result

    def _came(self) -> int:
        """Deltas that were read so far, of whomever."""
        reading = (*self._open.values(), *self._stalled)
        return self._delivered + sum(reader.check.next for reader in reading)

    def _due(self, since_ns: int) -> int:
        return bisect.bisect_right(self._opens_s, since_ns / 1e9)

    def _connect(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex((self._target.host, self._target.port))
        number = next(self._numbers)
        reader = _Reader(sock, number, self._deltas)
        if number in self._leaves:
            reader.leaves_at = self._chance.randrange(self._deltas)
        elif number in self._stalls:
            reader.stalls_at = self._chance.randrange(self._deltas)
        self._asking[sock.fileno()] = reader
        self._epoll.register(sock, select.EPOLLOUT)

    def _turn(self, fd: int, now_ns: int) -> bool:
        """Serve one ready descriptor; True when its stream ended."""
        reader = self._open.get(fd)
        if reader is None:
            self._ask(self._asking.pop(fd), fd, now_ns)
            return False
        data = reader.sock.recv(READ_BYTES)
        if not data:
            raise AnswerError(f"the connection was closed at {reader.check!r}")
        before = reader.check.next
        reader.feed(data, now_ns)
        if not before and reader.check.next:
            if reader.number >= self._warm:
                self._result.first_ns.append(now_ns - reader.sent_ns)
            self._waiting_first -= 1
        if not reader.ended:
            if not self._open_ns:
                return False
            if reader.check.next > reader.stalls_at:
                del self._open[fd]
                self._epoll.unregister(fd)
                self._stalled.append(reader)
                return False
            if reader.check.next <= reader.leaves_at:
                return False
            self._result.left += 1
        self._take(reader)
        del self._open[fd]
        reader.sock.close()  # which takes it out of the epoll, too
        return True

    def _ask(self, reader: _Reader, fd: int, now_ns: int) -> None:
        failed = reader.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise AnswerError(f"connect: {errno.errorcode.get(failed, failed)}")
        directive = shape.Directive(
            reader.tag, stream=True, deltas=self._deltas, gap_us=self._gap_us
        )
        reader.sock.send(self._target.request(directive))  # a kilobyte: fits
        reader.sent_ns = now_ns
        self._open[fd] = reader
        self._epoll.modify(fd, select.EPOLLIN)

    def _take(self, reader: _Reader) -> None:
        self._delivered += reader.check.next
        times_ns = reader.check.seen_ns
        delays_ns = reader.check.delays_ns
        gaps_ns = [later - sooner for sooner, later in itertools.pairwise(times_ns)]
        self._result.seen.delays_ns.extend(delays_ns)
        self._result.seen.gaps_ns.extend(gaps_ns)
        if self._open_ns:
            start = bisect.bisect_right(times_ns, self._open_ns)
            self._result.steady.delays_ns.extend(delays_ns[start:])
            self._result.steady.gaps_ns.extend(gaps_ns[start:])


def burst(target: Target, deltas: int) -> float:
    """Read one stream as fast as it comes; return deltas a second.

    The clock runs from the first byte to the last. Checking comes after it, so that
    what is measured is the gateway and not this reader.
    """
    directive = shape.Directive("s0", stream=True, deltas=deltas)
    pieces: list[bytes] = []
    with socket.create_connection((target.host, target.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(SILENCE_MAX_S)
        sock.sendall(target.request(directive))
        end = EndWatch()
        pieces.append(sock.recv(READ_BYTES))
        start_ns = time.monotonic_ns()
        while not end.reached(pieces[-1]):
            pieces.append(sock.recv(BURST_READ_BYTES))
        elapsed_s = (time.monotonic_ns() - start_ns) / 1e9
    reader = _Reader(sock, 0, deltas)
    for piece in filter(None, pieces):
        reader.feed(piece, 0)
    if not reader.ended:
        raise AnswerError(f"the connection was closed at {reader.check!r}")
    return deltas / elapsed_s
