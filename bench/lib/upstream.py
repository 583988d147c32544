"""A mock OpenAI upstream that is never the slow part: one thread, one epoll.

Answers ``POST /v1/chat/completions`` as the request's message directs (shape.py) and
``GET /counters`` with what it has seen, so that a measurement can tell what a
gateway did behind the client's back: bytes it made the mock write (backpressure),
streams it broke off (cancels), connections it opened (pooling).

    python -m bench.lib.upstream        prints {"port": N}, ends when stdin closes
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import select
import socket
import sys
import time
from typing import TypeVar

import httptools
import msgspec

from bench.lib import shape

READ_BYTES = 65_536
WRITE_BYTES_MAX = 1 << 20  # a turn: one fast reader must not starve the others
BODY_BYTES_MAX = 16 << 20  # a benchmark that sends more is a mistake
BACKLOG = 4_096  # ten thousand streams arrive within seconds
CACHE_MAX = 1_024  # answers kept ready; tags are one a connection
BURSTS_MAX = 4  # up to 40 MB each; a round asks for two

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Counters(msgspec.Struct):
    """What the mock has seen since it started. ``in_flight`` is streams right now."""

    requests: int = 0
    rejected: int = 0
    streams: int = 0
    finished: int = 0
    aborted: int = 0
    aborted_at_ns: int = 0  # By the machine's monotonic clock: the latest.
    in_flight: int = 0
    deltas: int = 0
    connections: int = 0
    connections_open: int = 0
    bytes_written: int = 0


class Incoming:
    """Reads requests off one connection, whole ones as (method, path, body).

    A request that arrives complete, with a content-length, is cut out by hand;
    everything else (chunked bodies, split heads, pipelining) goes to llhttp.
    """

    __slots__ = ("_body", "_parser", "_ready", "_url")

    def __init__(self) -> None:
        self._parser: httptools.HttpRequestParser | None = None
        self._ready: list[tuple[bytes, bytes, bytes]] = []
        self._url = b""
        self._body = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """Take bytes; return the requests that are complete now."""
        if self._parser is None:
            whole = _cut(data)
            if whole is not None:
                return [whole]
            self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)
        ready, self._ready = self._ready, []
        return ready

    def on_message_begin(self) -> None:
        """Parser callback."""
        self._url = b""
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        """Parser callback."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """Parser callback."""
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            raise ValueError(f"body over {BODY_BYTES_MAX} bytes")

    def on_message_complete(self) -> None:
        """Parser callback."""
        assert self._parser is not None
        method = self._parser.get_method()
        self._ready.append((method, self._url, bytes(self._body)))


def _cut(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Cut out the one complete request that ``data`` is, or None if it is not one."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        if not head.startswith(b"get ") or len(data) != end + 4:
            return None
        return b"GET", data.split(b" ", 2)[1], b""
    stop = head.find(b"\r\n", at)
    length = int(head[at + len(_LENGTH) : stop if stop > 0 else end])
    if len(data) != end + 4 + length:
        return None
    method, path, _ = data.split(b" ", 2)
    return method, path, data[end + 4 :]


class Conn:
    """One accepted connection: what it still has to write, and its stream."""

    __slots__ = (
        "blocked",
        "gap_ns",
        "incoming",
        "next",
        "out",
        "sock",
        "start_ns",
        "streaming",
        "tag",
        "total",
        "waiting",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = Incoming()
        self.out = memoryview(b"")
        self.blocked = False  # epoll tells when it takes bytes again
        self.streaming = False
        self.tag = ""
        self.total = 0  # deltas of the stream
        self.next = 0  # the next delta to write
        self.start_ns = 0
        self.gap_ns = 0
        self.waiting = False  # a timer is set for the next delta

    def __repr__(self) -> str:
        at = f"delta {self.next}/{self.total}" if self.streaming else "idle"
        return f"<Conn fd={self.sock.fileno()} {at} unsent={len(self.out)}>"


class Upstream:
    """The server: ``run`` serves until the descriptor it is given reports its end."""

    def __init__(self, port: int = 0) -> None:
        self.counters = Counters()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._conns: dict[int, Conn] = {}
        self._timers: list[tuple[int, int, Conn]] = []
        self._ticket = itertools.count()  # breaks ties in the heap
        self._answers: dict[str, bytes] = {}
        self._bursts: dict[tuple[str, int, bool], bytes] = {}

    def run(self, *, until_closed: int) -> None:
        """Serve until the pipe ``until_closed`` closes: no parent, no orphan."""
        self._epoll.register(until_closed, select.EPOLLIN | select.EPOLLHUP)
        listener_fd = self._listener.fileno()
        serving = True
        while serving:
            for fd, events in self._epoll.poll(self._pause_s()):
                conn = self._conns.get(fd)
                if conn is not None:
                    self._serve(conn, events)
                elif fd == listener_fd:
                    self._accept()
                elif fd == until_closed:
                    serving = False
            self._fire()

    def _pause_s(self) -> float:
        if not self._timers:
            return -1.0
        return max(0.0, (self._timers[0][0] - time.monotonic_ns()) / 1e9)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._conns[sock.fileno()] = Conn(sock)
            self._epoll.register(sock, select.EPOLLIN)
            self.counters.connections += 1
            self.counters.connections_open += 1

    def _serve(self, conn: Conn, events: int) -> None:
        if events & select.EPOLLOUT:
            self._pump(conn)
        if events & ~select.EPOLLOUT and conn.sock.fileno() >= 0:
            self._read(conn)

    def _read(self, conn: Conn) -> None:
        try:
            data = conn.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(conn)
            return
        try:
            for method, path, body in conn.incoming.feed(data):
                self._answer(conn, method, path, body)
        except (httptools.HttpParserError, ValueError) as error:
            self.counters.rejected += 1
            self._write(conn, shape.error(400, str(error)))
            self._close(conn)

    def _answer(self, conn: Conn, method: bytes, path: bytes, body: bytes) -> None:
        if method == b"GET" and path == b"/counters":
            payload = msgspec.json.encode(self.counters)
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(payload)
            self._write(conn, head + payload)
            return
        if method != b"POST" or not path.endswith(b"/chat/completions"):
            self.counters.rejected += 1
            self._write(conn, shape.error(404, f"nothing at {path.decode()}"))
            return
        directive = shape.directive_of(body)
        self.counters.requests += 1
        if directive.stream:
            self._begin(conn, directive)
            return
        ready = self._answers.get(directive.tag)
        if ready is None:
            ready = shape.answer(directive.tag)
            _keep(self._answers, directive.tag, ready, most=CACHE_MAX)
        self._write(conn, ready)

    def _begin(self, conn: Conn, directive: shape.Directive) -> None:
        if conn.streaming:
            raise ValueError("a second request on a connection that still streams")
        self.counters.streams += 1
        self.counters.in_flight += 1
        conn.streaming = True
        conn.tag = directive.tag
        conn.total = directive.deltas
        conn.start_ns = time.monotonic_ns()
        conn.gap_ns = directive.gap_us * 1_000
        if conn.gap_ns and conn.total:
            conn.next = 0
            self._write(conn, shape.STREAM_HEAD + shape.opening(conn.tag))
            return
        conn.next = conn.total
        about = (directive.tag, directive.deltas, directive.words)
        whole = self._bursts.get(about)
        if whole is None:
            tag, deltas, words = about
            whole = shape.burst(tag, deltas, words=words)
            _keep(self._bursts, about, whole, most=BURSTS_MAX)
        self.counters.deltas += conn.total
        self._write(conn, whole)

    def _schedule(self, conn: Conn) -> None:
        """Set the timer of the next delta; its times are fixed from the start."""
        if conn.waiting:
            return
        conn.waiting = True
        due_ns = conn.start_ns + (conn.next + 1) * conn.gap_ns
        heapq.heappush(self._timers, (due_ns, next(self._ticket), conn))

    def _fire(self) -> None:
        """Write every delta that is due. A connection that is full gets none."""
        now_ns = time.monotonic_ns()
        while self._timers and self._timers[0][0] <= now_ns:
            _, _, conn = heapq.heappop(self._timers)
            conn.waiting = False
            if not conn.streaming or conn.out:
                continue  # closed meanwhile, or _pump schedules it when it is empty
            data = shape.delta(conn.tag, conn.next, time.monotonic_ns())
            conn.next += 1
            self.counters.deltas += 1
            if conn.next == conn.total:
                data += shape.ending(conn.tag, conn.total)
            self._write(conn, data)

    def _write(self, conn: Conn, data: bytes) -> None:
        if conn.out:
            conn.out = memoryview(bytes(conn.out) + data)
            return
        conn.out = memoryview(data)
        self._pump(conn)

    def _pump(self, conn: Conn) -> None:
        """Write what the connection takes now; ask to be told about the rest."""
        left = WRITE_BYTES_MAX
        while conn.out and left > 0:
            try:
                sent = conn.sock.send(conn.out)
            except BlockingIOError:
                break
            except OSError:
                self._close(conn)
                return
            self.counters.bytes_written += sent
            left -= sent
            conn.out = conn.out[sent:]
        if bool(conn.out) != conn.blocked:
            conn.blocked = not conn.blocked
            out = select.EPOLLOUT if conn.blocked else 0
            self._epoll.modify(conn.sock, select.EPOLLIN | out)
        if conn.streaming and not conn.out:
            self._wrote_all(conn)

    def _wrote_all(self, conn: Conn) -> None:
        if conn.next < conn.total:
            self._schedule(conn)
            return
        conn.streaming = False
        self.counters.in_flight -= 1
        self.counters.finished += 1

    def _close(self, conn: Conn) -> None:
        if conn.sock.fileno() < 0:
            return
        if conn.streaming:
            conn.streaming = False
            self.counters.in_flight -= 1
            self.counters.aborted += 1
            self.counters.aborted_at_ns = time.monotonic_ns()
        self.counters.connections_open -= 1
        del self._conns[conn.sock.fileno()]
        self._epoll.unregister(conn.sock)
        conn.out = memoryview(b"")
        conn.sock.close()


K = TypeVar("K")


def _keep(cache: dict[K, bytes], key: K, value: bytes, *, most: int) -> None:
    if len(cache) >= most:
        cache.clear()  # refilling is cheap, a growing cache is not
    cache[key] = value


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0: the OS chooses")
    upstream = Upstream(options.parse_args().port)
    print(msgspec.json.encode({"port": upstream.port}).decode(), flush=True)
    upstream.run(until_closed=sys.stdin.fileno())


if __name__ == "__main__":
    main()
