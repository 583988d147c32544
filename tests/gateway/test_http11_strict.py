"""What is refused, with which status: over sockets, each answered and closed."""

import contextlib
import json

import pytest
import trio

from gateway.http11_parser import Http11Limits
from tests.gateway.support_http11 import GET, echo, post, running

H = b"Host: t\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "letters as a length": (POST + b"Content-Length: abc\r\n\r\n", 400),
    "a signed length": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\nhello", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "an empty length": (POST + b"Content-Length: \r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    "a repeated length": (POST + b"Content-Length: 5\r\n" * 2 + b"\r\nhello", 400),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a length over 2^64": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    "a huge length": (POST + b"Content-Length: 99999999999\r\n\r\n", 413),
    "length, then coding": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "coding, then length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    "gzip": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "a vertical tab": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n", 400),
    "a space before the colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n", 400),
    "chunked in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "obs-fold": (b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n", 400),
    "a folded first line": (b"GET / HTTP/1.1\r\n X: a\r\n" + H + b"\r\n", 400),
    "bare LF after a field": (b"GET / HTTP/1.1\r\n" + H + b"X: a\n\r\n", 400),
    "bare LF everywhere": (b"GET / HTTP/1.1\nHost: t\n\n", 400),
    "bare CR": (b"GET / HTTP/1.1\r\n" + H + b"X: a\rb\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n", 400),
    "NUL in a name": (b"GET / HTTP/1.1\r\n" + H + b"X\0: a\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n" + H + b": a\r\n\r\n", 400),
    "70 KB of one field": (
        b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        431,
    ),
    "70 KB of many fields": (
        b"GET / HTTP/1.1\r\n" + H + (b"X: " + b"a" * 1_000 + b"\r\n") * 70 + b"\r\n",
        431,
    ),
    "101 fields": (b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n" * 100 + b"\r\n", 431),
    "a long target": (
        b"GET /" + b"a" * 8_192 + b" HTTP/1.1\r\n" + H + b"\r\n",
        414,
    ),
    "an unknown method": (b"BREW / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a lower-case method": (b"get / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "CONNECT": (b"CONNECT t:443 HTTP/1.1\r\n" + H + b"\r\n", 405),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2.0 without its preface": (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505),
    "HTTP/3.0": (b"GET / HTTP/3.0\r\n" + H + b"\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + H + b"\r\n", 505),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "no HTTP": (b"GET / SPDY/1.1\r\n" + H + b"\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "bytes over 127 in the target": (b"GET /\xe9 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "a target that is no path": (b"GET x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "userinfo in Host": (b"GET / HTTP/1.1\r\nHost: u@t\r\n\r\n", 400),
    "another expectation": (POST + b"Expect: 200-ok\r\n\r\n", 417),
    "a chunk size with a prefix": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk size and a space": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "a chunk size and LF": (CHUNKED + b"5\nhello\r\n0\r\n\r\n", 400),
    "a chunk longer than its size": (CHUNKED + b"5\r\nhelloXX0\r\n\r\n", 400),
    "a chunk size over 2^64": (CHUNKED + b"f" * 17 + b"\r\n", 400),
    "endless chunk extensions": (CHUNKED + b"1;" + b"e" * 60_000, 413),
    "too many trailers": (CHUNKED + b"0\r\n" + b"T: x\r\n" * 101 + b"\r\n", 431),
    "endless trailers": (CHUNKED + b"0\r\nT: " + b"x" * 60_000, 413),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_it_is_refused_and_the_connection_closed(what: str) -> None:
    """Never a 500, never a hang, always in the gateway's own error shape.

    A request whose head is fine reaches the app, which then waits for the body.
    """
    request, status = REFUSED[what]
    async with running(echo) as server:
        client = await server.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, client.stream, request)
            response, body, _ = await client.answer()
            nursery.cancel_scope.cancel()
        assert await client.rest() == b""

    assert response.status_code == status
    assert dict(response.headers)[b"content-type"] == b"application/json"
    assert dict(response.headers)[b"connection"] == b"close"
    assert json.loads(body)["status"] == status
    assert server.reports == []


async def _send(stream: trio.abc.Stream, data: bytes) -> None:
    # Refused before all of it was sent: that is the point.
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)


async def test_what_came_before_the_malformed_request_is_answered_first() -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(post(b"good") + b"bad\r\n\r\n")
        assert (await client.answer())[1] == b"POST / good"
        assert (await client.answer())[0].status_code == 400
        assert await client.rest() == b""


async def test_a_malformed_body_ends_a_response_that_has_begun() -> None:
    """There is no status to send any more: the connection is cut."""
    started = trio.Event()

    async def handler(scope: object, receive: object, send: object) -> None:
        assert callable(receive)
        assert callable(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        started.set()
        assert (await receive())["type"] == "http.disconnect"

    async with running(handler) as server:
        client = await server.connect()
        await client.send(CHUNKED)
        await started.wait()
        await client.send(b"nonsense\r\n")
        data = await client.rest()

    assert data.count(b"HTTP/1.1") == 1
    assert not data.endswith(b"0\r\n\r\n")


async def test_data_after_connection_close_is_not_a_request() -> None:
    async with running(echo) as server:
        client = await server.connect()
        last = b"GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        await client.send(last + GET)
        data = await client.rest()

    assert data.count(b"HTTP/1.1 200") == 1
    assert server.reports == []


async def test_an_upgrade_we_do_not_offer_is_ignored_and_its_body_read() -> None:
    """Curl and Java ask for h2c in their first POST; they live with HTTP/1.1."""
    async with running(echo) as server:
        client = await server.connect()
        fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c")
        request = post(b"body", *fields, b"HTTP2-Settings: AAMAAABk")
        await client.send(request * 3)
        for _ in range(3):
            assert (await client.answer())[1] == b"POST / body"


async def test_many_ignored_upgrades_in_one_read_are_no_recursion() -> None:
    wish = b"GET / HTTP/1.1\r\nHost:t\r\nConnection:upgrade\r\nUpgrade:x\r\n\r\n"
    async with running(echo) as server:
        client = await server.connect()
        await client.send(wish * 250)
        for _ in range(250):
            assert (await client.answer())[0].status_code == 200


async def test_an_unread_body_is_read_past_so_that_the_answer_arrives() -> None:
    """Closing with unread bytes resets, and a reset can overtake the answer."""
    async with running(echo, limits=Http11Limits(body_bytes_max=1_000)) as server:
        client = await server.connect()
        await client.send(post(b"x" * 500_000))
        response, body, _ = await client.answer()

    assert response.status_code == 413
    assert b"body_too_large" in body
