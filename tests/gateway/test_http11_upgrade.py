"""WebSocket and HTTP/2 go to hypercorn: plain, over TLS, upgraded, by preface."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
import trio
import trio.testing
import trio_websocket
from hypercorn.protocol.h2 import H2Protocol

from gateway.http11_parser import PREFACE, Http11Limits
from gateway.http11_transport import ClientGone, EdgeDeadlines
from gateway.http11_upgrade import _http2_of
from tests.gateway.support_http11 import (
    GET,
    Client,
    Server,
    echo,
    post,
    read_all,
    reply,
    running,
    until,
)
from tests.gateway.support_tls import tls_pair


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tls")
    return tls_pair(folder)


async def connect_tls(server: Server, context: ssl.SSLContext, *alpn: str) -> Client:
    context.set_alpn_protocols(list(alpn))
    plain = await server.connect()
    assert isinstance(plain.stream, trio.SocketStream)
    stream = trio.SSLStream(
        plain.stream, context, server_hostname="127.0.0.1", https_compatible=True
    )
    await stream.do_handshake()
    assert stream.selected_alpn_protocol() == (alpn[0] if alpn else None)
    return Client(stream)


class Http2:
    """A client on h2, one request at a time, windows opened only when asked to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self.events: list[h2.events.Event] = []

    async def flush(self) -> None:
        await self.client.send(self.connection.data_to_send())

    async def ask(self, path: str = "/", body: bytes = b"") -> int:
        stream_id = self.connection.get_next_available_stream_id()
        fields = [
            (":method", "POST" if body else "GET"),
            (":path", path),
            (":authority", "test"),
            (":scheme", "http"),
        ]
        self.connection.send_headers(stream_id, fields, end_stream=not body)
        if body:
            self.connection.send_data(stream_id, body, end_stream=True)
        await self.flush()
        return stream_id

    async def read(self) -> list[h2.events.Event]:
        data = await self.client.stream.receive_some(65_536)
        assert data, "the server closed the connection"
        events = self.connection.receive_data(data)
        self.events += events
        await self.flush()
        return events

    async def answer(self, stream_id: int) -> tuple[int, bytes]:
        status, body = 0, b""
        while True:
            for event in self.events:
                if getattr(event, "stream_id", None) != stream_id:
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    assert event.headers is not None
                    status = int(dict(event.headers)[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    assert event.data is not None
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return status, body
            self.events.clear()
            await self.read()

    async def reset_of(self, stream_id: int) -> h2.events.StreamReset:
        while True:
            for event in self.events:
                if isinstance(event, h2.events.StreamReset):
                    assert event.stream_id == stream_id
                    return event
            self.events.clear()
            await self.read()


async def prior_knowledge(server: Server) -> Http2:
    http2 = Http2(await server.connect())
    http2.connection.initiate_connection()
    await http2.flush()
    return http2


async def websocket_echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/denied":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "fail":
            raise RuntimeError
        await send({"type": "websocket.send", "text": message["text"]})


async def both(scope: dict[str, Any], receive: Any, send: Any) -> None:
    handler = websocket_echo if scope["type"] == "websocket" else echo
    await handler(scope, receive, send)


@asynccontextmanager
async def websocket(
    client: Client,
) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    async with trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery, client.stream, "test", "/ws"
        )
        async with socket:
            yield socket


async def test_a_websocket_speaks_after_http_requests_on_its_connection() -> None:
    async with running(both) as server:
        client = await server.connect()
        await client.ask(GET)
        await client.ask(post(b"x"))
        async with websocket(client) as socket:
            for text in ("one", "two", "x" * 100_000):
                await socket.send_message(text)
                assert await socket.get_message() == text


async def test_a_websocket_over_tls(tls: Any) -> None:
    server_tls, client_tls = tls
    async with running(both, tls=server_tls) as server:
        client = await connect_tls(server, client_tls, "http/1.1")
        async with websocket(client) as socket:
            await socket.send_message("secure")
            assert await socket.get_message() == "secure"


async def test_a_websocket_the_app_denies_is_a_403() -> None:
    async with running(both) as server:
        client = await server.connect()
        await client.send(
            b"GET /denied HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n"
            b"Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await client.rest()).startswith(b"HTTP/1.1 403 ")


async def test_a_websocket_whose_app_fails_is_closed_with_1011() -> None:
    async with running(both) as server, websocket(await server.connect()) as socket:
        await socket.send_message("fail")
        with pytest.raises(trio_websocket.ConnectionClosed):
            await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == 1011

    assert [what for what, _ in server.reports] == ["the app raised"]


async def test_a_websocket_client_that_vanishes_ends_its_app() -> None:
    ended = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await websocket_echo(scope, receive, send)
        ended.set()

    async with running(handler) as server:
        client = await server.connect()
        async with trio.open_nursery() as nursery:
            socket = await trio_websocket.wrap_client_stream(
                nursery, client.stream, "test", "/"
            )
            await socket.send_message("x")
            await socket.get_message()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(client.stream)
        await ended.wait()


async def test_http_2_by_prior_knowledge() -> None:
    async with running(echo) as server:
        http2 = await prior_knowledge(server)
        assert await http2.answer(await http2.ask("/a")) == (200, b"GET /a ")
        answer = await http2.answer(await http2.ask("/b", b"body"))
        assert answer == (200, b"POST /b body")


async def test_the_preface_is_recognised_in_any_pieces() -> None:
    async with running(echo) as server:
        for size in (1, 2, 5, 17):
            http2 = Http2(await server.connect())
            http2.connection.initiate_connection()
            data = http2.connection.data_to_send()
            assert data.startswith(PREFACE)
            for at in range(0, len(data), size):
                await http2.client.send(data[at : at + size])
                await trio.testing.wait_all_tasks_blocked()
            assert (await http2.answer(await http2.ask()))[0] == 200


async def test_what_only_begins_like_the_preface_is_refused() -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(PREFACE[:10])
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask(b"nonsense\r\n\r\n"))[0] == 400


async def test_h2c_is_upgraded_and_the_first_answer_is_stream_1() -> None:
    async with running(echo) as server:
        http2 = Http2(await server.connect())
        settings = http2.connection.initiate_upgrade_connection()
        assert settings is not None
        await http2.client.send(
            b"GET /up HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: " + settings + b"\r\n\r\n"
        )
        head = await http2.client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        http2.events += http2.connection.receive_data(http2.client.take_unread())
        await http2.flush()
        assert await http2.answer(1) == (200, b"GET /up ")
        assert (await http2.answer(await http2.ask()))[0] == 200


async def test_alpn_decides_between_http_2_and_1(tls: Any) -> None:
    server_tls, client_tls = tls
    schemes: list[str] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        schemes.append(scope["scheme"] + scope["http_version"])
        await echo(scope, receive, send)

    async with running(handler, tls=server_tls) as server:
        assert server.address.startswith("https://")
        http2 = Http2(await connect_tls(server, client_tls, "h2"))
        http2.connection.initiate_connection()
        await http2.flush()
        assert (await http2.answer(await http2.ask("/", b"x")))[1] == b"POST / x"
        for alpn in (("http/1.1",), ()):
            client = await connect_tls(server, client_tls, *alpn)
            assert await client.ask(post(b"one")) == (200, b"POST / one")
            big = b"y" * 300_000  # Many TLS records, both ways.
            assert await client.ask(post(big)) == (200, b"POST / " + big)

    assert schemes == ["https2"] + ["https1.1"] * 4


async def test_a_plain_request_on_the_tls_port_harms_nobody(tls: Any) -> None:
    server_tls, client_tls = tls
    async with running(echo, tls=server_tls) as server:
        plain = await server.connect()
        await plain.send(GET)
        await plain.rest()
        client = await connect_tls(server, client_tls, "http/1.1")
        assert (await client.ask(GET))[0] == 200

    assert server.reports == []


async def test_a_tls_handshake_has_a_deadline(
    tls: Any, mock_clock: trio.testing.MockClock
) -> None:
    async with running(echo, tls=tls[0]) as server:
        client = await server.connect()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(11)
        assert await client.rest() == b""


async def test_a_tls_client_that_leaves_or_stalls_is_noticed(
    tls: Any, mock_clock: trio.testing.MockClock
) -> None:
    server_tls, client_tls = tls
    over: list[str] = []
    sent = 0

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"z" * 50_000, "more_body": True}
        if scope["path"] == "/leave":
            await read_all(receive)
            await send(piece)
            over.append((await receive())["type"])
            return
        try:
            while True:
                await send(piece)
                sent += 1
        except ClientGone as gone:
            over.append(str(gone))

    async with running(handler, tls=server_tls) as server:
        client = await connect_tls(server, client_tls, "http/1.1")
        await client.send(b"GET /leave HTTP/1.1\r\nHost: t\r\n\r\n")
        await client.until(b"zzz")
        await client.stream.aclose()
        await until(lambda: over == ["http.disconnect"])
        stalled = await connect_tls(server, client_tls, "http/1.1")
        await stalled.send(GET)
        await until(lambda: sent > 0)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked(0.005)
        for _ in range(15):
            mock_clock.jump(3)
            await trio.testing.wait_all_tasks_blocked(0.005)
        await until(lambda: len(over) == 2)

    assert over[1] == "the client read nothing for 30 s"


