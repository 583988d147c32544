"""Routing through the whole gateway, in memory, on a virtual clock."""

from __future__ import annotations

from typing import Any

import attrs
from trio.testing import MockClock

from gateway.embed import (
    Fails,
    FakeProvider,
    Mute,
    Says,
    embedded,
    text_of,
)
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
