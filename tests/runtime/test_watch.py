"""Monitors and names: both belong to the cell, so restarts do not break them."""

from __future__ import annotations

import pytest
import trio

from runtime import (
    Actor,
    ActorCrashed,
    ActorDown,
    Down,
    DuplicateKey,
    Spawn,
    Supervisor,
)
from tests.runtime.support_actors import (
    Add,
    Counter,
    Crash,
    Hold,
    Leave,
    Note,
    Trip,
    at,
    one,
    settled,
    spec,
    tree,
)


async def test_the_end_of_a_monitored_actor_arrives_on_the_control_lane() -> None:
    journal: list[str] = []
    watcher = Counter(journal)
    children = [spec("w", lambda: watcher), spec("it", Counter, restart="temporary")]
    async with tree(children) as system:
        watcher.ctx.monitor(at(system, "it"))
        await at(system, "w").tell(Hold(1))
        await settled()
        at(system, "w").offer(Note("queued"))
        await at(system, "it").ask(Leave())
        await trio.sleep(2)
    assert journal[:2] == ["down it done", "queued"]


async def test_monitoring_a_dead_actor_answers_immediately() -> None:
    journal: list[str] = []
    watcher = Counter(journal)
    children = [spec("w", lambda: watcher), spec("it", Counter, restart="temporary")]
    async with tree(children) as system:
        ref = at(system, "it")
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        await settled()
        watcher.ctx.monitor(ref)
        await settled()
        assert journal == ["down it crashed: ValueError"]


async def test_a_restart_is_not_the_end() -> None:
    journal: list[str] = []
    watcher = Counter(journal)
    async with tree([spec("w", lambda: watcher), spec("it", Counter)]) as system:
        watcher.ctx.monitor(at(system, "it"))
        with pytest.raises(ActorDown):
            await at(system, "it").ask(Trip())
        await trio.sleep(5)
        assert journal == []


async def test_a_monitor_outlives_the_life_of_its_watcher() -> None:
    """A provider that tripped must still learn which streams gave back their permit."""
    journal: list[str] = []
    children = [
        spec("w", lambda: Counter(journal)),
        spec("it", Counter, restart="temporary"),
    ]
    async with tree(children) as system:
        at(system, "w").cell.actor.ctx.monitor(at(system, "it"))
        with pytest.raises(ActorDown):
            await at(system, "w").ask(Trip())
        await at(system, "it").ask(Leave())
        await trio.sleep(5)
        assert journal[-1] == "down it done"


async def test_demonitor_stops_the_watch() -> None:
    journal: list[str] = []
    watcher = Counter(journal)
    children = [spec("w", lambda: watcher), spec("it", Counter, restart="temporary")]
    async with tree(children) as system:
        monitor = watcher.ctx.monitor(at(system, "it"))
        watcher.ctx.demonitor(monitor)
        watcher.ctx.demonitor(monitor)  # twice is fine
        await at(system, "it").ask(Leave())
        await settled()
        assert journal == []


async def test_the_books_of_monitors_do_not_grow() -> None:
    """A watcher of a million streams must not remember them."""
    watcher = Counter([])
    async with tree(
        [spec("w", lambda: watcher), spec("streams", Supervisor)]
    ) as system:
        streams = at(system, "streams")
        for number in range(50):
            child = spec(f"s{number}", Counter, restart="temporary")
            ref = await streams.ask(Spawn(child))
            watcher.ctx.monitor(ref)
            await ref.ask(Leave())
            await settled()
        assert not at(system, "w").cell.watched
        assert not streams.cell.children
        assert len(system) == 3


async def test_a_key_finds_its_actor_across_restarts_and_goes_with_it() -> None:
    async with tree([spec("it", Counter, restart="transient")]) as system:
        ref = at(system, "it")
        ref.cell.actor.ctx.register("tally")
        assert system.lookup("tally") is ref
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        assert system.lookup("tally", Counter) is ref
        await trio.sleep(5)
        ref.cell.actor.ctx.register("tally")  # its next life says so again
        await ref.ask(Leave())
        await settled()
        assert system.lookup("tally") is None
        assert system.lookup("it") is None


async def test_a_key_has_one_owner() -> None:
    async with tree([spec("a", Counter), spec("b", Counter)]) as system:
        at(system, "a").cell.actor.ctx.register("tally")
        with pytest.raises(DuplicateKey, match="belongs to a; choose another"):
            at(system, "b").cell.actor.ctx.register("tally")


async def test_a_context_tells_who_and_when() -> None:
    async with one(Counter) as ref:
        ctx = ref.cell.actor.ctx
        assert (ctx.id, ctx.epoch, ctx.now()) == ("it", 1, trio.current_time())
        assert ctx.ref is ref
        assert repr(ctx) == "<Context of <Counter it running #1 queued=0/64>>"
        assert await ctx.ref.ask(Add(1)) == 1


class Mourner(Actor):
    """Hears of deaths, and may take one badly."""

    def __init__(self, heard: list[str], *, badly: bool = False) -> None:
        self.heard = heard
        self.badly = badly

    def on_down(self, down: Down) -> None:
        self.heard.append(down.id)
        if self.badly:
            raise ValueError("too much")


async def test_an_idle_watcher_hears_of_a_death_without_a_task_of_its_own() -> None:
    heard: list[str] = []
    mourner = Mourner(heard)
    children = [spec("w", lambda: mourner), spec("it", Counter, restart="temporary")]
    async with tree(children) as system:
        mourner.ctx.monitor(at(system, "it"))
        await at(system, "it").ask(Leave())
        await settled()
        assert heard == ["it"]
        assert at(system, "w").cell.task is None
        assert mourner.ctx.watched == frozenset()


async def test_a_watcher_that_crashes_over_a_death_crashes_alone() -> None:
    heard: list[str] = []
    made: list[Mourner] = []

    def make() -> Mourner:
        made.append(Mourner(heard, badly=True))
        return made[-1]

    children = [
        spec("w", make),
        spec("other", lambda: Mourner(heard)),
        spec("it", Counter, restart="temporary"),
    ]
    async with tree(children) as system:
        made[0].ctx.monitor(at(system, "it"))
        at(system, "other").cell.actor.ctx.monitor(at(system, "it"))
        await at(system, "it").ask(Leave())
        await trio.sleep(5)
        assert heard == ["it", "it"]
        assert [crash.actor for crash in system.crashes] == ["w"]
        assert system.lookup("it") is None
        assert len(made) == 2


async def test_a_plain_tell_to_an_idle_actor_is_handled_here_and_now() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        await settled()
        ref.offer(Note("now"))
        assert journal == ["now"]
