"""Two gateways that share their caps and limits, and one whose database goes away."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from actors.ledger.messages import Adjust, ReportAccounts, ResetCap
from actors.provider.messages import ReportVitals, Vitals
from gateway.embed import Embedded, embedded
from gateway.embed_providers import FakeProvider, PausesAfter, Says
from gateway.settings.config import Config
from gateway.settings.money import KeyRatesConfig
from storage.sql.ledger import LedgerSql
from storage.sql.memory import MemoryDatabase, open_memory
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held

ANTHROPIC = "/v1/messages"


def site(**more: Any) -> Config:
    """One provider, one site."""
    return config([provider("main")], route=["main"], **more)


@asynccontextmanager
async def gateways(
    made: Config, count: int = 2, script: Any = None
) -> AsyncGenerator[tuple[MemoryDatabase, list[Embedded]]]:
    """So many over one store."""
    database = await open_memory()
    store = LedgerSql(database)
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(
                embedded(
                    made,
                    {"main": FakeProvider(script or [Says("one two three")])},
                    environ=ENV,
                    ledger=store,
                    replica=f"replica {number}",
                )
            )
            for number in range(count)
        ]
        yield database, found


async def test_what_one_gateway_spends_the_other_cannot(
    autojump_clock: MockClock,
) -> None:
    made = site(spend_max_nanousd=100_000)
    async with gateways(made) as (_, (one, two)):
        answers = [
            (await gateway.post(CHAT, chat(max_tokens=9), key=KEY)).status
            for _ in range(12)
            for gateway in (one, two)
        ]

        assert answers[0] == 200
        assert answers[-1] == 429
        spent: list[int] = []
        for gateway in (one, two):
            await trio.sleep(3)
            [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
            spent.append(account.spent_nanousd)
        # Each knows what both have spent, and that is within the cap.
        assert spent[0] == spent[1] <= 100_000
        records = [*await one.records(), *await two.records()]
        assert sum(record.cost_nanousd for record in records) == spent[0]
        for gateway in (one, two):
            await assert_nothing_held(gateway)


async def test_requests_in_flight_are_counted_together(
    autojump_clock: MockClock,
) -> None:
    made = site(in_flight_max=2)
    async with gateways(made, script=[PausesAfter("Hello")]) as (_, (one, two)):
        async with (
            one.open("POST", CHAT, chat(stream=True), key=KEY) as first,
            two.open("POST", CHAT, chat(stream=True), key=KEY) as second,
        ):
            assert await first.head() == 200
            assert await second.head() == 200
            for gateway in (one, two):
                refused = await gateway.post(CHAT, chat(stream=True), key=KEY)
                assert refused.status == 429
                assert "in flight" in refused.json()["error"]["message"]
        # Both have ended: within a second either knows that their places are free.
        await trio.sleep(1.1)
        async with (
            two.open("POST", CHAT, chat(stream=True), key=KEY) as first,
            two.open("POST", CHAT, chat(stream=True), key=KEY) as second,
        ):
            assert await first.head() == 200
            assert await second.head() == 200


async def test_a_minutes_requests_are_counted_together(
    autojump_clock: MockClock,
) -> None:
    made = site(each_key=KeyRatesConfig(requests_per_minute_max=6))
    async with gateways(made) as (_, (one, two)):
        statuses = [
            (await gateway.post(CHAT, chat(), key=KEY)).status
            for _ in range(5)
            for gateway in (one, two)
        ]

        assert statuses.count(200) == 6
        refused = await one.post(CHAT, chat(), key=KEY)
        assert refused.status == 429
        wait_s = float(refused.headers["retry-after"])
        assert 0 < wait_s <= 10
        await trio.sleep(10.1)
        assert (await two.post(CHAT, chat(), key=KEY)).status == 200


async def test_without_its_database_a_gateway_spends_its_slice_and_then_says_so(
    autojump_clock: MockClock,
) -> None:
    made = site(spend_max_nanousd=400_000_000)
    async with gateways(made, count=1) as (database, [gateway]):
        for _ in range(50):
            answer = await gateway.post(CHAT, chat(max_tokens=1000), key=KEY)
            assert answer.status == 200
        database.outage = "is gone"
        statuses: list[int] = []
        while 503 not in statuses:
            answer = await gateway.post(CHAT, chat(max_tokens=1000), key=KEY)
            statuses.append(answer.status)

        assert answer.json()["error"]["code"] == "ledger_unavailable"
        assert "database does not answer" in answer.json()["error"]["message"]
        assert float(answer.headers["retry-after"]) > 0
        ready = await gateway.request("GET", "/readyz")
        assert ready.status == 503
        assert b"database has not answered" in ready.body
        # Nobody waits for it any more: a refusal comes at once.
        before = trio.current_time()
        told = await gateway.request(
            "POST",
            ANTHROPIC,
            {
                "model": "fast",
                "max_tokens": 1000,
                "messages": [{"role": "user", "content": "Hi"}],
            },
            headers={"x-api-key": KEY},
        )
        assert told.status == 503
        assert told.json()["type"] == "error"
        assert trio.current_time() - before < 0.1

        database.outage = ""
        await trio.sleep(2)
        assert (await gateway.request("GET", "/readyz")).status == 200
        answer = await gateway.post(CHAT, chat(max_tokens=1000), key=KEY)
        assert answer.status == 200
        await assert_nothing_held(gateway)
        # What was spent meanwhile has come to the store, to the last unit.
        await trio.sleep(2)
        [(lines,)] = await database.read("SELECT SUM(nanousd) FROM ledger_line")
        records = await gateway.records()
        assert lines == sum(record.cost_nanousd for record in records)


async def test_a_refund_and_a_reset_are_everybodys(autojump_clock: MockClock) -> None:
    made = site(spend_max_nanousd=100_000)
    async with gateways(made) as (_, (one, two)):
        await one.gateway.tree.ledger.ask(Adjust("acme", 95_000))
        await trio.sleep(2)
        refused = await two.post(CHAT, chat(max_tokens=50), key=KEY)
        assert refused.status == 429

        await two.gateway.tree.ledger.ask(Adjust("acme", -95_000))
        assert (await one.post(CHAT, chat(max_tokens=9), key=KEY)).status == 200
        await one.gateway.tree.ledger.ask(Adjust("acme", 95_000))
        assert await two.gateway.tree.ledger.ask(ResetCap("acme:spend")) == 1
        assert (await two.post(CHAT, chat(max_tokens=9), key=KEY)).status == 200


async def test_the_next_life_knows_what_was_spent(autojump_clock: MockClock) -> None:
    made = site(spend_max_nanousd=100_000)
    database = await open_memory()
    store = LedgerSql(database)
    spent: list[int] = []
    for life in range(2):
        fakes = {"main": FakeProvider([Says("a b c")])}
        async with embedded(
            made, fakes, environ=ENV, ledger=store, replica=f"life {life}"
        ) as gateway:
            assert (await gateway.post(CHAT, chat(max_tokens=9), key=KEY)).status == 200
            [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
            spent.append(account.spent_nanousd)

    assert spent[1] == 2 * spent[0] > 0
    # An orderly end gives everything back.
    assert await database.read("SELECT SUM(granted) FROM ledger_slice") == [(None,)]


async def test_a_providers_calls_are_shared_out_among_those_that_live(
    autojump_clock: MockClock,
) -> None:
    """Half each; and all of them again when the other has gone."""
    made = config([provider("main", in_flight_max=4)], route=["main"])

    database = await open_memory()
    store = LedgerSql(database)
    script = {"main": FakeProvider([Says("hi")])}
    async with embedded(made, script, environ=ENV, ledger=store, replica="one") as one:
        async with embedded(
            made, script, environ=ENV, ledger=store, replica="two"
        ) as two:
            for _ in range(3):
                for gateway in (one, two):
                    assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
                await trio.sleep(1.5)
            shares = [(await vitals(gateway)).in_flight_max for gateway in (one, two)]
            assert shares == [2, 2]
        await trio.sleep(4)
        assert (await vitals(one)).in_flight_max == 4


async def vitals(gateway: Embedded) -> Vitals:
    """The provider's own word."""
    ref = gateway.gateway.tree.provider("main")
    assert ref is not None
    return await ref.ask(ReportVitals())
