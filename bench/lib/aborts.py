"""Clients that leave in the middle of a stream: how long until its upstream is left.

Both ends read the machine's monotonic clock: this one when it closes its socket, the
mock when it reads that its own was closed. How often the mock is asked about it does
not matter to the figure.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import msgspec

from bench.lib import shape
from bench.lib.load import READ_BYTES, SILENCE_MAX_S, Target
from bench.lib.probe import counters
from bench.lib.sockets import PATH, create, masked, upgraded
from bench.lib.verify import AnswerError

ORIGIN = "https://bench.example"
DIRECTIVE = shape.Directive("leaver", stream=True, deltas=10_000, gap_us=5_000)
SEEN = b"leaverw1@"  # It flows: the second delta is there.
POLL_S = 0.002

Begin = Callable[[Target], socket.socket]


def by_sse(target: Target) -> socket.socket:
    """A stream by a key."""
    sock = _connected(target)
    sock.sendall(target.request(DIRECTIVE))
    return sock


def by_socket(target: Target) -> socket.socket:
    """The same over a WebSocket."""
    sock = _connected(target)
    if upgraded(sock, target, PATH) is None:
        raise AnswerError("the WebSocket was refused")
    sock.sendall(masked(create(DIRECTIVE)))
    return sock


def by_grant(target: Target) -> socket.socket:
    """The same by a page that redeems a grant."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=10.0)
    try:
        wanted = {"request": msgspec.Raw(DIRECTIVE.body()), "origin": ORIGIN}
        connection.request(
            "POST",
            "/v1/stream_grants",
            msgspec.json.encode(wanted),
            {"authorization": f"Bearer {target.key}"},
        )
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 201:
            raise AnswerError(f"no grant: {answer.status} {told[:200]!r}")
    finally:
        connection.close()
    path = msgspec.json.decode(told)["path"]
    sock = _connected(target)
    host = f"{target.host}:{target.port}"
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {ORIGIN}\r\n\r\n".encode()
    )
    return sock


KINDS: dict[str, Begin] = {"SSE": by_sse, "WebSocket": by_socket, "grant": by_grant}


def abort_ms(begin: Begin, target: Target, mock: Target) -> float:
    """Leave one, and say how long its upstream did not know."""
    before = counters(mock).aborted
    with _begun(begin, target) as sock:
        left_ns = time.monotonic_ns()
        sock.close()
    end_s = time.monotonic() + SILENCE_MAX_S
    while (now := counters(mock)).aborted == before:
        if time.monotonic() > end_s:
            raise AnswerError(f"the upstream was not left within {SILENCE_MAX_S} s")
        time.sleep(POLL_S)
    return (now.aborted_at_ns - left_ns) / 1e6


@contextmanager
def _begun(begin: Begin, target: Target) -> Generator[socket.socket, None, None]:
    with begin(target) as sock:
        seen = b""
        while SEEN not in seen:
            piece = sock.recv(READ_BYTES)
            if not piece:
                raise AnswerError(f"it was closed: {seen[:200]!r}")
            seen += piece
        yield sock


def _connected(target: Target) -> socket.socket:
    sock = socket.create_connection((target.host, target.port))
    sock.settimeout(SILENCE_MAX_S)
    return sock
