"""Waiting for the first place of several: exactly one is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio
from trio.testing import MockClock

from actors.provider.messages import Permit
from actors.stream.waiting import first_place
from wire.events import Fault

NO = Fault("ours", "no", 503, code="provider_busy")


def permit(number: int) -> Permit:
    return Permit(number, "a", 1, probe=False, upstream=cast("Any", None))


def after(
    seconds: float, answer: Permit | Fault
) -> Callable[[], Awaitable[Permit | Fault]]:
    """An ask that is answered at that time, whatever happens to its asker."""
    at = trio.current_time() + seconds

    async def ask() -> Permit | Fault:
        with trio.CancelScope(shield=True):
            await trio.sleep_until(at)
        return answer

    return ask


async def test_two_places_at_once_are_one_too_many(autojump_clock: MockClock) -> None:
    back: list[tuple[int, int]] = []
    place, found = await first_place(
        after(9, permit(1)),
        [after(9, permit(2)), after(9, permit(3))],
        after_s=5,
        give_back=lambda place, one: back.append((place, one.id)),
    )
    assert isinstance(found, Permit)
    assert sorted([*back, (place, found.id)]) == [(0, 1), (1, 2), (2, 3)]


async def test_a_place_that_comes_as_its_asker_leaves_is_given_back(
    autojump_clock: MockClock,
) -> None:
    back: list[int] = []

    async def own() -> Fault:
        await trio.sleep(60)
        return NO

    with trio.move_on_after(7) as leaving:
        await first_place(
            own,
            [after(9, permit(2))],
            after_s=5,
            give_back=lambda _place, one: back.append(one.id),
        )
    assert leaving.cancelled_caught
    assert back == [2]


async def test_a_refusal_elsewhere_is_no_end_and_one_here_is(
    autojump_clock: MockClock,
) -> None:
    began = trio.current_time()
    place, found = await first_place(
        after(20, NO), [after(6, NO)], after_s=5, give_back=lambda _p, _one: None
    )
    assert (place, found) == (0, NO)
    assert trio.current_time() - began == 20
