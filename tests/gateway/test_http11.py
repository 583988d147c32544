"""HTTP/1.1 conversations over real sockets on the loopback interface."""

import contextlib
from typing import Any

import h11
import pytest
import trio
import trio.testing

from gateway.http11_conn import Conn
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import ClientGone
from tests.gateway.support_http11 import (
    GET,
    conn_of,
    echo,
    post,
    read_all,
    reply,
    running,
    until,
)


def headers_of(response: h11.Response) -> dict[bytes, bytes]:
    return dict(response.headers)


async def test_a_request_and_its_body_reach_the_app_and_the_answer_comes_back() -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(post(b"abc", path=b"/v1/x%20y?q=1"))
        response, body, _ = await client.answer()

    assert (response.status_code, body) == (200, b"POST /v1/x y abc")
    assert headers_of(response)[b"content-length"] == b"16"
    assert b"date" in headers_of(response)


async def test_head_and_body_go_out_in_one_piece() -> None:
    """Two writes would be two packets, and 40 ms with Nagle on the way."""
    async with running(echo) as server:
        client = await server.connect()
        await client.send(GET)
        first = await client.stream.receive_some(65_536)

    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"GET / ")


async def test_the_scope_is_asgi_and_offers_the_connection() -> None:
    scopes: list[dict[str, Any]] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)
        conn: Conn = conn_of(scope)
        assert not conn.gone
        await reply(send)

    async with running(handler) as server:
        client = await server.connect()
        await client.ask(
            b"GET http://other/p?a=b HTTP/1.1\r\nHost: t\r\nX-Two:  v \r\n\r\n"
        )

    scope = scopes[0]
    assert scope["type"] == "http"
    assert scope["http_version"] == "1.1"
    assert scope["asgi"]["version"] == "3.0"
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/p",
        b"/p",
        b"a=b",
    )
    assert scope["headers"] == [(b"host", b"t"), (b"x-two", b"v")]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert scope["scheme"] == "http"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(b"".join(post(b"%d" % n) for n in range(50)))
        bodies = [(await client.answer())[1] for _ in range(50)]

    assert bodies == [b"POST / %d" % n for n in range(50)]


async def test_what_is_pipelined_behind_a_stream_waits_in_the_kernel() -> None:
    """Nobody reads while a response streams, so nothing is buffered without bound."""
    go_on = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            start = {"type": "http.response.start", "status": 200, "headers": []}
            await send(start)
            await send({"type": "http.response.body", "body": b"1", "more_body": True})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"2"})
        else:
            await echo(scope, receive, send)

    async with running(handler) as server:
        client = await server.connect()
        await client.send(b"GET /first HTTP/1.1\r\nHost: test\r\n\r\n")
        await client.until(b"1\r\n1\r\n")
        await client.send(post(b"second"))
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        assert await client.until(b"0\r\n\r\n") == b"1\r\n2\r\n0\r\n\r\n"
        _, body, _ = await client.answer()

    assert body == b"POST / second"


async def test_a_response_of_unknown_length_is_chunked() -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"", b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        head = await client.until(b"\r\n\r\n")
        body = await client.until(b"0\r\n\r\n")

    assert b"transfer-encoding: chunked\r\n" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_an_empty_first_body_flushes_the_head() -> None:
    """So a stream can answer 200 long before its first event."""
    go_on = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        await client.until(b"\r\n\r\n")
        go_on.set()
        await client.until(b"late")


