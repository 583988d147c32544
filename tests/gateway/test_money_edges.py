"""Money where answers are left early, tiers are not what was asked, bounds collide."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.ledger.messages import Price
from actors.ledger.pricing import served
from gateway.embed import embedded
from gateway.embed_providers import Behaviour, FakeProvider, Says, Silent
from gateway.settings.prices import PriceConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held
from wire.dialect import Target
from wire.flavours import FLAVOURS
from wire.openai_chat import CHAT as OPENAI_CHAT

PRICES = {
    "m": PriceConfig(
        input_nanousd_per_mtok=1_000_000_000, output_nanousd_per_mtok=2_000_000_000
    )
}
WORD = "Something of a sentence. "


class LongClaude(FakeProvider):
    """Anthropic's way: the prompt's tokens at the start, the answer's at the end."""

    def _answer(self, behaviour: object, asked: Any) -> httpx.Response:
        del behaviour, asked
        return self._response(
            200, {"content-type": "text/event-stream"}, _claude_for_ever
        )


async def _claude_for_ever() -> AsyncGenerator[bytes, None]:
    usage = {"input_tokens": 50, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    yield _event("message_start", message={**message, "content": [], "usage": usage})
    block = {"type": "text", "text": ""}
    yield _event("content_block_start", index=0, content_block=block)
    while True:
        await trio.sleep(1)
        delta = {"type": "text_delta", "text": WORD}
        yield _event("content_block_delta", index=0, delta=delta)


def _event(kind: str, **fields: Any) -> bytes:
    data = msgspec.json.encode({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


@pytest.mark.parametrize("path", ["/v1/messages", CHAT])
async def test_an_answer_left_early_is_billed_for_what_came_of_it(
    autojump_clock: MockClock, path: str
) -> None:
    """The usage that Anthropic tells at the start knows nothing of the answer."""
    claude = provider(
        "main", kind="anthropic", base_url="https://main.example", prices=PRICES
    )
    async with embedded(
        config([claude]), {"main": LongClaude()}, environ=ENV
    ) as gateway:
        body = chat(max_tokens=4000)
        async with gateway.open("POST", path, body, key=KEY) as call:
            for _ in range(40):
                await call.chunk()
            call.leave()
            await trio.sleep(1)

        record = (await gateway.records())[-1]
        assert record.outcome == "aborted"
        assert record.prompt_tokens == 50
        assert record.output_tokens >= 100
        assert record.usage_estimated
        assert record.cost_nanousd == 50 * 1000 + record.output_tokens * 2000
        await assert_nothing_held(gateway)


TIERED = Price(1000, 2000, flex=Price(500, 1000), batch=Price(500, 1000))


@pytest.mark.parametrize(
    ("asked", "told", "input_price"),
    [
        (None, None, 1000),
        ("flex", "flex", 500),
        ("flex", "default", 1000),
        ("flex", None, 1000),
        ("batch", None, 1000),
        ("batch", "standard", 1000),
        ("flex", "auto", 1000),
        ("flex", "SERVICE_TIER_FLEX", 500),
        (None, "flex", 500),
    ],
)
def test_the_service_that_was_given_is_charged_not_the_one_asked_for(
    asked: str | None, told: str | None, input_price: int
) -> None:
    """Asking for a batch price does not make a call a batch."""
    assert served(TIERED, asked, told).input_nanousd_per_mtok == input_price


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
@pytest.mark.parametrize(
    ("preferred", "legacy"), [(10, 100_000), (10, None), (None, 10)]
)
def test_the_bound_that_is_sent_is_the_one_that_is_held_for(
    flavour: str, preferred: int | None, legacy: int | None
) -> None:
    """A second spelling, or a null beside it, must not undo the first."""
    asked = chat(max_completion_tokens=preferred, max_tokens=legacy)
    body = msgspec.json.encode(asked)
    head = OPENAI_CHAT.read_head(body, {})
    target = Target(model="m", flavour=flavour, max_output_tokens=4096)

    sent = msgspec.json.decode(OPENAI_CHAT.forward_request(body, {}, head, target).body)

    bounds = {sent.get("max_tokens"), sent.get("max_completion_tokens")} - {None}
    assert head.max_output_tokens == 10
    assert bounds == {10}


async def test_the_record_tells_the_service_that_was_given(
    autojump_clock: MockClock,
) -> None:
    """A fake that says nothing of tiers is charged at the standard price."""
    made = config()
    async with embedded(
        made, {"main": FakeProvider([Says("one two")])}, environ=ENV
    ) as gateway:
        await gateway.post(CHAT, chat(service_tier="flex"), key=KEY)
        record = (await gateway.records())[-1]
        assert record.cost_nanousd == 7 * 1000 + 2 * 2000


@pytest.mark.parametrize(
    ("behaviour", "output_tokens", "estimated"),
    [(Says("one two three", delta_s=5), 3, False), (Silent(), 0, True)],
)
async def test_a_whole_answer_that_nobody_waits_for_is_paid_where_it_is_billed(
    autojump_clock: MockClock,
    behaviour: Behaviour,
    output_tokens: int,
    estimated: bool,
) -> None:
    """Else a client that leaves at the last moment would never spend anything."""
    made = config([provider("main", on_abort="drain")])
    main = FakeProvider([behaviour])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        body = chat(stream=False)
        async with gateway.open("POST", CHAT, body, key=KEY):
            await trio.sleep(1)
        await trio.sleep(30)

        [record] = await gateway.records()
        assert record.outcome == "aborted"
        assert record.output_tokens == output_tokens
        assert record.usage_estimated == estimated
        assert record.cost_nanousd >= 7 * 1000 + output_tokens * 2000
        assert main.open == 0
        await assert_nothing_held(gateway)


async def test_a_whole_answer_that_was_cancelled_costs_nothing_where_that_is_so(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Silent()])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(stream=False), key=KEY):
            await trio.sleep(1)
        await trio.sleep(1)

        [record] = await gateway.records()
        assert (record.outcome, record.cost_nanousd) == ("aborted", 0)
        assert (main.open, main.cancelled) == (0, 1)
        await assert_nothing_held(gateway)


@pytest.mark.parametrize(
    "ttl", ['"1h"', '"\\u0031h"', '"1\\u0068"', '"\\u0031\\u0068"']
)
async def test_a_dearer_cache_is_held_for_however_it_is_spelt(
    autojump_clock: MockClock, ttl: str
) -> None:
    """Bytes pass to the provider as they are, and it reads escapes too."""
    prices = {
        "m": PriceConfig(
            input_nanousd_per_mtok=1_000_000_000,
            output_nanousd_per_mtok=2_000_000_000,
            cache_write_1h_nanousd_per_mtok=10**13,
        )
    }
    claude = provider(
        "main", kind="anthropic", base_url="https://main.example", prices=prices
    )
    made = config([claude], spend_max_nanousd=10**9)
    main = LongClaude()
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        body = (
            '{"model":"fast","max_tokens":9,"messages":[{"role":"user","content":'
            '[{"type":"text","text":"' + "many words " * 90 + '",'
            '"cache_control":{"type":"ephemeral","ttl":' + ttl + "}}]}]}"
        )
        answer = await gateway.post("/v1/messages", body.encode(), key=KEY)

        assert answer.status == 429
        assert not main.requests
