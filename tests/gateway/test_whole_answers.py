"""A whole answer goes out in the step that has it; the books are made right after."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.ledger.messages import ReportAccounts
from actors.stream import settling
from gateway.embed import Call, Embedded, embedded
from gateway.embed_providers import FakeProvider, Says
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}
WHOLE = chat(stream=False)


@asynccontextmanager
async def one(
    main: FakeProvider, *, on_abort: str = "cancel"
) -> AsyncGenerator[Embedded]:
    made = config([provider("main", on_abort=on_abort)])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        yield gateway


async def assert_nothing_held(gateway: Embedded) -> None:
    """Permits, holds, leases, streams: all back."""
    await wait_all_tasks_blocked()
    tree = gateway.gateway.tree
    vitals = (await gateway.gateway.gate.vitals())["main"]
    assert isinstance(vitals, str) or vitals.in_flight == 0
    names = [node.id for node in tree.system.snapshot().walk()]
    assert [n for n in names if n.startswith(("streams/", "vault/"))] == []
    for account in await tree.ledger.ask(ReportAccounts()):
        assert (account.held_nanousd, account.in_flight) == (0, 0)


async def test_the_answer_is_on_its_way_before_anything_is_booked(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    settle = settling.settle
    async with (
        one(FakeProvider([Says("hello")])) as gateway,
        gateway.open("POST", CHAT, WHOLE, key=KEY) as call,
    ):

        def noted(*told: object) -> object:
            seen.append(("settled", call.status))
            return settle(*told)  # type: ignore[arg-type]  # As it came.

        monkeypatch.setattr(settling, "settle", noted)
        answer = await call.read()
        assert (answer.status, seen) == (200, [("settled", 200)])
        [record] = await gateway.records()
        assert (record.outcome, record.output_tokens > 0) == ("ok", True)
        await assert_nothing_held(gateway)


async def test_leaving_cancels_the_upstream_call_at_once(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("hello", delta_s=3)])
    async with one(main) as gateway:
        async with gateway.open("POST", CHAT, WHOLE, key=KEY):
            await trio.sleep(0.5)
            left_at = trio.current_time()
        await wait_all_tasks_blocked()

        assert trio.current_time() == left_at
        assert main.open == 0
        [record] = await gateway.records()
        assert record.outcome == "aborted"
        await assert_nothing_held(gateway)


async def test_leaving_where_the_bill_goes_on_reads_on_for_its_usage(
    autojump_clock: MockClock,
) -> None:
    async with one(
        FakeProvider([Says("one two three four five", delta_s=3)]), on_abort="drain"
    ) as gateway:
        async with gateway.open("POST", CHAT, WHOLE, key=KEY):
            await trio.sleep(0.5)
        await trio.sleep(10)

        [record] = await gateway.records()
        assert (record.outcome, record.output_tokens) == ("aborted", 5)
        assert not record.usage_estimated
        await assert_nothing_held(gateway)


async def test_a_connection_that_is_cancelled_takes_its_stream_along_in_order(
    autojump_clock: MockClock,
) -> None:
    """Recorded and settled like one whose client left; no crash."""
    main = FakeProvider([Says("hello", delta_s=3)])
    async with one(main) as gateway:
        with trio.move_on_after(1):
            await gateway.post(CHAT, WHOLE, key=KEY)
        await assert_nothing_held(gateway)
        assert main.open == 0
        [record] = await gateway.records()
        assert (record.outcome, record.code) == ("aborted", "request_ended")
        assert gateway.gateway.tree.system.crashes == ()


async def test_a_client_that_takes_nothing_yet_keeps_nothing_but_its_answer(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream has given everything back before the answer is sent."""
    held: list[str] = []

    async with one(FakeProvider([Says("hello")])) as gateway:
        monkeypatch.setattr(Call, "answer_now", lambda *_: False)
        send = Call._send

        async def slowly(call: Call, message: object) -> None:
            walk = gateway.gateway.tree.system.snapshot().walk()
            held.extend(n.id for n in walk if n.id.startswith(("streams/", "vault/")))
            await send(call, message)

        monkeypatch.setattr(Call, "_send", slowly)
        answer = await gateway.post(CHAT, WHOLE, key=KEY)
        assert answer.status == 200
        assert held == []
        assert len(await gateway.records()) == 1
        await assert_nothing_held(gateway)


async def test_a_crash_between_the_answer_and_the_books_loses_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client keeps its answer; whoever lent something takes it back."""

    def crash(*_: object) -> None:
        raise RuntimeError

    async with one(FakeProvider([Says("hello")])) as gateway:
        monkeypatch.setattr(settling, "outcome", crash)
        answer = await gateway.post(CHAT, WHOLE, key=KEY)
        assert answer.status == 200
        [record] = await gateway.records()
        assert record.outcome == "crashed"
        await assert_nothing_held(gateway)
