"""The edge's WebSockets on the wire: frames, pings, closes, TLS, HTTP/2."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import msgspec
import pytest
import trio
import trio.testing
import trio_websocket
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import TextMessage

from gateway.embed import embedded
from gateway.embed_providers import FakeProvider, PausesAfter, Says
from gateway.http11_transport import EdgeDeadlines
from gateway.websocket_stream import Assembly, text_frame
from tests.gateway.gateways import KEY, config
from tests.gateway.support_http11 import Client, Server, running, until
from tests.gateway.support_tls import tls_pair
from tests.gateway.test_requests import ENV, assert_nothing_held

AUTH = [("authorization", f"Bearer {KEY}")]
CREATE = msgspec.json.encode(
    {"type": "response.create", "model": "fast", "input": "hi"}
).decode()


@given(st.lists(st.text(max_size=70_000), max_size=4))
def test_frames_built_from_bytes_are_what_wsproto_reads(texts: list[str]) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(b"".join(text_frame(text.encode()) for text in texts))
    found, piece = [], ""
    for event in client.events():
        assert isinstance(event, TextMessage)
        piece += event.data
        if event.message_finished:
            found.append(piece)
            piece = ""
    assert found == texts


def test_a_message_is_kept_within_its_bound_and_dropped_beyond_it() -> None:
    assembly = Assembly(10)
    assert assembly.take(TextMessage("01234"))
    assert assembly.take(TextMessage("56789"))
    assert assembly.message()["text"] == "0123456789"
    assert assembly.take(TextMessage("0123456789"))
    assert not assembly.take(TextMessage("x"))
    assert not assembly.take(TextMessage("y" * 100))
    assert assembly.message()["text"] == ""


@asynccontextmanager
async def served(
    main: FakeProvider, **options: Any
) -> AsyncGenerator[tuple[Server, Any]]:
    """A gateway on a loopback socket."""
    async with (
        embedded(config(), {"main": main}, environ=ENV) as gateway,
        running(gateway.app, **options) as server,
    ):
        yield server, gateway


async def completed(socket: trio_websocket.WebSocketConnection) -> list[str]:
    """The types of events up to the end of an answer."""
    types: list[str] = []
    while not types or types[-1] != "response.completed":
        types.append(msgspec.json.decode(await socket.get_message())["type"])
    return types


async def test_a_turn_over_tls(tmp_path: Path) -> None:
    server_tls, client_tls = tls_pair(tmp_path)
    async with (
        served(FakeProvider([Says("a b")]), tls=server_tls) as (server, _),
        trio_websocket.open_websocket(
            "127.0.0.1",
            server.port,
            "/v1/responses",
            use_ssl=client_tls,
            extra_headers=AUTH,
        ) as socket,
    ):
        await socket.send_message(CREATE)
        assert (await completed(socket))[0] == "response.created"


async def test_a_turn_over_http_2s_extended_connect() -> None:
    async with served(FakeProvider([Says("a b")])) as (server, gateway):
        client = await server.connect()
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        connection.initiate_connection()
        await client.send(connection.data_to_send())
        await _events(client, connection)
        assert connection.remote_settings.enable_connect_protocol == 1
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":path", "/v1/responses"),
            (":authority", "t"),
            (":scheme", "http"),
            ("sec-websocket-version", "13"),
            *AUTH,
        ]
        connection.send_headers(1, fields)
        await client.send(connection.data_to_send())
        frames = Connection(ConnectionType.CLIENT)
        status, types = "", []
        sent = False
        while "response.completed" not in types:
            for event in await _events(client, connection):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers or ())[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    frames.receive_data(event.data or b"")
                    for message in frames.events():
                        assert isinstance(message, TextMessage)
                        types.append(msgspec.json.decode(message.data)["type"])
            if status and not sent:
                sent = True
                data = frames.send(TextMessage(CREATE))
                connection.send_data(1, data)
                await client.send(connection.data_to_send())
        assert (status, types[0]) == ("200", "response.created")
        connection.reset_stream(1)
        await client.send(connection.data_to_send())
        await assert_nothing_held(gateway)


async def test_data_before_an_extended_connects_answer_ends_it() -> None:
    """As over HTTP/1.1: whoever sends it takes the stream for something else."""
    asked: list[str] = []
    over = trio.Event()

    async def thinks(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])
        await receive()
        while (await receive())["type"] != "websocket.disconnect":
            pass
        over.set()
        await send({"type": "websocket.accept"})  # It goes nowhere.

    async with running(thinks) as server:
        client = await server.connect()
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        connection.initiate_connection()
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":path", "/v1/responses"),
            (":authority", "t"),
            (":scheme", "http"),
            ("sec-websocket-version", "13"),
        ]
        connection.send_headers(1, fields)
        connection.send_data(1, b"GET /smuggled HTTP/1.1\r\n\r\n")
        await client.send(connection.data_to_send())
        statuses: list[str] = []
        while not statuses:
            statuses += [
                dict(event.headers or ())[":status"]
                for event in await _events(client, connection)
                if isinstance(event, h2.events.ResponseReceived)
            ]
        with trio.fail_after(5):
            await over.wait()
    assert (statuses, asked) == (["400"], ["websocket"])


async def _events(
    client: Client, connection: h2.connection.H2Connection
) -> list[h2.events.Event]:
    data = await client.stream.receive_some(65_536)
    assert data, "the server closed the connection"
    events = connection.receive_data(data)
    await client.send(connection.data_to_send())
    return events


async def test_a_silent_client_is_pinged_and_one_that_answers_stays() -> None:
    async with (
        served(FakeProvider([Says("a")]), deadlines=EdgeDeadlines(ping_s=0.05)) as (
            server,
            _,
        ),
        trio_websocket.open_websocket(
            "127.0.0.1", server.port, "/v1/responses", use_ssl=False, extra_headers=AUTH
        ) as socket,
    ):
        await trio.sleep(0.3)  # Some pings: trio-websocket answers them by itself.
        await socket.send_message(CREATE)
        await completed(socket)


async def test_a_client_that_answers_no_ping_is_left_and_its_answers_end() -> None:
    """Its kernel is there, and takes every byte; it is not."""
    main = FakeProvider([PausesAfter("x")])
    deadlines = EdgeDeadlines(ping_s=0.05)
    async with served(main, deadlines=deadlines) as (server, gateway):
        client = await server.connect()
        async with trio.open_nursery() as nursery:
            socket = await trio_websocket.wrap_client_stream(
                nursery, client.stream, "t", "/v1/responses", extra_headers=AUTH
            )
            await socket.send_message(CREATE)
            await socket.get_message()
            nursery.cancel_scope.cancel()  # Nobody reads any more.
        with trio.fail_after(10):
            await until(lambda: main.cancelled == 1)
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("offer", [b"permessage-deflate", b"permessage-deflate; x=1"])
async def test_compression_is_never_agreed_to(offer: bytes) -> None:
    async with served(FakeProvider([Says("a")])) as (server, _):
        client = await server.connect()
        await client.send(
            b"GET /v1/responses HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Extensions: %b\r\nAuthorization: Bearer %b\r\n\r\n"
            % (offer, KEY.encode())
        )
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower()
        await trio.aclose_forcefully(client.stream)


async def test_the_close_frame_arrives_though_the_client_still_sends() -> None:
    """A close is a frame to be read, not a reset that overtakes it."""
    async with (
        served(FakeProvider([Says("a")])) as (server, _),
        trio.open_nursery() as nursery,
    ):
        client = await server.connect()
        socket = await trio_websocket.wrap_client_stream(
            nursery, client.stream, "t", "/v1/responses", extra_headers=AUTH
        )
        await socket.send_message(b"bytes")
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                await socket.send_message("x" * 10_000)
        assert socket.closed is not None
        assert socket.closed.code == 1003
        nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(client.stream)
