"""A client that leaves: its upstream is left in the same moment, on each transport.

The clock does not move in between: nothing polls, no timer runs. What it takes on a
machine is in `bench/RESULTS.md` (`python -m bench.stream`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gateway.embed import Embedded, embedded
from gateway.embed_providers import Behaviour, FakeProvider, PausesAfter, Silent
from gateway.http11 import only_client_gone
from tests.gateway.gateways import CHAT, KEY, chat, config
from tests.gateway.support_http11 import running
from tests.gateway.support_socket import socket
from tests.gateway.test_granted_sockets import offered
from tests.gateway.test_requests import ENV, assert_nothing_held
from tests.gateway.test_stream_grants import ORIGIN, issue

WAYS = ("SSE", "WebSocket", "grant", "grant by WebSocket", "HTTP/2")


def left_by(way: str, gateway: Embedded) -> AbstractAsyncContextManager[None]:
    """A stream that is under way inside, and left at its end."""
    return {
        "SSE": _sse,
        "WebSocket": _socket,
        "grant": _grant,
        "grant by WebSocket": _granted_socket,
        "HTTP/2": _http2,
    }[way](gateway)


@asynccontextmanager
async def _sse(gateway: Embedded) -> AsyncGenerator[None]:
    async with gateway.open("POST", CHAT, chat(), key=KEY):
        yield


@asynccontextmanager
async def _grant(gateway: Embedded) -> AsyncGenerator[None]:
    path = (await issue(gateway))["path"]
    async with gateway.open("GET", path, headers={"origin": ORIGIN}):
        yield


@asynccontextmanager
async def _socket(gateway: Embedded) -> AsyncGenerator[None]:
    async with socket(gateway, "/v1/chat/completions/ws", key=KEY) as client:
        await client.send({"type": "response.create", **chat()})
        yield


@asynccontextmanager
async def _granted_socket(gateway: Embedded) -> AsyncGenerator[None]:
    path = (await issue(gateway))["path"]
    async with socket(gateway, subprotocols=offered(path), headers={"origin": ORIGIN}):
        yield


@asynccontextmanager
async def _http2(gateway: Embedded) -> AsyncGenerator[None]:
    """Where nobody calls back, and only a wait can tell."""
    gone = trio.Event()
    body = [{"type": "http.request", "body": msgspec.json.encode(chat())}]

    async def receive() -> dict[str, object]:
        if body:
            return dict(body.pop())
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        del message
        await trio.lowlevel.checkpoint()

    fields = [
        (b"authorization", b"Bearer " + KEY.encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "headers": fields,
    }

    async def run() -> None:
        try:
            await gateway.app(scope, receive, send)
        except ExceptionGroup as error:
            if not only_client_gone(error):  # As the edge takes it.
                raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield
        gone.set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("resume", ["off", "cancel"])
@pytest.mark.parametrize(
    "behaviour", [PausesAfter("x"), Silent()], ids=["in a pause", "before a word"]
)
async def test_whoever_leaves_ends_the_call_in_the_same_moment(
    mock_clock: MockClock, way: str, resume: str, behaviour: Behaviour
) -> None:
    """The clock stands still all the while."""
    main = FakeProvider([behaviour])
    made = config(allowed_origins=(ORIGIN,), resume=resume)
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        async with left_by(way, gateway):
            await trio.testing.wait_all_tasks_blocked()
            assert main.open == 1
            began = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()

        assert (main.open, main.cancelled) == (0, 1)
        assert trio.current_time() == began
        [record] = await gateway.records()
        assert record.outcome == "aborted"
        await assert_nothing_held(gateway)


async def test_a_client_that_closes_its_line_is_heard_at_once(
    mock_clock: MockClock,
) -> None:
    """The same through the edge: a close and a reset of a real socket."""
    main = FakeProvider([PausesAfter("x")])
    async with (
        embedded(config(), {"main": main}, environ=ENV) as gateway,
        running(gateway.app) as server,
    ):
        body = msgspec.json.encode(chat())
        for place in range(2):
            client = await server.connect()
            await client.send(
                b"POST %b HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %b\r\n"
                b"Content-Length: %d\r\n\r\n%b"
                % (CHAT.encode(), KEY.encode(), len(body), body)
            )
            await client.until(b'"content":"x"')
            began = trio.current_time()
            if place:
                await trio.aclose_forcefully(client.stream)
            else:
                await client.stream.aclose()
            while main.open:
                await trio.testing.wait_all_tasks_blocked(0.001)
            assert trio.current_time() == began
        assert main.cancelled == 2
