"""When every candidate is full: nobody is sent off, and places are kept."""

from __future__ import annotations

from functools import partial

import attrs
import trio
from trio.testing import MockClock

from actors.provider.messages import ReportVitals
from gateway.embed import embedded, text_of
from gateway.embed_providers import Fails, FakeProvider, Says
from gateway.settings.providers import ProviderConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_requests import ENV, assert_nothing_held

WORDS = "u v w x"  # Two seconds each: longer than a queue is worth elsewhere.


def narrow(name: str) -> ProviderConfig:
    """One call at once."""
    return provider(name, in_flight_max=1, queue_max=12)


def slow(text: str) -> FakeProvider:
    """Answers take their time."""
    return FakeProvider([Says(text, delta_s=2.0)])


async def test_a_burst_waits_and_is_served(autojump_clock: MockClock) -> None:
    """Twelve at once, two places: nobody fails, though the last wait for six turns."""
    made = config([narrow("a"), narrow("b")])
    first, second = slow(WORDS), slow(WORDS)
    statuses: list[int] = []
    async with embedded(made, {"a": first, "b": second}, environ=ENV) as gateway:

        async def ask() -> None:
            answer = await gateway.post(CHAT, chat(), key=KEY)
            statuses.append(answer.status)
            assert text_of(answer.body) == WORDS

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()

        assert statuses == [200] * 12
        await assert_nothing_held(gateway)


async def test_with_room_elsewhere_a_queue_is_worth_a_moment(
    autojump_clock: MockClock,
) -> None:
    made = config([narrow("a"), attrs.evolve(narrow("b"), in_flight_max=4)])  # type: ignore[misc]
    first, second = slow(WORDS), FakeProvider([Says("from b")])
    async with embedded(made, {"a": first, "b": second}, environ=ENV) as gateway:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: gateway.post(CHAT, chat(), key=KEY))
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            answer = await gateway.post(CHAT, chat(), key=KEY)

            assert text_of(answer.body) == "from b"
            assert 4.9 <= trio.current_time() - began <= 5.5
        await assert_nothing_held(gateway)


async def test_the_next_place_that_is_free_anywhere_is_taken(
    autojump_clock: MockClock,
) -> None:
    """Behind a call of a minute waits nobody whom the other provider can serve."""
    made = config([narrow("a"), narrow("b")])
    made = attrs.evolve(  # type: ignore[misc]
        made,
        sites=(attrs.evolve(made.sites[0], routing_headers=True),),  # type: ignore[misc]
    )
    first = FakeProvider([Says(" ".join("w" * 18), delta_s=3.0)])
    second = slow(WORDS)
    served: list[str | None] = []
    all_served = trio.Event()
    async with embedded(made, {"a": first, "b": second}, environ=ENV) as gateway:

        async def ask(*, stream: bool) -> None:
            answer = await gateway.post(CHAT, chat(stream=stream), key=KEY)
            if not stream:
                served.append(answer.headers.get("x-stagedoor-route"))
                if len(served) == 3:
                    all_served.set()

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for stream in (True, True, False, False, False):
                nursery.start_soon(partial(ask, stream=stream))
                await trio.testing.wait_all_tasks_blocked()
            await all_served.wait()
            took = trio.current_time() - began

        # The header says who answered, not whose queue it was.
        assert served == ["b/m"] * 3
        assert len(first.requests) == 1
        # A turn in the queue of a, the call before, and their own: no minute.
        assert took < 25.0
        records = await gateway.records()
        assert sorted(record.attempts[-1].provider for record in records) == [*"abbbb"]
        await assert_nothing_held(gateway)


async def test_who_has_left_a_queue_takes_no_place_in_it(
    autojump_clock: MockClock,
) -> None:
    """Else as many impatient clients as it is long would close it to all others."""
    made = config([provider("a", in_flight_max=1, queue_max=2)])
    async with embedded(made, {"a": slow(WORDS)}, environ=ENV) as gateway:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: gateway.post(CHAT, chat(), key=KEY))
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1.0):
                async with trio.open_nursery() as impatient:
                    for _ in range(2):
                        impatient.start_soon(
                            lambda: gateway.post(CHAT, chat(), key=KEY)
                        )
            await trio.testing.wait_all_tasks_blocked()
            ref = gateway.gateway.tree.provider("a")
            assert ref is not None
            vitals = await ref.ask(ReportVitals())
            assert vitals.queued == 0
            answer = await gateway.post(CHAT, chat(), key=KEY)
            assert answer.status == 200
        await assert_nothing_held(gateway)


async def test_nobody_is_sent_from_the_queue_into_a_429(
    autojump_clock: MockClock,
) -> None:
    """Who waits when a provider asks for a pause goes elsewhere, as newcomers do."""
    pause = Fails(429, headers={"retry-after": "30"}, delay_s=1.0)
    first = FakeProvider([pause])
    made = config([narrow("a"), attrs.evolve(narrow("b"), in_flight_max=4)])  # type: ignore[misc]
    second = FakeProvider([Says("from b")])
    async with embedded(made, {"a": first, "b": second}, environ=ENV) as gateway:
        texts: list[str] = []

        async def ask() -> None:
            answer = await gateway.post(CHAT, chat(), key=KEY)
            texts.append(text_of(answer.body))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()

        assert texts == ["from b"] * 3
        assert len(first.requests) == 1
        await assert_nothing_held(gateway)
