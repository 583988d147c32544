"""Upgrades as attackers write them: raw bytes, and exactly one reading of each.

Whoever stands in front may read a request otherwise than we do. So an upgrade is taken
whole or not at all, what is not taken is an ordinary request of the strict parser, and
a connection that was handed over never comes back to HTTP/1.1.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.gateway.support_http11 import Server, echo, running, until
from tests.gateway.test_http11_upgrade import websocket_echo

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
H = b"Host: t\r\n"
WS = b"Upgrade: websocket\r\nConnection: upgrade\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
SECRET = b"Sec-WebSocket-Key: " + KEY + b"\r\n"
SHAKE = b"GET /ws HTTP/1.1\r\n" + H + WS + VERSION + SECRET
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
CLOSING = b"GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
HELLO = b"\x81\x85\0\0\0\0hello"  # A masked text frame.

SETTINGS = b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
H2C = b"GET / HTTP/1.1\r\n" + H + b"Upgrade: h2c\r\n"


async def talk(server: Server, data: bytes, *, then: bytes = b"") -> bytes:
    """Send bytes, and read until the server closes or has said all it will."""
    client = await server.connect()
    seen = b""
    with contextlib.suppress(trio.BrokenResourceError):
        await client.send(data)
        if then:
            seen = await client.until(b"\r\n\r\n")
            await client.send(then)
        with trio.move_on_after(30):
            seen += await client.rest()
    await client.stream.aclose()
    return seen


def statuses(seen: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3}) ", seen)]


class App:
    """Both kinds of requests, remembered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sockets = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.asked.append(f"{scope['type']} {scope['path']}")
        if scope["type"] != "websocket":
            await echo(scope, receive, send)
            return
        self.sockets += 1
        try:
            if scope["path"] == "/slow":
                await receive()
                await trio.sleep(5)
                await send({"type": "websocket.accept"})
                while (await receive())["type"] != "websocket.disconnect":
                    pass
            else:
                await websocket_echo(scope, receive, send)
        finally:
            self.sockets -= 1


