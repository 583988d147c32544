"""Mirrors: another deployment answers as well, and no client ever notices."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.auditor.messages import RequestRecord
from actors.ledger.messages import NANOUSD_PER_USD, ReportAccounts
from gateway.embed import Embedded, embedded, text_of
from gateway.embed_providers import (
    Behaviour,
    BreaksAfter,
    Fails,
    FakeProvider,
    Mute,
    Refuses,
    Says,
    Silent,
)
from gateway.settings.config import Config
from gateway.settings.routing import RoutingConfig, ShareOf
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held

T = TypeVar("T")


def changed(value: T, **changes: Any) -> T:
    """Settings with some of them changed."""
    return attrs.evolve(value, **changes)  # type: ignore[misc]


def mirrored(percent: int = 100, shadow: Any = None, **site: Any) -> Config:
    """The model at `main`, mirrored to `shadow`."""
    made = config(
        [provider("main"), shadow or provider("shadow")], route=["main"], **site
    )
    share = ShareOf(percent, "shadow", "m")
    return changed(made, models=(changed(made.models[0], mirror=(share,)),))


@asynccontextmanager
async def gateway_of(
    shadow: Sequence[Behaviour] = (Says("from the shadow"),),
    made: Config | None = None,
    main: Sequence[Behaviour] = (Says("from main"),),
) -> AsyncGenerator[tuple[Embedded, FakeProvider, FakeProvider]]:
    """A gateway that mirrors all."""
    first, second = FakeProvider(main), FakeProvider(shadow)
    async with embedded(
        made or mirrored(), {"main": first, "shadow": second}, environ=ENV
    ) as gateway:
        yield gateway, first, second


async def apart(gateway: Embedded) -> tuple[list[RequestRecord], list[RequestRecord]]:
    """The clients' records, and the mirrors'."""
    await trio.testing.wait_all_tasks_blocked()
    records = await gateway.records()
    return (
        [one for one in records if not one.aside],
        [one for one in records if one.aside],
    )


async def metrics_of(gateway: Embedded) -> str:
    """What a scraper reads."""
    return (await gateway.request("GET", "/metrics")).body.decode()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_mirror_is_asked_the_same_recorded_and_paid(
    autojump_clock: MockClock, stream: bool
) -> None:
    async with gateway_of() as (gateway, main, shadow):
        answer = await gateway.post(CHAT, chat("the same", stream=stream), key=KEY)

        assert b"from main" in answer.body or text_of(answer.body) == "from main"
        [own], [mirror] = await apart(gateway)
        assert msgspec.json.decode(shadow.requests[0]) == msgspec.json.decode(
            main.requests[0]
        )
        assert (mirror.aside, mirror.mirror_of) == ("mirror", own.request_id)
        assert (mirror.outcome, mirror.feature) == ("ok", "mirror")
        assert [one.provider for one in mirror.attempts] == ["shadow"]
        assert mirror.cost_nanousd > 0
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert account.spent_nanousd == own.cost_nanousd + mirror.cost_nanousd
        await assert_nothing_held(gateway)


async def test_a_mirror_is_counted_apart_from_requests(
    autojump_clock: MockClock,
) -> None:
    async with gateway_of() as (gateway, _main, _shadow):
        await gateway.post(CHAT, chat(), key=KEY)
        await apart(gateway)

        lines = (await metrics_of(gateway)).splitlines()
        served = [one for one in lines if one.startswith("stagedoor_requests_total{")]
        assert [("main" in one, one.endswith(" 1.0")) for one in served] == [
            (True, True)
        ]
        assert 'stagedoor_asides_total{kind="mirror",outcome="ok"} 1.0' in lines
        spend = [one for one in lines if one.startswith("stagedoor_spend_usd_total{")]
        assert {'provider="main"' in one for one in spend} == {True, False}
        assert any('gen_ai_operation_name="mirror"' in one for one in lines)


@pytest.mark.parametrize(
    "shadow",
    [Refuses(), Fails(500), Fails(429), Fails(401), Silent(), Mute(), BreaksAfter()],
    ids=lambda one: type(one).__name__ + str(getattr(one, "status", "")),
)
async def test_a_mirror_that_fails_fails_alone(
    autojump_clock: MockClock, shadow: Behaviour
) -> None:
    """One call, no retry; and the client has had its answer before."""
    async with gateway_of([shadow]) as (gateway, main, other):
        began = trio.current_time()
        answer = await gateway.post(CHAT, chat(), key=KEY)
        took_s = trio.current_time() - began

        assert text_of(answer.body) == "from main"
        assert took_s < 1.0
        await trio.sleep(61.0)
        [own], [mirror] = await apart(gateway)
        assert own.outcome == "ok"
        assert mirror.outcome == "error"
        assert (len(main.requests), len(other.requests)) == (1, 1)
        await assert_nothing_held(gateway)


async def test_a_failed_request_is_not_mirrored(autojump_clock: MockClock) -> None:
    async with gateway_of(main=[Fails(400)]) as (gateway, _main, shadow):
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 400
        _, mirrors = await apart(gateway)
        assert (mirrors, shadow.requests) == ([], [])


async def test_a_client_that_leaves_is_not_mirrored(autojump_clock: MockClock) -> None:
    async with gateway_of(main=[Mute()]) as (gateway, _main, shadow):
        async with gateway.open("POST", CHAT, chat(), key=KEY):
            await trio.sleep(0.5)
        await trio.sleep(1.0)
        _, mirrors = await apart(gateway)
        assert (mirrors, shadow.requests) == ([], [])


async def test_what_is_mirrored_is_a_sample(autojump_clock: MockClock) -> None:
    async with gateway_of(made=mirrored(30)) as (gateway, _main, _shadow):
        for _ in range(100):
            await gateway.post(CHAT, chat(), key=KEY)
        own, mirrors = await apart(gateway)
        assert len(own) == 100
        assert 15 <= len(mirrors) <= 45


async def test_a_mirror_takes_no_place_and_no_rate(autojump_clock: MockClock) -> None:
    """A site that may have one request at once, and two a minute, has them."""
    made = mirrored(in_flight_max=1, requests_per_minute_max=2)
    async with gateway_of([Silent()], made) as (gateway, _main, shadow):
        first = await gateway.post(CHAT, chat(), key=KEY)
        second = await gateway.post(CHAT, chat(), key=KEY)

        assert (first.status, second.status) == (200, 200)
        await trio.testing.wait_all_tasks_blocked()
        assert len(shadow.requests) == 2
        third = await gateway.post(CHAT, chat(), key=KEY)
        assert third.status == 429  # The site's own rate, not the mirrors'.


async def test_mirrors_leave_a_fifth_of_the_calls_to_clients(
    autojump_clock: MockClock,
) -> None:
    """Four calls at once: the fifth mirror waits for none, and is not made."""
    async with gateway_of([Silent()]) as (gateway, _main, shadow):
        for _ in range(6):
            await gateway.post(CHAT, chat(), key=KEY)
        await trio.testing.wait_all_tasks_blocked()

        assert len(shadow.requests) == 4
        _, mirrors = await apart(gateway)
        assert [one.code for one in mirrors] == ["provider_busy"] * 2


async def test_mirrors_are_bounded_and_what_is_beyond_is_counted(
    autojump_clock: MockClock,
) -> None:
    roomy = provider("shadow", in_flight_max=100)
    async with gateway_of([Silent()], mirrored(shadow=roomy)) as (gateway, _m, shadow):
        for _ in range(35):
            await gateway.post(CHAT, chat(), key=KEY)
        await trio.testing.wait_all_tasks_blocked()

        assert len(shadow.requests) == 32
        text = await metrics_of(gateway)
        assert 'stagedoor_asides_total{kind="mirror",outcome="dropped"} 3.0' in text


async def test_a_drain_ends_mirrors_at_once(autojump_clock: MockClock) -> None:
    async with gateway_of([Mute()]) as (gateway, _main, shadow):
        await gateway.post(CHAT, chat(), key=KEY)
        await trio.testing.wait_all_tasks_blocked()
        assert shadow.open == 1
        began = trio.current_time()
        await gateway.gateway.drain()

        assert trio.current_time() - began < 0.1
        assert shadow.open == 0
    mirrors = [one for one in gateway.journal.records if one.aside]
    assert [one.outcome for one in mirrors] == ["error"]


async def test_a_prompt_is_mirrored_to_allowed_regions_only(
    autojump_clock: MockClock,
) -> None:
    made = mirrored(
        shadow=provider("shadow", data_region="us"),
        routing=RoutingConfig(regions=("eu",)),
    )
    main, shadow = made.providers
    made = changed(made, providers=(changed(main, data_region="eu"), shadow))
    async with gateway_of(made=made) as (gateway, _main, other):
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 200
        own, mirrors = await apart(gateway)
        assert (len(own), mirrors, other.requests) == (1, [], [])


async def test_the_last_tenth_of_a_cap_is_for_clients(
    autojump_clock: MockClock,
) -> None:
    """Requests go on until the cap is spent; mirrors end before."""
    ask = chat(max_completion_tokens=100)
    made = mirrored(spend_max_nanousd=NANOUSD_PER_USD // 400, pacing=False)
    async with gateway_of(made=made) as (gateway, _main, shadow):
        statuses: list[int] = []
        while len(statuses) < 500 and (not statuses or statuses[-1] == 200):
            answer = await gateway.post(CHAT, ask, key=KEY)
            statuses.append(answer.status)
            await trio.testing.wait_all_tasks_blocked()

        assert statuses[-1] == 429
        own, mirrors = await apart(gateway)
        assert len(shadow.requests) < len(own) - 1
        assert {one.code for one in mirrors if one.outcome == "error"} == {
            "insufficient_quota"
        }
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert account.spent_nanousd <= NANOUSD_PER_USD // 400


async def test_what_is_mirrored_is_stored_nowhere(autojump_clock: MockClock) -> None:
    """A provider that keeps answers keeps those that clients know of."""
    async with gateway_of() as (gateway, _main, shadow):
        await gateway.post(
            "/v1/responses", {"model": "fast", "input": "hi", "store": True}, key=KEY
        )
        await apart(gateway)

        assert len(shadow.requests) == 1
        assert msgspec.json.decode(shadow.requests[0]).get("store") is not True
