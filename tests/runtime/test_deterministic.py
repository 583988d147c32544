"""The canary for the one private corner of trio we touch."""

from __future__ import annotations

import gc
import sys

import pytest
import trio

from runtime._deterministic import missing_names, seeded_scheduling
from runtime.testing import Sim, Stuck, run_sim


def test_trio_still_has_the_names() -> None:
    assert missing_names() == []


def _order(seed: int) -> tuple[int, ...]:
    order: list[int] = []

    async def main(sim: Sim) -> None:
        async def step(number: int) -> None:
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(step, number)

    run_sim(main, seed)
    return tuple(order)


def test_a_seed_gives_one_order_and_seeds_give_many() -> None:
    """Were the names renamed in trio, all orders would be two, or change by run."""
    orders = {seed: _order(seed) for seed in range(40)}
    assert all(_order(seed) == orders[seed] for seed in range(40))
    assert len(set(orders.values())) > 30


def test_the_scheduler_is_put_back() -> None:
    from trio._core import _run  # noqa: PLC0415

    before = _run._r
    with seeded_scheduling(1):
        assert _run._r is not before
    assert _run._r is before


def test_a_failure_says_how_to_replay_it() -> None:
    async def main(sim: Sim) -> None:
        raise ValueError(sim.seed)

    with pytest.raises(ValueError, match="117") as failed:
        run_sim(main, 117)
    assert failed.value.__notes__ == ["replay with seed=117"]


def test_a_simulation_that_leaves_tasks_behind_fails() -> None:
    async def main(sim: Sim) -> None:
        trio.lowlevel.spawn_system_task(trio.sleep_forever)

    with pytest.raises(AssertionError, match="1 tasks are left"):
        run_sim(main, 1)


def test_a_simulation_that_waits_for_nothing_fails() -> None:
    """The clock would jump for ever."""

    async def main(sim: Sim) -> None:
        await trio.Event().wait()

    with pytest.raises(Stuck, match="did not end within 3600 s"):
        run_sim(main, 1)


def test_a_simulation_that_is_stuck_in_a_shield_fails_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot be unwound, but it must still name its seed."""
    # The tasks of such a run are thrown away half done, and say so; not this test's.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    async def main(sim: Sim) -> None:
        with trio.CancelScope(shield=True):
            await trio.Event().wait()

    with pytest.raises(Stuck, match="cannot be cancelled") as failed:
        run_sim(main, 3)
    assert failed.value.__notes__ == ["replay with seed=3"]
    del failed
    gc.collect()
