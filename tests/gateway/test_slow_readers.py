"""A client that reads a kilobyte at a time, on each transport, over real sockets.

Nothing is timed: a slow reader is one that reads again only when everything else has
come to rest. Then what lies between it and the provider is all there can be.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import h2.config
import h2.connection
import h2.events
import msgspec
import pytest
import trio
import trio.testing
import trio_websocket

from actors.stream.messages import CHUNKS_BUFFERED_MAX
from actors.tapes.tape import AHEAD_BYTES_MAX, RUN_BYTES_MAX
from gateway.embed import Embedded, embedded
from gateway.embed_providers import FakeProvider, Floods
from gateway.http11_parser import Http11Limits
from tests.gateway.gateways import CHAT, KEY, chat, config
from tests.gateway.support_http11 import Client, running
from tests.gateway.test_requests import ENV, assert_nothing_held

DELTA_CHARS: Final = 1_000
CHUNK_BYTES_MAX: Final = 1_300  # Of one such delta, with what is around it.
READ_BYTES: Final = 1_024
READS: Final = 40
RECEIVE_BUFFER_BYTES: Final = 16_384
WINDOW_BYTES: Final = 65_535  # HTTP/2's, of a stream and of a connection.
LIMITS: Final = Http11Limits()

# Every stage that may hold bytes, each by the name of its own bound.
OURS: Final = (
    # In the channel, and the run of it that is being written.
    2 * CHUNKS_BUFFERED_MAX * CHUNK_BYTES_MAX + LIMITS.unsent_bytes_max
)
KERNELS: Final = (
    LIMITS.kernel_unsent_bytes_max
    # A buffer counts twice what was asked for, and its segments' own weight.
    + 4 * RECEIVE_BUFFER_BYTES
    + 65_536  # What the sender's kernel takes in one go.
)
TAPE: Final = AHEAD_BYTES_MAX + RUN_BYTES_MAX + CHUNK_BYTES_MAX
HTTP2: Final = 2 * LIMITS.unsent_bytes_max + WINDOW_BYTES

Read = Callable[[], Awaitable[int]]
Connect = Callable[[], Awaitable[Client]]

ORIGIN: Final = "https://www.acme.example"
# How a reader comes by its stream: its own key, or a grant; and whether it is kept.
WAYS: Final = ("key", "grant", "key, kept", "grant, kept")


@asynccontextmanager
async def served(
    way: str = "key",
) -> AsyncGenerator[tuple[Embedded, FakeProvider, Connect]]:
    """A gateway on a socket, whose provider never stops."""
    main = FakeProvider([Floods(DELTA_CHARS)])
    resume = "cancel" if way.endswith("kept") else "off"
    made = config(allowed_origins=(ORIGIN,), resume=resume)
    async with (
        embedded(made, {"main": main}, environ=ENV) as gateway,
        running(gateway.app) as server,
    ):

        async def connect() -> Client:
            return await server.connect(receive_buffer_bytes=RECEIVE_BUFFER_BYTES)

        yield gateway, main, connect


async def granted(gateway: Embedded) -> str:
    """The path of a grant."""
    body = {"request": chat(), "origin": ORIGIN}
    path = (await gateway.post("/v1/stream_grants", body, key=KEY)).json()["path"]
    assert isinstance(path, str)
    return path


def bound(way: str) -> int:
    """What may lie between, of a stream that is read in this way."""
    return OURS + KERNELS + (TAPE if way.endswith("kept") else 0)


async def still() -> None:
    """Until nothing moves any more."""
    await trio.testing.wait_all_tasks_blocked(0.02)


async def crawl(main: FakeProvider, read: Read, bytes_max: int) -> None:
    """Read slowly; what was taken from the provider stays close to what was read."""
    taken = 0
    pulled: list[int] = []
    for _ in range(READS):
        taken += await read()
        await still()
        pulled.append(main.chunks_pulled)
        in_flight = main.chunks_pulled * DELTA_CHARS - taken
        assert in_flight <= bytes_max, f"{in_flight} bytes lie between"
    # It was held back, not broken off: it goes on as the client reads on.
    before = main.chunks_pulled
    while main.chunks_pulled == before:
        taken += await read()
        await still()


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_reader_of_sse_over_http_1_holds_its_provider_back(
    way: str,
) -> None:
    async with served(way) as (gateway, main, connect):
        client = await connect()
        body = msgspec.json.encode(chat())
        if way.startswith("grant"):
            path = (await granted(gateway)).encode()
            asked = b"GET %b HTTP/1.1\r\nHost: t\r\nOrigin: %b\r\n\r\n"
            await client.send(asked % (path, ORIGIN.encode()))
        else:
            await client.send(
                b"POST %b HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (CHAT.encode(), KEY.encode(), len(body), body)
            )

        async def read() -> int:
            return len(await client.stream.receive_some(READ_BYTES))

        await crawl(main, read, bound(way))
        await client.stream.aclose()
        await still()
        await assert_nothing_held(gateway)
        assert main.cancelled == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_reader_of_sse_over_http_2_holds_its_provider_back(
    way: str,
) -> None:
    async with served(way) as (gateway, main, connect):
        client = await connect()
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        connection.initiate_connection()
        body = msgspec.json.encode(chat())
        if way.startswith("grant"):
            asked = [(":method", "GET"), (":path", await granted(gateway))]
            asked += [("origin", ORIGIN)]
        else:
            asked = [(":method", "POST"), (":path", CHAT)]
            asked += [("authorization", f"Bearer {KEY}")]
            asked += [("content-type", "application/json")]
        fields = [*asked[:2], (":authority", "t"), (":scheme", "http"), *asked[2:]]
        connection.send_headers(1, fields, end_stream=way.startswith("grant"))
        if way.startswith("key"):
            connection.send_data(1, body, end_stream=True)
        await client.send(connection.data_to_send())
        headers: dict[str, str] = {}

        async def read() -> int:
            """Take what is there, and open the window by a kilobyte."""
            with trio.move_on_after(0.05):
                data = await client.stream.receive_some(READ_BYTES)
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        headers.update(event.headers or ())
            # Flow control alone says that more may come.
            for stream_id in (None, 1):
                connection.increment_flow_control_window(READ_BYTES, stream_id)
            await client.send(connection.data_to_send())
            return READ_BYTES

        await still()
        await crawl(main, read, bound(way) + HTTP2)
        assert headers[":status"] == "200"
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        private = "no-store" if way.startswith("grant") else "no-cache"
        assert headers["cache-control"] == f"{private}, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert "connection" not in headers
        assert "content-encoding" not in headers
        connection.reset_stream(1)
        await client.send(connection.data_to_send())
        await still()
        await assert_nothing_held(gateway)
        assert main.cancelled == 1


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/chat/completions/ws", "by a grant"]
)
async def test_a_slow_reader_of_a_websocket_holds_its_provider_back(path: str) -> None:
    create = {"type": "response.create", "model": "fast"}
    asked = {"input": "x"} if path == "/v1/responses" else chat()
    async with served() as (gateway, main, connect):
        headers = [("authorization", f"Bearer {KEY}")]
        protocols: list[str] = []
        if path == "by a grant":
            token = (await granted(gateway)).rpartition("/")[2]
            protocols = ["stagedoor", f"stagedoor-grant.{token}"]
            headers = [("origin", ORIGIN)]
        async with trio.open_nursery() as nursery:
            client = await connect()
            socket = await trio_websocket.wrap_client_stream(
                nursery,
                _Crawling(client.stream),
                "t",
                "/v1/responses" if protocols else path,
                subprotocols=protocols,
                extra_headers=headers,
            )
            if not protocols:
                message = msgspec.json.encode({**asked, **create}).decode()
                await socket.send_message(message)

            async def read() -> int:
                return len(await socket.get_message())

            await crawl(main, read, OURS + KERNELS + 2 * READ_BYTES)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(client.stream)
        await still()
        await assert_nothing_held(gateway)
        assert main.cancelled == 1


class _Crawling(trio.abc.Stream):
    """A stream whose reads are small, whatever is asked for."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        del max_bytes
        return await self.stream.receive_some(READ_BYTES)

    async def aclose(self) -> None:
        await self.stream.aclose()
