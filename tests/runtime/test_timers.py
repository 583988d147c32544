"""Alarms: what a lease needs to expire without a task of its own."""

from __future__ import annotations

import pytest
import trio

from runtime import ActorCrashed, ActorDown, NotAccepted
from tests.runtime.support_actors import (
    Counter,
    Crash,
    Hold,
    Leave,
    Note,
    Trip,
    Urgent,
    at,
    one,
    settled,
    spec,
    tree,
)
from tests.runtime.test_actor_table import Poke


async def test_alarms_ring_in_the_order_of_their_times() -> None:
    journal: list[str] = []
    actor = Counter(journal)
    async with one(lambda: actor) as ref:
        for at_s, word in ((3, "c"), (1, "a"), (2, "b"), (2, "b2")):
            actor.ctx.tell_at(at_s, Note(word))
        await trio.sleep(1.5)
        assert journal == ["a"]
        await trio.sleep(2)
        assert journal == ["a", "b", "b2", "c"]
        assert len(ref.cell.system.timers) == 0


async def test_an_alarm_in_the_past_rings_at_once() -> None:
    journal: list[str] = []
    actor = Counter(journal)
    async with one(lambda: actor):
        await trio.sleep(5)
        actor.ctx.tell_at(1, Note("late"))
        await settled()
        assert journal == ["late"]


async def test_an_alarm_overtakes_a_full_mailbox() -> None:
    """An expiry must not wait behind the work it is to cut short."""
    journal: list[str] = []
    actor = Counter(journal)
    async with one(lambda: actor) as ref:
        actor.ctx.tell_at(1, Note("alarm"))
        await ref.tell(Hold(2))
        await ref.tell(Note("queued"))
        await trio.sleep(3)
        assert journal == ["alarm", "queued"]


async def test_a_cancelled_alarm_does_not_ring() -> None:
    journal: list[str] = []
    actor = Counter(journal)
    async with one(lambda: actor):
        timer = actor.ctx.tell_at(1, Note("no"))
        assert repr(timer) == "<Timer of it at t=1.000>"
        timer.cancel()
        timer.cancel()
        assert repr(timer) == "<Timer spent>"
        await trio.sleep(2)
        assert journal == []


async def test_an_alarm_dies_with_the_life_that_set_it() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        ref.cell.actor.ctx.tell_at(5, Note("of the first life"))
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        await trio.sleep(9)
        assert ref.cell.incarnation == 2
        assert journal == ["crashed: ValueError"]


async def test_the_alarms_of_many_that_ended_are_swept() -> None:
    """A million leases that were spent in time must leave nothing behind."""
    async with tree([spec("it", Counter)]) as system:
        parent = at(system, "it").cell
        for number in range(500):
            child = parent.spawn(spec(f"l{number}", Counter, restart="temporary"))
            child.actor.ctx.tell_at(100, Note())
            await child.ref.ask(Leave())
        assert len(system.timers) == 0
        assert len(system.timers._heap) <= 129


async def test_an_alarm_must_be_a_message_the_actor_accepts() -> None:
    async with one(Counter) as ref:
        with pytest.raises(NotAccepted):
            ref.cell.actor.ctx.tell_at(1, Poke())


async def test_no_alarm_is_set_by_one_that_is_ending() -> None:
    actor = Counter()
    async with one(lambda: actor) as ref:
        with pytest.raises(ActorDown):
            await ref.ask(Trip())
        with pytest.raises(RuntimeError, match="it is ending"):
            actor.ctx.tell_at(1, Note())


async def test_an_actor_with_only_def_handlers_ends_without_ever_having_a_task() -> (
    None
):
    """That is what makes a lease cheap: spawned, asked, ended, all inline."""
    journal: list[str] = []
    async with tree([spec("it", Counter)]) as system:
        tasks = trio.lowlevel.current_statistics().tasks_living
        parent = at(system, "it").cell
        child = parent.spawn(spec("l", lambda: Counter(journal), restart="temporary"))
        await child.ref.ask(Leave())
        assert child.gone
        assert journal == ["done"]
        stopped = parent.spawn(spec("m", lambda: Counter(journal), restart="temporary"))
        stopped.request_stop("revoked")
        assert stopped.gone
        assert journal == ["done", "stopped: revoked"]
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_what_is_queued_gets_the_actor_its_task() -> None:
    journal: list[str] = []
    async with tree([spec("it", Counter)]) as system:
        parent = at(system, "it").cell
        child = parent.spawn(spec("l", lambda: Counter(journal), restart="temporary"))
        child.ref.offer(Urgent("first"))
        child.request_stop("then stop")
        await settled()
        assert child.gone
        assert journal == ["urgent first", "stopped: then stop"]
