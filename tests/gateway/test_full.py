"""When every candidate is full: nobody is sent off, and places are kept."""

from __future__ import annotations

import attrs
import trio
from trio.testing import MockClock

from gateway.embed import embedded, text_of
from gateway.embed_providers import FakeProvider, Says
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
