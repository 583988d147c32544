"""Routing through the whole gateway, in memory, on a virtual clock."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.ledger.messages import ReportAccounts
from actors.router.messages import Plan
from actors.router.policy import replay
from gateway import explaining
from gateway.embed import embedded, text_of
from gateway.embed_providers import CutAfter, Fails, FakeProvider, Mute, Refuses, Says
from gateway.settings.config import Config, ModelConfig
from gateway.settings.routing import RoutingConfig, ShareOf, WeightsConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
BALANCED = RoutingConfig(prefer="balanced")


def changed(made: Config, **model: Any) -> Config:
    """The same configuration with another model table."""
    [one] = made.models
    evolved: ModelConfig = attrs.evolve(one, **model)  # type: ignore[misc]
    return attrs.evolve(made, models=(evolved,))  # type: ignore[misc]


async def test_a_slow_provider_loses_its_traffic_and_wins_it_back(
    autojump_clock: MockClock,
) -> None:
    a = FakeProvider([*[Says(delta_s=0.05)] * 8, *[Says(delta_s=1.9)] * 6, Says()])
    b = FakeProvider([Says(delta_s=0.05)])
    made = changed(config([provider("a"), provider("b")]), routing=BALANCED)
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(20):
            await gateway.post(CHAT, chat(), key=KEY)
        before = len(a.requests)
        for _ in range(20):
            await gateway.post(CHAT, chat(), key=KEY)
        assert 3 <= before <= 17
        # Two or three slow answers were enough, and probes find out about the rest.
        assert len(a.requests) - before <= 8


async def test_waiting_far_beyond_the_prediction_moves_on(
    autojump_clock: MockClock,
) -> None:
    """Long before the deadline, as somebody else is left; nobody is billed twice."""
    a = FakeProvider([Says(), Says(), Says(), Says(), Mute()])
    b = FakeProvider([Says("from b")])
    made = config([provider("a"), provider("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(4):
            await gateway.post(CHAT, chat(), key=KEY)
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "from b"
        record = (await gateway.records())[-1]
        assert [a.outcome for a in record.attempts] == ["slow", "ok"]
        assert 2900 <= record.duration_ms < 4000  # PATIENCE_MIN_S, not first_content_s.


async def test_an_exhausted_rate_limit_is_not_run_into(
    autojump_clock: MockClock,
) -> None:
    limits = {"x-ratelimit-limit-requests": "2", "x-ratelimit-reset-requests": "40s"}
    spent = {**limits, "x-ratelimit-remaining-requests": "0"}
    a = FakeProvider([Fails(500, headers=spent), Says("from a")])
    b = FakeProvider([Says("from b")])
    async with embedded(
        config([provider("a"), provider("b")]), {"a": a, "b": b}, environ=ENV
    ) as gateway:
        for _ in range(3):
            answer = await gateway.post(CHAT, chat(), key=KEY)
            assert text_of(answer.body) == "from b"

        assert len(a.requests) == 1
        assert len(b.requests) == 3


async def test_a_site_that_wants_it_sees_how_it_was_routed(
    autojump_clock: MockClock,
) -> None:
    a, b = FakeProvider([Fails(500)]), FakeProvider([Says("from b")])
    made = config([provider("a"), provider("b")], routing_headers=True)
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=100), key=KEY)

        assert answer.headers["x-stagedoor-route"] == "b/m"
        assert answer.headers["x-stagedoor-attempts"] == "2"
        assert float(answer.headers["x-stagedoor-cost"]) > 0


async def test_without_being_asked_nothing_is_told_of_the_route(
    autojump_clock: MockClock,
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert not [name for name in answer.headers if "stagedoor" in name]


async def test_an_alias_answers_and_is_listed(autojump_clock: MockClock) -> None:
    made = changed(config(), aliases=("quick",))
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, {**chat(), "model": "quick"}, key=KEY)
        listed = await gateway.request("GET", "/v1/models", key=KEY)

        assert answer.status == 200
        assert {"fast", "quick"} <= {one["id"] for one in listed.json()["data"]}


async def test_a_canary_takes_its_share_and_falls_back_on_the_route(
    autojump_clock: MockClock,
) -> None:
    a, new = FakeProvider([Says("from a")]), FakeProvider([Fails(500)])
    made = config([provider("a"), provider("new")], route=["a"])
    made = changed(made, canary=(ShareOf(100, "new", "m"),))
    async with embedded(made, {"a": a, "new": new}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "from a"
        assert len(new.requests) == 1


async def test_a_request_over_its_ceiling_is_refused_before_any_call(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider()
    made = changed(config(), routing=RoutingConfig(request_nanousd_max=1000))
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=1000), key=KEY)

        assert answer.status == 400
        assert answer.json()["error"]["code"] == "request_too_expensive"
        assert not main.requests


async def test_prompts_stay_in_their_regions(autojump_clock: MockClock) -> None:
    a, b = FakeProvider([Says("from a")]), FakeProvider([Says("from b")])
    made = config(
        [provider("a", data_region="us"), provider("b", data_region="eu")],
        routing=RoutingConfig(regions=("eu",)),
    )
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "from b"
        assert not a.requests


async def test_weights_of_ones_own_decide(autojump_clock: MockClock) -> None:
    """All on price: the free one, though it is written last."""
    a, b = FakeProvider([Says("from a")]), FakeProvider([Says("from b")])
    cheap = provider("b")
    [price] = cheap.prices.values()
    cheap = provider(
        "b",
        prices={"m": attrs.evolve(price, output_nanousd_per_mtok=1)},  # type: ignore[misc]
    )
    made = changed(
        config([provider("a"), cheap]),
        routing=RoutingConfig(weights=WeightsConfig(price=1)),
    )
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(12):
            await gateway.post(CHAT, chat(max_tokens=4000), key=KEY)

        assert len(b.requests) > len(a.requests)


HEDGED = {"hedge": True}


async def test_a_hedge_answers_when_the_first_is_late(
    autojump_clock: MockClock,
) -> None:
    """The loser is cancelled, gives back what it held, and pays for its prompt."""
    a = FakeProvider([Says(), Says(), Says(), Says(), Mute()])
    b = FakeProvider([Says("from b")])
    made = changed(config([provider("a"), provider("b")]), **HEDGED)
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(4):
            await gateway.post(CHAT, chat(), key=KEY)
        assert not b.requests
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "from b"
        record = (await gateway.records())[-1]
        assert record.outcome == "ok"
        assert [x.outcome for x in record.attempts] == ["cancelled", "ok"]
        assert record.duration_ms < 2000  # The prediction, not patience.
        assert a.cancelled == 1
        assert (a.open, b.open) == (0, 0)
        whole = 7 * 1000 + 2 * 2000  # What b reports, at its price.
        assert record.cost_nanousd > whole
        assert record.usage_estimated


async def test_a_first_that_comes_through_wins_against_its_hedge(
    autojump_clock: MockClock,
) -> None:
    a = FakeProvider([Says(), Says(), Says(), Says(), Says("late a", delta_s=1.5)])
    b = FakeProvider([Mute()])
    both = config([provider("a"), provider("b")], routing_headers=True)
    made = changed(both, **HEDGED)
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(4):
            await gateway.post(CHAT, chat(), key=KEY)
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "late a"
        assert answer.headers["x-stagedoor-route"] == "a/m"
        record = (await gateway.records())[-1]
        assert [x.outcome for x in record.attempts] == ["ok", "cancelled"]
        assert record.output_tokens == 2
        assert b.cancelled == 1


async def test_when_both_of_a_race_fail_the_third_is_tried(
    autojump_clock: MockClock,
) -> None:
    a = FakeProvider([Says(), Says(), Says(), Says(), Mute()])
    b, c = FakeProvider([Fails(500)]), FakeProvider([Says("from c")])
    made = changed(config([provider("a"), provider("b"), provider("c")]), **HEDGED)
    async with embedded(made, {"a": a, "b": b, "c": c}, environ=ENV) as gateway:
        for _ in range(4):
            await gateway.post(CHAT, chat(), key=KEY)
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert text_of(answer.body) == "from c"
        record = (await gateway.records())[-1]
        assert sorted(x.outcome for x in record.attempts) == ["failed", "ok", "slow"]


async def test_hedges_keep_to_their_budget(autojump_clock: MockClock) -> None:
    """Everything is late: one in twenty is doubled, whatever the time that passes."""
    a, b = FakeProvider([Says(delta_s=1.5)]), FakeProvider([Says(delta_s=1.5)])
    made = changed(
        config([provider("a", in_flight_max=99), provider("b", in_flight_max=99)]),
        **HEDGED,
    )
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)

        async def ask() -> None:
            await gateway.post(CHAT, chat(), key=KEY)

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(ask)
        for _ in range(60):
            await trio.sleep(30)
            await ask()
        calls = len(a.requests) + len(b.requests)
        assert 121 < calls <= 121 + 1 + 121 * 0.05


async def test_a_client_that_leaves_a_race_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    a, b = (
        FakeProvider([Says(), Says(), Says(), Says(), Mute()]),
        FakeProvider([Mute()]),
    )
    made = changed(config([provider("a"), provider("b")]), **HEDGED)
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(4):
            await gateway.post(CHAT, chat(), key=KEY)
        async with gateway.open("POST", CHAT, chat(), key=KEY):
            await trio.sleep(2.0)
            assert (a.open, b.open) == (1, 1)
        await trio.testing.wait_all_tasks_blocked()

        assert (a.open, b.open) == (0, 0)
        record = (await gateway.records())[-1]
        assert record.outcome == "aborted"
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert (account.held_nanousd, account.in_flight) == (0, 0)


async def test_explaining_says_what_would_happen_and_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    made = changed(config([provider("a"), provider("b")]), routing=BALANCED)
    both = {"a": FakeProvider(), "b": FakeProvider()}
    async with embedded(made, both, environ=ENV) as gateway:
        query = b"model=fast&prompt_tokens=1200&output_tokens_max=100"
        status, told = await explaining.answer(gateway.gateway.gate, query)

        assert status == 200
        assert told["prefer"] == "balanced"
        assert {one["deployment"] for one in told["candidates"]} == {"a/m", "b/m"}
        assert set(told["candidates"][0]["parts"]) == {
            "latency",
            "errors",
            "window",
            "price",
        }
        plan = replay(told["inputs"].encode())
        assert isinstance(plan, Plan)
        assert [str(one.deployment) for one in plan.candidates] == [
            one["deployment"] for one in told["candidates"]
        ]
        assert not both["a"].requests + both["b"].requests


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (b"", "model"),
        (b"model=fast&site=nobody", "acme"),
        (b"model=fast&prompt_tokens=-3", "prompt_tokens"),
        (b"model=fast&needs=magic", "needs"),
        (b"model=fast&prompt=secret", "no parameter"),
    ],
)
async def test_a_question_that_is_wrong_is_told_what_is(
    autojump_clock: MockClock, query: bytes, word: str
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        status, told = await explaining.answer(gateway.gateway.gate, query)

        assert status == 400
        assert word in told["error"]["message"]


async def test_the_load_that_routers_see_ends_with_the_calls(
    autojump_clock: MockClock,
) -> None:
    """Whatever way they end: a count that leaks starves a deployment for good."""
    script = [Says(), Fails(500), Mute(), CutAfter(), Refuses(), Says()]
    a, b = FakeProvider(script), FakeProvider([Says()])
    made = config([provider("a"), provider("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        for _ in range(8):
            await gateway.post(CHAT, chat(), key=KEY)
        async with gateway.open("POST", CHAT, chat(), key=KEY):
            pass
        await trio.testing.wait_all_tasks_blocked()

        for spec in gateway.gateway.tree.spec.providers:
            load = spec.cell.load
            assert (load.in_flight, load.queued, load.waiting) == (0, 0, {})
