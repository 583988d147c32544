"""An answer is complete when its grammar says so, whatever its connection does then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock

from actors.stream import actor
from gateway.embed import embedded, events, text_of
from gateway.embed_providers import FakeProvider, Says
from gateway.settings.hooks import HookConfig
from tests.gateway.gateways import CHAT, KEY, chat, config
from tests.gateway.test_requests import ENV, assert_nothing_held

CHUNK: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
)
PIECES: Final = (
    CHUNK + b'"choices":[{"index":0,"delta":{"content":"First"}}]}\n\n',
    CHUNK + b'"choices":[{"index":0,"delta":{"content":" last"}}]}\n\n',
    CHUNK + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    CHUNK + b'"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,'
    b'"total_tokens":9}}\n\n',
    b"data: [DONE]\n\n",
)
QUIET: Final = HookConfig(name="quiet", kind="redact")


@attrs.define
class LateEnd(httpx.AsyncBaseTransport):
    """A provider whose body does not end with its answer."""

    then: str
    closed: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return httpx.Response(200, stream=LateBody(self))


@attrs.define
class LateBody(httpx.AsyncByteStream):
    provider: LateEnd

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in PIECES:
            await trio.lowlevel.checkpoint()
            yield piece
        if self.provider.then == "breaks":
            raise httpx.ReadError("reset")
        while self.provider.then == "babbles":
            await trio.sleep(0.1)
            yield b"data: {nonsense\n\n"
        await trio.sleep_forever()

    async def aclose(self) -> None:
        self.provider.closed += 1


@pytest.mark.parametrize("hooks", [(), (QUIET,)], ids=["bare", "hooked"])
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
@pytest.mark.parametrize("then", ["breaks", "babbles", "stalls"])
async def test_what_follows_the_end_of_an_answer_neither_spoils_it_nor_holds_it_up(
    then: str, path: str, hooks: tuple[Any, ...], autojump_clock: MockClock
) -> None:
    main = LateEnd(then)
    made = attrs.evolve(config(), hooks=hooks)  # type: ignore[misc]
    body = chat(max_tokens=100)
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        began = trio.current_time()
        answer = await gateway.post(path, body, key=KEY)

        assert trio.current_time() - began < 1
        assert b"error" not in answer.body
        if path == CHAT:
            assert text_of(answer.body) == "First last"
            assert list(events(answer.body))[-1] == "[DONE]"
        (record,) = await gateway.records()
        assert (record.outcome, record.finish) == ("ok", "stop")
        assert (record.prompt_tokens, record.output_tokens) == (7, 2)
        assert [attempt.outcome for attempt in record.attempts] == ["ok"]
        assert main.closed == 1
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stream_that_fails_at_its_own_record_still_ends_for_its_client(
    stream: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(stream: object) -> object:
        raise RuntimeError("no record")

    main = FakeProvider([Says("Hello")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        with monkeypatch.context() as patched, trio.fail_after(60):
            patched.setattr(actor, "record_of", broken)
            answer = await gateway.post(CHAT, chat(stream=stream), key=KEY)
        assert answer.status == 200
        (record,) = await gateway.records()  # The auditor's own, of a slot left open.
        assert record.outcome == "crashed"
        await assert_nothing_held(gateway)


async def test_who_leaves_with_the_end_of_the_answer_has_had_all_of_it(
    autojump_clock: MockClock,
) -> None:
    main = LateEnd("stalls")
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            seen = b""
            while b"[DONE]" not in seen:
                seen += await call.chunk()
        await trio.sleep(1)

        (record,) = await gateway.records()
        assert (record.outcome, record.output_tokens) == ("ok", 2)
        await assert_nothing_held(gateway)