async def test_an_http_2_peer_that_opens_no_window_loses_that_stream_only(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Neither TCP nor the watchdog sees it stall: the deadline is around send."""
    over = trio.Event()
    protocols: list[H2Protocol] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            await echo(scope, receive, send)
            return
        protocols.append(_http2_of(send.__self__._send)[1])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 40_000, "more_body": True}
        try:
            while True:
                await send(piece)
        finally:
            over.set()

    async with running(handler) as server:
        http2 = Http2(await server.connect())
        http2.connection.initiate_connection()
        http2.connection.increment_flow_control_window(1_000_000)
        await http2.flush()
        stuck = await http2.ask("/stuck")
        while http2.connection.remote_flow_control_window(stuck) > 0:
            await http2.read()
            if (
                sum(
                    len(e.data or b"")
                    for e in http2.events
                    if isinstance(e, h2.events.DataReceived)
                )
                >= 65_535
            ):
                break
        await trio.testing.wait_all_tasks_blocked(0.005)
        mock_clock.jump(31)
        await over.wait()
        reset = await http2.reset_of(stuck)
        assert reset.error_code == h2.errors.ErrorCodes.CANCEL
        # Forgotten by hypercorn's send task, before anything else wakes it.
        await until(lambda: not protocols[0].stream_buffers)
        assert (await http2.answer(await http2.ask("/other")))[0] == 200

    assert server.reports == []


@pytest.mark.parametrize("started", [False, True])
async def test_an_app_that_fails_on_http_2_answers_500_or_resets(started: bool) -> None:
    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise RuntimeError

    async with running(handler) as server:
        http2 = await prior_knowledge(server)
        stream_id = await http2.ask()
        if started:
            await http2.reset_of(stream_id)
        else:
            status, body = await http2.answer(stream_id)
            assert status == 500
            assert b"internal_error" in body

    assert [what for what, _ in server.reports] == ["the app raised"]


async def test_a_body_over_the_limit_is_413_on_http_2_too() -> None:
    async with running(echo, limits=Http11Limits(body_bytes_max=100)) as server:
        http2 = await prior_knowledge(server)
        status, body = await http2.answer(await http2.ask("/", b"x" * 101))

    assert status == 413
    assert b"body_too_large" in body


async def test_a_stalled_http_2_connection_ends_at_the_write_deadline(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Windows wide open, but nobody reads the socket: hypercorn's shielded write."""
    over = trio.Event()
    sent = 0

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 16_000, "more_body": True}
        try:
            while True:
                await send(piece)
                sent += 1
        finally:
            over.set()

    limits = Http11Limits(unsent_bytes_max=20_000, kernel_unsent_bytes_max=20_000)
    async with running(handler, limits=limits) as server:
        http2 = Http2(await server.connect(receive_buffer_bytes=4_096))
        initial = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        http2.connection.initiate_connection()
        http2.connection.update_settings({initial: 2**30})
        http2.connection.increment_flow_control_window(2**30)
        await http2.flush()
        await http2.ask()
        before = -1
        while sent != before or sent == 0:
            before = sent
            await trio.testing.wait_all_tasks_blocked(0.01)
        for _ in range(20):
            mock_clock.jump(4)
            await trio.testing.wait_all_tasks_blocked(0.005)
        await over.wait()


async def test_a_stop_ends_idle_http_2_and_stalled_writes_within_its_limit(
    mock_clock: trio.testing.MockClock,
) -> None:
    started = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await reply(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 40_000, "more_body": True}
        started.set()
        while True:
            await send(piece)

    deadlines = EdgeDeadlines(write_s=600, stop_s=5)
    async with running(handler, deadlines=deadlines) as server:
        idle, stalled = await prior_knowledge(server), await prior_knowledge(server)
        await idle.answer(await idle.ask())
        await stalled.ask("/stall")
        await started.wait()
        await trio.testing.wait_all_tasks_blocked(0.005)
        server.stop.set()
        assert isinstance(await idle.client.rest(), bytes)
        assert not server.stopped.is_set()
        mock_clock.jump(6)
        await server.stopped.wait()