@pytest.mark.parametrize("streamed", [False, True])
async def test_head_gets_the_length_and_no_body(streamed: bool) -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if streamed:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"hello"})

    async with running(handler) as server:
        client = await server.connect()
        await client.send(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
        response, body, _ = await client.answer("HEAD")
        await client.send(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
        await client.answer("HEAD")  # Nothing stood between the two.

    assert body == b""
    assert headers_of(response).get(b"content-length") == (None if streamed else b"5")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_have_none(status: int) -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await reply(send, b"", status)

    async with running(handler) as server:
        client = await server.connect()
        assert await client.ask(GET) == (status, b"")
        assert await client.ask(GET) == (status, b"")


async def test_http_1_0_is_closed_after_the_answer_and_never_chunked() -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["http_version"] == "1.0"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async with running(handler) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        data = await client.rest()

    assert b"connection: close\r\n" in data
    assert b"chunked" not in data
    assert data.endswith(b"\r\n\r\nab")


async def test_http_1_0_keeps_the_connection_on_request() -> None:
    async with running(echo) as server:
        client = await server.connect()
        request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        await client.send(request)
        response, _, _ = await client.answer()
        assert headers_of(response)[b"connection"] == b"keep-alive"
        assert (await client.ask(request))[0] == 200


@pytest.mark.parametrize("who", ["client", "app"])
async def test_connection_close_is_honoured_whoever_says_it(who: str) -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        fields = [(b"Connection", b"close")] if who == "app" else []
        await reply(send, b"bye", 200, *fields)

    wish = b"Connection: close\r\n" if who == "client" else b""
    async with running(handler) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: t\r\n" + wish + b"\r\n")
        data = await client.rest()

    assert data.count(b"connection: close\r\n") == 1
    assert data.endswith(b"bye")


async def test_100_continue_is_sent_when_the_app_first_reads() -> None:
    async with running(echo) as server:
        client = await server.connect()
        head, _, body = post(b"abc", b"Expect: 100-continue").partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await client.ask(body) == (200, b"POST / abc")


async def test_no_100_is_sent_into_a_response_that_has_begun() -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": await read_all(receive)})

    async with running(handler) as server:
        client = await server.connect()
        head, _, body = post(b"abc", b"Expect: 100-continue").partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        data = await client.until(b"1\r\na\r\n")
        await trio.testing.wait_all_tasks_blocked(0.005)
        await client.send(body)
        data += await client.rest()

    assert b"100 Continue" not in data
    assert data.endswith(b"3\r\nabc\r\n0\r\n\r\n")


async def test_an_answer_before_a_large_body_arrives_in_spite_of_it() -> None:
    """Closing with unread bytes resets, and a reset can overtake the answer."""

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await reply(send, b"unread", 401)

    async with running(handler) as server:
        client = await server.connect()
        await client.send(post(b"x" * 500_000))
        assert (await client.answer())[1] == b"unread"


async def test_a_request_and_a_hang_up_in_one_packet_end_the_connection() -> None:
    """One event tells of both: the end must not be lost behind the request."""
    async with running(echo) as server:
        client = await server.connect()
        await client.ask(GET)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(client.stream, trio.SocketStream)
        with contextlib.suppress(BlockingIOError):
            client.stream.socket._sock.send(GET)  # type: ignore[attr-defined]
        client.stream.socket._sock.shutdown(  # type: ignore[attr-defined]
            trio.socket.SHUT_WR
        )
        assert (await client.rest()).endswith(b"GET / ")


async def test_an_app_that_refuses_unread_sends_no_100_and_closes() -> None:
    """The client may or may not send the body now: the framing is unknown."""

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await reply(send, b"no", 401)

    async with running(handler) as server:
        client = await server.connect()
        head, _, _ = post(b"abc", b"Expect: 100-continue").partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        await client.until(b"401")
        await client.until(b"connection: close\r\n")
        assert (await client.rest()).endswith(b"no")


async def test_chunked_requests_arrive_whole_and_their_trailers_are_dropped() -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: x\r\n\r\n"
        )
        _, body, _ = await client.answer()
        assert body == b"POST / abcde"
        assert (await client.ask(GET))[0] == 200


async def test_a_body_sent_in_pieces_is_read_as_it_comes() -> None:
    pieces: list[bytes] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert conn_of(scope).body is None  # Not there yet.
        while True:
            message = await receive()
            pieces.append(message["body"])
            if not message["more_body"]:
                break
        await reply(send)

    async with running(handler) as server:
        client = await server.connect()
        request = post(b"abcdef")
        await client.send(request[:-6])
        for at in range(-6, 0, 2):
            await client.send(request[at : at + 2 or None])
            await until(lambda at=at: len(b"".join(pieces)) == 8 + at)  # type: ignore[misc]
        assert (await client.answer())[1] == b"hello"

    assert b"".join(pieces) == b"abcdef"


async def test_a_body_that_is_there_is_handed_over_as_bytes_once() -> None:
    seen: list[object] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        conn = conn_of(scope)
        seen.extend([conn.body, conn.body, await conn.read_body()])
        await reply(send)

    async with running(handler) as server:
        client = await server.connect()
        await client.ask(post(b"whole"))

    assert seen == [b"whole", None, b""]


async def test_read_body_gathers_what_comes_in_pieces() -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await reply(send, await conn_of(scope).read_body())

    async with running(handler) as server:
        client = await server.connect()
        big = bytes(range(256)) * 1_000
        assert await client.ask(post(big)) == (200, big)


async def test_a_client_that_leaves_is_noticed_without_anyone_reading() -> None:
    """The callback runs at once, also behind pipelined bytes nobody has read."""
    called = trio.Event()
    watched: list[Conn] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        conn = conn_of(scope)
        watched.append(conn)
        conn.on_disconnect(called.set)
        conn.on_disconnect(removed.set)
        conn.remove(removed.set)
        conn.remove(removed.set)  # Harmless.
        await called.wait()
        assert conn.gone
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        conn.on_disconnect(late.set)

    removed, late = trio.Event(), trio.Event()
    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET + GET)
        await until(lambda: bool(watched))
        await client.stream.aclose()
        await called.wait()
        await until(late.is_set)

    assert not removed.is_set()
    assert server.reports == []


