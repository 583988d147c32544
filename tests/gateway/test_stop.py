"""Ends that nobody asked for: a drain's deadline, and a bug in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from gateway.embed import embedded, events, text_of
from gateway.embed_providers import FakeProvider, PausesAfter, Says
from tests.gateway.gateways import CHAT, KEY, chat, config

ENV = {"PROVIDER_KEY": "sk-upstream-1"}


async def test_a_drain_lets_streams_finish(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("one two three", delta_s=1)])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gateway.gateway.drain)
                answer = await call.read()
        assert text_of(answer.body).endswith("three")
    [record] = gateway.journal.records
    assert record.outcome == "ok"


async def test_a_drain_cuts_the_rest_with_an_error_event(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([PausesAfter()])
    made = config()
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        # Longer than the drain, so that it is the drain that ends it.
        upstream = gateway.gateway.tree.spec.providers[0].cell.upstream
        assert upstream.deadlines.idle_s < made.server.deadlines.drain_s
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            assert await call.chunk()
            await gateway.gateway.tree.system.drain(trio.current_time() + 2)
            answer = await call.read()
        last = [event for event in events(answer.body) if isinstance(event, dict)][-1]
        assert "stopping" in last["error"]["message"]
    [record] = gateway.journal.records
    assert (record.outcome, record.code) == ("error", "request_ended")
    assert main.open == 0


async def test_new_requests_are_refused_while_draining(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("one two", delta_s=1)])
    async with (
        embedded(config(), {"main": main}, environ=ENV) as gateway,
        gateway.open("POST", CHAT, chat(), key=KEY) as call,
    ):
        assert await call.chunk()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.gateway.drain)
            await trio.sleep(0.1)
            refused = await gateway.post(CHAT, chat(), key=KEY)
            assert refused.status == 503
            assert "retry-after" in refused.headers
            await call.read()


class Buggy(FakeProvider):
    """Raises what no provider should, after some content."""

    def _answer(self, behaviour: Any, asked: Any) -> httpx.Response:
        good = super()._answer(behaviour, asked)
        stream = good.stream

        class Body(httpx.AsyncByteStream):
            def __init__(self) -> None:
                assert isinstance(stream, httpx.AsyncByteStream)
                self.left = 2
                self.inner = stream
                self.chunks = aiter(stream)

            def __aiter__(self) -> AsyncIterator[bytes]:
                return self

            async def __anext__(self) -> bytes:
                if not self.left:
                    raise LookupError("canary-bug")
                self.left -= 1
                return await anext(self.chunks)

            async def aclose(self) -> None:
                await self.inner.aclose()

        return httpx.Response(200, headers=good.headers, stream=Body())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bug_in_the_middle_is_an_error_and_one_record(
    autojump_clock: MockClock, stream: bool
) -> None:
    main = Buggy([Says("one two three")]) if stream else Broken()
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(stream=stream), key=KEY)

        assert b"internal_error" in answer.body
        assert b"canary" not in answer.body
        [record] = await gateway.records()
        assert (record.outcome, record.status) == ("crashed", 500)
        assert b"canary" not in gateway.logged()
        names = [n.id for n in gateway.gateway.tree.system.snapshot().walk()]
        assert not [n for n in names if n.startswith("streams/")]


class Broken(FakeProvider):
    """Raises before there is an answer."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._take_key(request)
        raise LookupError("canary-bug")
