"""Caps, ladders and rates through the whole gateway, in memory, on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from actors.ledger.messages import Adjust, ResetCap
from gateway.assembly import caps_of, site_limits
from gateway.embed import Embedded, embedded, text_of
from gateway.embed_providers import FakeProvider, Floods, Says
from gateway.settings import ConfigError, load
from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from gateway.settings.keys import SiteKey
from gateway.settings.money import CapConfig, KeyRatesConfig, RungConfig
from gateway.settings.prices import PriceConfig
from gateway.settings.sites import SiteConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held

FREE = {"m": PriceConfig(input_nanousd_per_mtok=0, output_nanousd_per_mtok=0)}
DEGRADED = "x-stagedoor-degraded"


def with_caps(made: Config, *caps: CapConfig) -> Config:
    """The config, with these."""
    return attrs.evolve(made, caps=caps)  # type: ignore[misc]


def with_local(**site: Any) -> Config:
    """A dear provider behind "fast", and a free one behind "local"."""
    made = config(
        [provider("main"), provider("free", prices=FREE)], route=["main"], **site
    )
    local = ModelConfig(name="local", route=(Candidate("free", "m"),))
    return attrs.evolve(made, models=(*made.models, local))  # type: ignore[misc]


def providers(made: Config) -> dict[str, FakeProvider]:
    """Each says its name."""
    return {p.name: FakeProvider([Says(f"from {p.name}")]) for p in made.providers}


async def spend(gateway: Embedded, nanousd: int, **on: str) -> None:
    """As if it had been spent already."""
    await gateway.gateway.tree.ledger.ask(Adjust("acme", nanousd, **on))


LADDER = (
    RungConfig(name="cheaper", from_percent=50, prefer_cheap=True),
    RungConfig(name="shorter", from_percent=80, output_tokens_max=3),
    RungConfig(name="local", from_percent=95, model="local"),
)


async def test_each_step_of_the_ladder_is_taken_shown_and_recorded(
    autojump_clock: MockClock,
) -> None:
    made = with_local(spend_max_nanousd=1_000_000, ladder=LADDER)
    fakes = providers(made)
    async with embedded(made, fakes, environ=ENV) as gateway:
        seen: list[tuple[str | None, str]] = []
        for more in (0, 500_000, 300_000, 150_000):
            await spend(gateway, more)
            answer = await gateway.post(CHAT, chat(max_tokens=9), key=KEY)
            seen.append((answer.headers.get(DEGRADED), text_of(answer.body)))

        assert seen == [
            (None, "from main"),
            ("cheaper", "from main"),
            ("shorter", "from main"),
            ("local", "from free"),
        ]
        assert b'"max_tokens":9' in fakes["main"].requests[1]
        assert b'"max_tokens":3' in fakes["main"].requests[2]
        records = await gateway.records()
        assert [r.degraded for r in records] == ["", "cheaper", "shorter", "local"]
        metrics = (await gateway.request("GET", "/metrics")).body
        assert (
            b'stagedoor_degraded_requests_total{site="acme",step="local"} 1.0'
            in metrics
        )
        await assert_nothing_held(gateway)


async def test_a_request_that_finds_no_room_goes_down_to_the_free_model(
    autojump_clock: MockClock,
) -> None:
    """The cap is far from used up, but this answer could cost more than it."""
    made = with_local(
        spend_max_nanousd=20_000,
        ladder=(RungConfig(name="local", from_percent=99, model="local"),),
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=1000), key=KEY)

        assert text_of(answer.body) == "from free"
        assert answer.headers[DEGRADED] == "local"
        await assert_nothing_held(gateway)


@pytest.mark.parametrize("stream", [True, False])
async def test_where_answers_may_be_shorter_the_money_there_is_buys_one(
    autojump_clock: MockClock, stream: bool
) -> None:
    """A hold for the whole bound does not fit; the bound is lowered, not refused."""
    made = config(
        spend_max_nanousd=120_000,
        ladder=(RungConfig(name="shorter", from_percent=90, output_tokens_max=20),),
    )
    main = FakeProvider([Says("a b c")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        body = chat(max_tokens=100, stream=stream)
        answer = await gateway.post(CHAT, body, key=KEY)

        assert answer.status == 200
        assert answer.headers[DEGRADED] == "short-hold"
        assert 16 <= msgspec.json.decode(main.requests[0])["max_tokens"] < 100
        [record] = await gateway.records()
        assert record.overrun_nanousd == 0
        await assert_nothing_held(gateway)


async def test_a_short_hold_is_not_outrun_either(autojump_clock: MockClock) -> None:
    made = config(
        spend_max_nanousd=120_000,
        ladder=(RungConfig(name="shorter", from_percent=100, output_tokens_max=50),),
    )
    main = FakeProvider([Floods(chunk_chars=20)])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=1000), key=KEY)

        assert answer.headers[DEGRADED] == "short-hold"
        [record] = await gateway.records()
        assert (record.outcome, record.finish) == ("cut", "length")
        await assert_nothing_held(gateway)


async def test_a_refusing_step_refuses_before_the_cap_is_full(
    autojump_clock: MockClock,
) -> None:
    made = config(
        spend_max_nanousd=1_000_000,
        ladder=(RungConfig(name="stop", from_percent=60, refuse=True),),
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        await spend(gateway, 600_000)
        answer = await gateway.post(CHAT, chat(max_tokens=1), key=KEY)

        assert answer.status == 429
        error = answer.json()["error"]
        assert error["code"] == "insufficient_quota"
        assert "stop" in error["message"]
        assert "retry-after" in answer.headers


async def test_a_hard_cap_of_one_provider_moves_on_to_the_next(
    autojump_clock: MockClock,
) -> None:
    made = with_caps(
        config([provider("a"), provider("b")]),
        CapConfig(name="a-only", spend_max_nanousd=1, providers=("a",)),
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=1), key=KEY)

        assert text_of(answer.body) == "from b"
        await assert_nothing_held(gateway)


async def test_a_refusal_names_the_cap_and_when_it_begins_anew(
    autojump_clock: MockClock,
) -> None:
    made = with_caps(
        config(),
        CapConfig(
            name="daily",
            spend_max_nanousd=30_000,
            window="day",
            per="key",
            keys=("acme:*",),
        ),
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=20), key=KEY)

        error = answer.json()["error"]
        assert error["code"] == "insufficient_quota"
        assert "cap daily" in error["message"]
        assert "more than the whole cap" in error["message"]
        assert answer.headers.get("retry-after") is None  # Waiting will not help.


async def test_what_others_spend_is_not_told(autojump_clock: MockClock) -> None:
    made = with_caps(
        config(), CapConfig(name="house", spend_max_nanousd=30_000, per="all")
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(max_tokens=20), key=KEY)

        message = answer.json()["error"]["message"]
        assert "house" in message
        assert "$" not in message


async def test_a_soft_cap_tells_once_a_window(autojump_clock: MockClock) -> None:
    made = with_caps(
        config(), CapConfig(name="heads-up", spend_max_nanousd=10_000, kind="soft")
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        for _ in range(3):
            assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
        metrics = (await gateway.request("GET", "/metrics")).body
        assert (
            b'stagedoor_money_alerts_total{cap="heads-up",kind="soft"} 1.0' in metrics
        )
        assert b"stagedoor_cap_max_usd" in metrics
        assert gateway.logged().count(b"money.alert") == 1


async def test_a_degrade_cap_puts_the_ladder_in_force_and_never_refuses(
    autojump_clock: MockClock,
) -> None:
    made = with_caps(
        config(), CapConfig(name="gentle", spend_max_nanousd=1, kind="degrade")
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        await gateway.post(CHAT, chat(max_tokens=4), key=KEY)
        answer = await gateway.post(CHAT, chat(max_tokens=4), key=KEY)

        assert (answer.status, answer.headers[DEGRADED]) == (200, "shorter")


async def test_a_reset_gives_a_cap_its_money_again(autojump_clock: MockClock) -> None:
    made = with_caps(
        config(), CapConfig(name="day", spend_max_nanousd=50_000, window="day")
    )
    async with embedded(made, providers(made), environ=ENV) as gateway:
        ledger = gateway.gateway.tree.ledger
        await spend(gateway, 50_000)
        assert (await gateway.post(CHAT, chat(max_tokens=1), key=KEY)).status == 429
        assert await ledger.ask(ResetCap("day")) == 1
        assert (await gateway.post(CHAT, chat(max_tokens=1), key=KEY)).status == 200


async def test_requests_a_minute_are_limited_by_key(autojump_clock: MockClock) -> None:
    made = config(each_key=KeyRatesConfig(requests_per_minute_max=2))
    async with embedded(made, providers(made), environ=ENV) as gateway:
        answers = [await gateway.post(CHAT, chat(), key=KEY) for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 429]
        error = answers[-1].json()["error"]
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
        assert answers[-1].headers["retry-after"] == "30"


async def test_an_answers_tokens_count_against_the_next_request(
    autojump_clock: MockClock,
) -> None:
    made = config(tokens_per_minute_max=100)
    main = FakeProvider([Says("word " * 200)])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        first = await gateway.post(CHAT, chat(), key=KEY)
        second = await gateway.post(CHAT, chat(), key=KEY)

        assert (first.status, second.status) == (200, 429)
        assert second.json()["error"]["type"] == "tokens"


async def test_costs_in_records_are_the_attempts_own(autojump_clock: MockClock) -> None:
    """From them the ledger remembers, at the next start, who spent what, and when."""
    async with embedded(config(), providers(config()), environ=ENV) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)

        [record] = await gateway.records()
        [attempt] = record.attempts
        assert attempt.cost_nanousd == record.cost_nanousd > 0
        assert attempt.held_at_ms >= record.opened_at_ms


async def test_sites_take_turns_at_a_busy_provider(autojump_clock: MockClock) -> None:
    """A site that floods the queue waits behind itself."""
    made = config([provider("main", in_flight_max=1, queue_max=3)])
    quiet = SiteConfig(name="blue", keys=(SiteKey.of("sk-blue-dev-0001"),))
    made = attrs.evolve(made, sites=(*made.sites, quiet))  # type: ignore[misc]
    main = FakeProvider([Says("a b", delta_s=0.5)])
    done: list[tuple[str, int]] = []
    async with embedded(made, {"main": main}, environ=ENV) as gateway:

        async def call(site: str, key: str) -> None:
            answer = await gateway.post(CHAT, chat(), key=key)
            done.append((site, answer.status))

        async with trio.open_nursery() as nursery:
            for _ in range(4):  # One runs, three fill the queue.
                nursery.start_soon(call, "acme", KEY)
                await trio.sleep(0.01)
            nursery.start_soon(call, "blue", "sk-blue-dev-0001")

        assert ("blue", 200) in done
        assert done.index(("blue", 200)) < len(done) - 1
        assert [site for site, status in done if status != 200] == ["acme"]
        await assert_nothing_held(gateway)


CAPS_TOML = """
[[sites]]
name = "acme"
keys = ["sk-acme-dev-0001"]
spend_usd_max = 5
spend_window = "week"
spend_time_zone = "Europe/Berlin"
each_key = { requests_per_minute_max = 60 }