async def test_receive_says_disconnect_while_a_response_streams() -> None:
    left = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await read_all(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert await receive() == {"type": "http.disconnect"}
        left.set()

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        await client.until(b"x")
        await client.stream.aclose()
        await left.wait()


async def test_sending_to_a_client_that_left_raises_client_gone() -> None:
    """And an app that lets it pass is not reported: it is no failure."""
    raised = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                piece = {"type": "http.response.body", "body": b"x", "more_body": True}
                await send(piece)
                await trio.lowlevel.checkpoint()
        except ClientGone:
            raised.set()
            async with trio.open_nursery():
                raise

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        await client.until(b"x")
        await client.stream.aclose()
        await raised.wait()

    assert server.reports == []


async def test_a_callback_that_raises_is_reported_and_harms_nobody() -> None:
    def fail() -> None:
        raise RuntimeError("callback")

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/bad":
            conn_of(scope).on_disconnect(fail)
            await read_all(receive)
            await receive()
        await reply(send)

    async with running(handler) as server:
        bad, good = await server.connect(), await server.connect()
        await bad.send(b"GET /bad HTTP/1.1\r\nHost: t\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await bad.stream.aclose()
        await until(lambda: bool(server.reports))
        assert (await good.ask(GET))[0] == 200


async def test_receive_in_a_task_of_its_own_ends_with_the_response() -> None:
    """Frameworks watch for the disconnect beside the response; it must not hang."""
    ends: list[str] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def watch() -> None:
            ends.append((await receive())["type"])

        await read_all(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            await reply(send)

    async with running(handler) as server:
        client = await server.connect()
        await client.ask(GET)
        await client.ask(GET)

    assert ends == ["http.disconnect", "http.disconnect"]


async def test_an_app_that_raises_first_is_a_500_with_our_body() -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise RuntimeError("prompt")

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        data = await client.rest()

    assert data.startswith(b"HTTP/1.1 500 ")
    assert b"internal_error" in data
    assert b"prompt" not in data
    assert [what for what, _ in server.reports] == ["the app raised"]


@pytest.mark.parametrize("raises", [True, False])
async def test_half_an_answer_is_cut_not_completed(raises: bool) -> None:
    """A terminating chunk would pass half an answer off as a whole one."""

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if raises:
            raise RuntimeError

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        data = await client.rest()

    assert not data.endswith(b"0\r\n\r\n")


async def test_an_app_that_says_nothing_is_a_500() -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        return

    async with running(handler) as server:
        client = await server.connect()
        assert (await client.ask(GET))[0] == 500
        assert await client.rest() == b""


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: x", b"a\nb", b"a\0b", b"a\rb"])
async def test_a_header_of_the_app_cannot_split_the_response(value: bytes) -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await reply(send, b"x", 200, (b"x-model", value))

    async with running(handler) as server:
        client = await server.connect()
        status, _ = await client.ask(GET)

    assert status == 500
    assert isinstance(server.reports[0][1], ValueError)


@pytest.mark.parametrize("length", [b"3", b"9"])
async def test_a_body_that_breaks_its_promise_breaks_the_connection(
    length: bytes,
) -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await reply(send, b"12345", 200, (b"content-length", length))

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        assert not (await client.rest()).endswith(b"12345")


async def test_a_body_over_the_limit_is_413_before_it_is_read() -> None:
    called = False

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal called
        called = True

    async with running(handler, limits=Http11Limits(body_bytes_max=100)) as server:
        client = await server.connect()
        await client.send(post(b"x" * 101)[:-101])
        data = await client.until(b"body_too_large")

    assert data.startswith(b"HTTP/1.1 413 ")
    assert not called


async def test_a_chunked_body_over_the_limit_is_413_and_ends_the_app() -> None:
    """Its length shows late: the app sees a disconnect, the client our error."""
    seen: list[str] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            seen.append(message["type"])
            if message["type"] == "http.disconnect":
                await reply(send)  # Too late: raises ClientGone.

    async with running(handler, limits=Http11Limits(body_bytes_max=100)) as server:
        client = await server.connect()
        await client.send(
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"32\r\n" + b"x" * 50 + b"\r\n"
        )
        await until(lambda: bool(seen))
        await client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        data = await client.until(b"body_too_large")

    assert data.startswith(b"HTTP/1.1 413 ")
    assert seen == ["http.request", "http.disconnect"]
    assert server.reports == []


async def test_cancelling_a_write_half_way_breaks_the_connection() -> None:
    """Half a chunk cannot be completed later, so nothing may follow it."""
    gone = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 10**7, "more_body": True}
        with trio.CancelScope() as scope_:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, piece)
                await until(lambda: conn_of(scope).unsent_bytes > 0)
                scope_.cancel()
        with pytest.raises(ClientGone):
            await send({"type": "http.response.body", "body": b"after"})
        gone.set()

    async with running(handler) as server:
        client = await server.connect(receive_buffer_bytes=4_096)
        await client.send(GET)
        await gone.wait()
        assert not (await client.rest()).endswith(b"after")


async def test_a_write_larger_than_every_buffer_goes_through() -> None:
    """The peer may take all that was buffered: the rest must be offered, not kept."""
    limits = Http11Limits(unsent_bytes_max=20_000)
    piece = bytes(range(256)) * 2_000

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async with running(handler, limits=limits) as server:
        client = await server.connect()
        await client.send(GET)
        _, body, _ = await client.answer()

    assert body == piece * 20


async def test_unsent_bytes_stay_within_the_bound_and_arrive_in_order() -> None:
    limits = Http11Limits(unsent_bytes_max=20_000, kernel_unsent_bytes_max=20_000)
    unsent: list[int] = []
    sent = b"".join(b"%06d " % n for n in range(100_000))

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        conn = conn_of(scope)
        length = b"%d" % len(sent)
        fields = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for at in range(0, len(sent), 1_000):
            piece = sent[at : at + 1_000]
            more = at + 1_000 < len(sent)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            unsent.append(conn.unsent_bytes)

    async with running(handler, limits=limits) as server:
        client = await server.connect(receive_buffer_bytes=4_096)
        await client.send(GET)
        await until(lambda: bool(unsent) and unsent[-1] > 0)
        _, body, _ = await client.answer()

    assert body == sent
    assert 0 < max(unsent) <= 20_000


async def test_an_answer_at_once_is_one_piece_and_the_connection_lives_on() -> None:
    async def handler(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        conn = conn_of(scope)
        assert conn.answer_now(200, (("content-type", "text/plain"),), b"now")
        assert not conn.answer_now(200, (), b"twice")
        with pytest.raises(RuntimeError):
            await reply(send)

    async with running(handler) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            first = await client.stream.receive_some(65_536)
            head, _, body = first.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert (lines[0], body) == (b"HTTP/1.1 200 OK", b"now")
            assert lines[2:] == [b"content-type: text/plain", b"content-length: 3"]
            assert lines[1].startswith(b"date: ")


@pytest.mark.parametrize(
    ("request_head", "says"),
    [
        (b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", b"close"),
        (b"GET / HTTP/1.0\r\n\r\n", b"close"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"keep-alive"),
    ],
)
async def test_an_answer_at_once_says_what_becomes_of_the_connection(
    request_head: bytes, says: bytes
) -> None:
    async def handler(scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        assert conn_of(scope).answer_now(200, (), b"now")

    async with running(handler) as server:
        client = await server.connect()
        await client.send(request_head)
        response, body, _ = await client.answer()
        assert headers_of(response)[b"connection"] == says
        assert body == b"now"
        if says == b"close":
            assert await client.rest() == b""


@pytest.mark.parametrize(
    ("status", "fields"),
    [(200, (("x", "a\r\nb: c"),)), (200, (("x", "\N{EURO SIGN}"),)), (204, ())],
)
async def test_what_cannot_be_answered_at_once_is_left_to_send(
    status: int, fields: tuple[tuple[str, str], ...]
) -> None:
    """Nothing of it has gone out, so that `send` can say what is wrong."""

    async def handler(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        assert not conn_of(scope).answer_now(status, fields, b"now")
        await reply(send, b"then")

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        _, body, _ = await client.answer()
        assert body == b"then"