# What is sent, the statuses of all answers, and what reached the app.
MATRIX: dict[str, tuple[bytes, list[int], list[str]]] = {
    "a body's length is no part of an upgrade": (
        SHAKE + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "nor is a chunked body": (
        SHAKE
        + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(SMUGGLED)
        + SMUGGLED
        + b"\r\n0\r\n\r\n"
        + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "an empty body is one": (
        SHAKE + b"Content-Length: 0\r\n\r\n" + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "both framings at once, with an upgrade": (
        SHAKE
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        [400],
        [],
    ),
    "coding, then length, on a connection that was kept": (
        b"GET /first HTTP/1.1\r\n"
        + H
        + b"\r\n"
        + SHAKE
        + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        [200, 400],
        ["http /first"],
    ),
    "a posted upgrade is a post": (
        SHAKE.replace(b"GET", b"POST")
        + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
        + SMUGGLED
        + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "HTTP/1.0 upgrades to nothing": (
        SHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n" + SMUGGLED,
        [200],
        ["http /ws"],
    ),
    "no key": (SHAKE.replace(SECRET, b"") + b"\r\n" + SMUGGLED, [400], []),
    "two keys": (SHAKE + SECRET + b"\r\n" + SMUGGLED, [400], []),
    "a key that is none": (
        SHAKE.replace(KEY, b"c2hvcnQ=") + b"\r\n" + SMUGGLED,
        [400],
        [],
    ),
    "no version": (SHAKE.replace(VERSION, b"") + b"\r\n" + SMUGGLED, [426], []),
    "another version": (
        SHAKE.replace(b"Version: 13", b"Version: 777") + b"\r\n" + SMUGGLED,
        [426],
        [],
    ),
    "two versions": (SHAKE + VERSION + b"\r\n" + SMUGGLED, [426], []),
    "a protocol list of 70 KB": (
        SHAKE + b"Sec-WebSocket-Protocol: " + b"a," * 35_000 + b"\r\n\r\n",
        [431],
        [],
    ),
    "a protocol that is no ASCII": (
        SHAKE + b"Sec-WebSocket-Protocol: caf\xe9\r\n\r\n" + SMUGGLED,
        [400],
        [],
    ),
    "an extension that is no ASCII": (
        SHAKE + b"Sec-WebSocket-Extensions: \xff\r\n\r\n" + SMUGGLED,
        [400],
        [],
    ),
    "an upgrade that nobody asked the connection for": (
        SHAKE.replace(b"Connection: upgrade", b"Connection: keep-alive")
        + b"\r\n"
        + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "two protocols at once": (
        SHAKE.replace(b"Upgrade: websocket", b"Upgrade: websocket, h2c")
        + b"\r\n"
        + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "two Upgrade fields": (
        SHAKE + b"Upgrade: h2c\r\n" + SETTINGS + b"\r\n" + CLOSING,
        [200, 200],
        ["http /ws", "http /last"],
    ),
    "a path without WebSockets": (
        SHAKE.replace(b"/ws", b"/denied") + b"\r\n",
        [403],
        ["websocket /denied"],
    ),
    "h2c without settings": (
        H2C + b"Connection: upgrade\r\n\r\n" + CLOSING,
        [200, 200],
        ["http /", "http /last"],
    ),
    "h2c whose settings the connection does not name": (
        H2C + b"Connection: upgrade\r\n" + SETTINGS + b"\r\n" + CLOSING,
        [200, 200],
        ["http /", "http /last"],
    ),
    "h2c with settings that are none": (
        H2C
        + b"Connection: upgrade, http2-settings\r\nHTTP2-Settings: !!!\r\n\r\n"
        + CLOSING,
        [200, 200],
        ["http /", "http /last"],
    ),
    "h2c through a proxy that passes everything on": (
        H2C
        + b"Connection: upgrade, http2-settings\r\nX-Forwarded-For: 192.0.2.1\r\n"
        + SETTINGS
        + b"\r\n"
        + CLOSING,
        [200, 200],
        ["http /", "http /last"],
    ),
    "h2c with a body": (
        H2C.replace(b"GET", b"POST")
        + b"Connection: upgrade, http2-settings\r\n"
        + SETTINGS
        + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
        + SMUGGLED
        + CLOSING,
        [200, 200],
        ["http /", "http /last"],
    ),
}


@pytest.mark.parametrize("what", MATRIX)
async def test_an_upgrade_is_read_in_one_way(
    autojump_clock: MockClock, what: str
) -> None:
    data, expected, reached = MATRIX[what]
    app = App()
    async with running(app) as server:
        seen = await talk(server, data)

    assert statuses(seen) == expected, seen
    assert app.asked == reached
    assert app.sockets == 0
    assert server.reports == []


@pytest.mark.parametrize(
    "connection",
    [
        b"Connection: upgrade, close",
        b"Connection: close, Upgrade",
        b"Connection: upgrade\r\nConnection: close",
        b"Connection: close\r\nConnection: upgrade",
        b"Connection: keep-alive\r\nConnection: upgrade\r\nConnection: keep-alive",
    ],
)
async def test_a_connection_that_is_handed_over_speaks_websocket_or_nothing(
    autojump_clock: MockClock, connection: bytes
) -> None:
    """Were it plain HTTP there, another parser with other bounds would read it."""
    app = App()
    async with running(app) as server:
        shake = SHAKE.replace(b"Connection: upgrade", connection) + b"\r\n"
        client = await server.connect()
        await client.send(shake)
        head = await client.until(b"\r\n\r\n")
        assert statuses(head) == [101]
        await client.send(HELLO)
        assert await client.until(b"hello") == b"\x81\x05hello"
        await client.send(SMUGGLED)
        rest = await client.rest()
        await client.stream.aclose()

    assert b"HTTP/1.1" not in rest
    assert app.asked == ["websocket /ws"]
    assert app.sockets == 0


@pytest.mark.parametrize("early", [HELLO, SMUGGLED, SHAKE + b"\r\n", b"\0"])
@pytest.mark.parametrize("path", ["/ws", "/denied", "/slow"])
async def test_bytes_behind_a_handshake_are_no_request(
    autojump_clock: MockClock, path: str, early: bytes
) -> None:
    app = App()
    async with running(app) as server:
        shake = SHAKE.replace(b"/ws", path.encode()) + b"\r\n"
        seen = await talk(server, shake + early)

    assert statuses(seen) == [400], seen
    assert app.asked == []


@pytest.mark.parametrize("early", [HELLO, SMUGGLED, SHAKE + b"\r\n", b"\0"])
async def test_bytes_before_a_handshakes_answer_end_it_and_leave_nothing_running(
    autojump_clock: MockClock, early: bytes
) -> None:
    """While the app thinks: what it does then goes nowhere, and it hears why."""
    app = App()
    async with running(app) as server:
        client = await server.connect()
        await client.send(SHAKE.replace(b"/ws", b"/slow") + b"\r\n")
        await until(lambda: app.sockets == 1)
        began = trio.current_time()
        await client.send(early)
        seen = await client.rest()
        assert trio.current_time() - began < 1
        await client.stream.aclose()
        await trio.sleep(6)
        assert app.sockets == 0

    assert statuses(seen) == [400], seen
    assert app.asked == ["websocket /slow"]


async def test_what_was_refused_as_a_socket_is_over(autojump_clock: MockClock) -> None:
    """Its connection answers nothing more: it is no keep-alive of another parser."""
    app = App()
    async with running(app) as server:
        shake = SHAKE.replace(b"/ws", b"/denied") + b"\r\n"
        seen = await talk(server, shake, then=SMUGGLED)

    assert statuses(seen) == [403]
    assert app.asked == ["websocket /denied"]


async def test_a_version_that_is_not_spoken_is_told_which_is(
    autojump_clock: MockClock,
) -> None:
    async with running(App()) as server:
        shake = SHAKE.replace(b"Version: 13", b"Version: 8") + b"\r\n"
        seen = await talk(server, shake)

    assert b"sec-websocket-version: 13\r\n" in seen.lower()
    assert b"connection: close\r\n" in seen.lower()