[[sites.ladder]]
name = "shorter"
from_percent = 80
output_tokens_max = 300

[[sites.ladder]]
name = "local"
from_percent = 95
model = "fast"

[[caps]]
name = "house"
spend_usd_max = 100
per = "all"
rolling = true
kind = "soft"

[[providers]]
name = "main"
kind = "simulated"
models = ["m"]

[[models]]
name = "fast"
route = ["main/m"]
"""


def test_caps_and_ladders_are_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stagedoor.toml"
    path.write_text(CAPS_TOML)
    made = load(path, {})

    [site] = site_limits(made)
    assert site.spend_zone == "Europe/Berlin"
    assert [rung.name for rung in site.ladder] == ["shorter", "local"]
    assert site.each_key.requests_per_minute_max == 60
    [cap] = caps_of(made)
    assert (cap.per, cap.rolling, cap.kind) == ("all", True, "soft")


@pytest.mark.parametrize(
    ("was", "now", "problem"),
    [
        ('"Europe/Berlin"', '"Middle/Earth"', "is no time zone"),
        ('model = "fast"', 'model = "nobody"', "names no model"),
        ('per = "all"', 'models = ["x*"]', "matches none of the models"),
        ("rolling = true", 'rolling = true\nwindow = "total"', "has no meaning"),
        ("output_tokens_max = 300", "", "changes nothing"),
        ('model = "fast"\n', 'model = "fast"\nrefuse = true\n', "nothing for the step"),
    ],
)
def test_money_that_makes_no_sense_is_refused_at_load(
    tmp_path: Path, was: str, now: str, problem: str
) -> None:
    path = tmp_path / "stagedoor.toml"
    path.write_text(CAPS_TOML.replace(was, now, 1))

    with pytest.raises(ConfigError, match=problem):
        load(path, {})
