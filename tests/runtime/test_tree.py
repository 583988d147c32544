"""The tree: started first to last, stopped last to first, never leaving a child."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from runtime import (
    Actor,
    ActorCrashed,
    CallCycle,
    ChildSpec,
    Draining,
    DuplicateChild,
    Exit,
    Ref,
    Request,
    Spawn,
    StopChild,
    Supervisor,
    Tell,
    answers,
    handles,
)
from tests.runtime.support_actors import (
    STEADY,
    Add,
    AddSlowly,
    Counter,
    Crash,
    Note,
    at,
    one,
    settled,
    spec,
    tree,
)


class Fail(Tell["Diarist"], frozen=True):
    pass


class Die(Tell["Diarist"], frozen=True):
    pass


class Diarist(Actor):
    """Writes when it starts and stops."""

    def __init__(self, name: str, diary: list[str], stop_s: float = 0) -> None:
        self.name = name
        self.diary = diary
        self.stop_s = stop_s

    async def on_start(self) -> None:
        await trio.sleep(0.01)
        self.diary.append(f"+{self.name}")

    async def on_stop(self, why: Exit) -> None:
        await trio.sleep(self.stop_s)
        self.diary.append(f"-{self.name}")

    @handles(Fail)
    def fail(self, msg: Fail) -> None:
        raise RuntimeError(self.name)

    @handles(Die)
    def die(self, msg: Die) -> None:
        self.ctx.stop_self()


def diarists(
    names: str, diary: list[str], stop_s: float = 0, **options: Any
) -> list[ChildSpec[Any]]:
    return [
        spec(name, lambda name=name: Diarist(name, diary, stop_s), **options)
        for name in names
    ]


async def test_children_start_in_order_and_stop_in_reverse_one_at_a_time() -> None:
    diary: list[str] = []
    async with tree(diarists("abc", diary, 1)):
        assert diary == ["+a", "+b", "+c"]
        began = trio.current_time()
    assert diary == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert trio.current_time() - began == pytest.approx(3)


async def test_the_body_starts_when_the_children_have() -> None:
    diary: list[str] = []
    async with tree(diarists("ab", diary)):
        assert diary == ["+a", "+b"]


async def test_a_nested_tree_stops_depth_first() -> None:
    diary: list[str] = []
    middle = spec("middle", lambda: Supervisor(diarists("xy", diary)))
    async with tree([*diarists("a", diary), middle, *diarists("z", diary)]) as system:
        assert at(system, "middle/x").id == "middle/x"
    assert diary == ["+a", "+x", "+y", "+z", "-z", "-y", "-x", "-a"]


async def test_dynamic_children_stop_first_and_side_by_side() -> None:
    """Ten thousand streams one after another would outlast any drain."""
    diary: list[str] = []
    async with tree([spec("streams", Supervisor), *diarists("z", diary)]) as system:
        streams: Ref[Supervisor] = at(system, "streams")
        for child in diarists("abc", diary, 1, restart="temporary"):
            await streams.ask(Spawn(child))
        await trio.sleep(1)
        began = trio.current_time()
    assert sorted(diary[-3:]) == ["-a", "-b", "-c"]
    assert trio.current_time() - began == pytest.approx(1)


async def test_a_child_that_does_not_stop_in_time_is_cancelled_with_a_reason() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal), shutdown_s=2) as ref:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_gone, ref)
            await settled()
            ref.cell.system.stop_soon(ref.cell, "test")
        assert trio.current_time() == pytest.approx(2)
        assert journal == ["slow add cancelled", "stopped: test"]


async def _gone(ref: Ref[Counter]) -> None:
    with pytest.raises(Exception, match="will not come back"):
        await ref.ask(AddSlowly(takes_s=99))


class Stubborn(Counter):
    async def on_stop(self, why: Exit) -> None:
        self.journal.append("stopping")
        await trio.sleep(1000)
        self.journal.append("never")


async def test_on_stop_is_bounded() -> None:
    journal: list[str] = []
    async with one(lambda: Stubborn(journal), shutdown_s=3):
        pass
    assert trio.current_time() == pytest.approx(3)
    assert journal == ["stopping"]


class Sloppy(Counter):
    def on_stop(self, why: Exit) -> None:
        raise RuntimeError("in on_stop")


async def test_a_crash_in_on_stop_is_reported_and_the_end_goes_on() -> None:
    async with tree([spec("it", Sloppy)]) as system:
        pass
    assert [report.error for report in system.crashes] == ["RuntimeError"]


# -- groups ------------------------------------------------------------------------


async def test_one_for_all_stops_in_reverse_and_restarts_in_order() -> None:
    diary: list[str] = []
    async with tree(diarists("abc", diary), strategy="one_for_all") as system:
        refs = [at(system, name) for name in "abc"]
        await refs[1].tell(Fail())
        await trio.sleep(3)
        assert diary[3:] == ["-b", "-c", "-a", "+a", "+b", "+c"]
        assert [at(system, name) for name in "abc"] == refs  # Refs survive
        assert [ref.cell.incarnation for ref in refs] == [2, 2, 2]


async def test_rest_for_one_takes_along_only_those_started_later() -> None:
    diary: list[str] = []
    async with tree(diarists("abcd", diary), strategy="rest_for_one") as system:
        await at(system, "b").tell(Fail())
        await trio.sleep(3)
        assert diary[4:] == ["-b", "-d", "-c", "+b", "+c", "+d"]


async def test_one_for_one_leaves_the_siblings_alone() -> None:
    diary: list[str] = []
    async with tree(diarists("abc", diary)) as system:
        await at(system, "b").tell(Fail())
        await trio.sleep(3)
        assert diary[3:] == ["-b", "+b"]


async def test_two_crashes_in_a_group_bring_it_back_once() -> None:
    diary: list[str] = []
    async with tree(diarists("abc", diary), strategy="one_for_all") as system:
        await at(system, "a").tell(Fail())
        await at(system, "c").tell(Fail())
        await trio.sleep(5)
        assert sorted(diary[3:]) == ["+a", "+b", "+c", "-a", "-b", "-c"]


async def test_a_group_waits_out_the_backoff_of_the_one_that_failed() -> None:
    diary: list[str] = []
    async with tree(diarists("ab", diary), strategy="one_for_all") as system:
        await at(system, "a").tell(Fail())
        await trio.sleep(0.5)
        assert diary[2:] == ["-a", "-b"]
        await trio.sleep(1)
        assert diary[4:] == ["+a", "+b"]


async def test_a_group_can_be_stopped_while_it_is_down() -> None:
    diary: list[str] = []
    async with tree(diarists("ab", diary), strategy="one_for_all") as system:
        await at(system, "a").tell(Fail())
        await trio.sleep(0.5)
    assert diary == ["+a", "+b", "-a", "-b"]
    assert system.lookup("a") is None


# -- children of any actor ---------------------------------------------------------


class Bear(Request["Parent", str], frozen=True):
    name: str


class Parent(Actor):
    """Has children of its own, and can crash."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    @answers(Bear)
    def bear(self, msg: Bear) -> str:
        if msg.name == "crash":
            raise RuntimeError("parent")
        child = spec(msg.name, lambda: Diarist(msg.name, self.diary))
        return self.ctx.spawn(child).id

    def on_stop(self, why: Exit) -> None:
        self.diary.append("-parent")


async def test_children_end_with_the_life_that_spawned_them() -> None:
    """The parent returns only after them, and its next life starts without any."""
    diary: list[str] = []
    async with one(lambda: Parent(diary)) as ref:
        assert await ref.ask(Bear("kid")) == "it/kid"
        await trio.sleep(1)
        with pytest.raises(ActorCrashed):
            await ref.ask(Bear("crash"))
        await trio.sleep(5)
        assert diary == ["+kid", "-kid", "-parent"]
        assert ref.cell.incarnation == 2
        assert await ref.ask(Bear("kid")) == "it/kid"


async def test_two_children_cannot_share_an_id() -> None:
    async with tree([spec("streams", Supervisor)]) as system:
        streams: Ref[Supervisor] = at(system, "streams")
        await streams.ask(Spawn(spec("s", Counter)))
        with pytest.raises(DuplicateChild, match="streams/s exists already"):
            await streams.ask(Spawn(spec("s", Counter)))
        assert streams.cell.incarnation == 1


async def test_spawn_is_served_inline_and_the_child_may_be_asked_at_once() -> None:
    async with tree([spec("streams", Supervisor)]) as system:
        streams: Ref[Supervisor] = at(system, "streams")
        child = await streams.ask(Spawn(ChildSpec("s", Counter, backoff=STEADY)))
        assert await child.ask(Add(3)) == 3
        assert child.cell.task is None


class Ring(Counter):
    """In dying, asks the parent that waits for its death."""

    parent: Ref[Any] | None = None

    async def on_stop(self, why: Exit) -> None:
        assert self.parent is not None
        try:
            await self.parent.ask(Bear("x"))
        except CallCycle as cycle:
            self.journal.append(cycle.path)


async def test_a_dying_child_that_asks_its_waiting_parent_is_told_at_once() -> None:
    journal: list[str] = []

    class Family(Parent):
        def on_start(self) -> None:
            def make() -> Ring:
                ring = Ring(journal)
                ring.parent = self.ctx.ref
                return ring

            self.ctx.spawn(spec("ring", make))

    async with one(lambda: Family([])) as ref:
        with pytest.raises(ActorCrashed):
            await ref.ask(Bear("crash"))
        await settled()
        assert journal == ["it/ring -> it -> the end of it/ring"]
        assert trio.current_time() < 1


async def test_stop_child_ends_one_child_only() -> None:
    async with one(lambda: Parent([])) as ref:
        await ref.ask(Bear("a"))
        await ref.ask(Bear("b"))
        ctx = ref.cell.actor.ctx
        kid = ctx.lookup("it/a")
        ctx.stop_child(kid, "enough")
        await trio.sleep(1)
        assert kid.gone
        assert not ctx.lookup("it/b").gone
        with pytest.raises(ValueError, match="it is no child of it"):
            ctx.stop_child(ref, "self")


async def test_a_supervisor_stops_a_child_on_request_and_answers_when_it_ended() -> (
    None
):
    diary: list[str] = []
    async with tree([spec("providers", Supervisor)]) as system:
        providers: Ref[Supervisor] = at(system, "providers")
        (child,) = diarists("a", diary, 2)
        ref = await providers.ask(Spawn(child))
        await trio.sleep(1)
        began = trio.current_time()
        assert await providers.ask(StopChild("a")) is True
        assert ref.gone
        assert diary == ["+a", "-a"]
        assert trio.current_time() - began == 2
        assert await providers.ask(StopChild("a")) is False
        # A static child of the root is found by the same rule.
        assert await system.root.ask(StopChild("providers")) is True


async def test_an_actor_may_call_its_own_things_children_and_strategy() -> None:
    class Chess(Counter):
        children = ("pawn", "pawn")
        strategy = "queen's gambit"

    async with one(Chess) as ref:
        assert await ref.ask(Add(1)) == 1
        await ref.tell(Note("queued"))
        assert await ref.ask(Add(1)) == 2


# -- tasks of an actor -------------------------------------------------------------


class Run(Tell["Runner"], frozen=True):
    pass


class Runner(Counter):
    """Has tasks of its own."""

    async def _forever(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.journal.append("task ended")

    def on_start(self) -> None:
        self.ctx.start_soon(self._forever)


async def test_the_tasks_of_an_actor_end_with_its_life_before_on_stop() -> None:
    journal: list[str] = []
    async with one(lambda: Runner(journal)) as ref:
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        await trio.sleep(5)
    assert journal == [
        "task ended",
        "crashed: ValueError",
        "task ended",
        "stopped: the body of open_system has ended",
    ]


async def test_the_crash_of_a_task_is_the_crash_of_its_actor() -> None:
    async def crash() -> None:
        await trio.sleep(1)
        raise RuntimeError("task")

    async with one(Counter) as ref:
        ref.cell.actor.ctx.start_soon(crash)
        await trio.sleep(1.5)
        assert ref.cell.state == "down"
        assert ref.cell.last_crash.error == "RuntimeError"
        await trio.sleep(1)
        assert ref.cell.incarnation == 2


async def test_a_task_may_be_cancelled_alone() -> None:
    journal: list[str] = []
    runner = Runner(journal)
    async with one(lambda: runner) as ref:
        scope = runner.ctx.start_soon(runner._forever)
        await settled()
        scope.cancel(reason="not needed")
        await settled()
        assert journal == ["task ended"]
        assert ref.cell.state == "running"


# -- drain -------------------------------------------------------------------------


class Worker(Counter):
    """A stream that takes its time and is told of the drain."""

    def on_drain(self, deadline: float) -> None:
        self.journal.append(f"drain until {deadline:g}")

    @answers(AddSlowly)
    async def add_slowly(self, msg: AddSlowly) -> int:
        await trio.sleep(msg.takes_s)
        self.journal.append("finished")
        self.ctx.stop_self()
        return 1


async def test_drain_lets_streams_finish_then_stops_last_to_first() -> None:
    journal: list[str] = []
    diary: list[str] = []
    children = [*diarists("a", diary), spec("streams", Supervisor)]
    async with tree(children) as system, trio.open_nursery() as nursery:
        streams: Ref[Supervisor] = at(system, "streams")
        worker = spec("w", lambda: Worker(journal), restart="temporary")
        ref = await streams.ask(Spawn(worker))
        nursery.start_soon(ref.ask, AddSlowly(takes_s=4))
        await settled()
        nursery.start_soon(system.drain, trio.current_time() + 30)
        await settled()
        with pytest.raises(Draining, match="streams is draining"):
            await streams.ask(Spawn(spec("x", Counter)))
        assert diary == ["+a"]
        await trio.sleep(5)
        assert "finished" in journal
        assert diary == ["+a", "-a"]  # the first started stopped last
        assert len(system) == 0


async def test_drain_does_not_wait_for_children_that_are_there_to_stay() -> None:
    """A provider added by hand is no work in flight."""
    diary: list[str] = []
    async with tree([spec("providers", Supervisor)]) as system:
        providers: Ref[Supervisor] = at(system, "providers")
        (child,) = diarists("a", diary)
        await providers.ask(Spawn(child))
        await trio.sleep(1)
        await system.drain(trio.current_time() + 1000)
        assert diary == ["+a", "-a"]
    assert trio.current_time() < 2


async def test_drain_stops_what_is_not_done_by_the_deadline() -> None:
    journal: list[str] = []
    async with tree([spec("streams", Supervisor)]) as system:
        before = trio.lowlevel.current_statistics().tasks_living
        streams: Ref[Supervisor] = at(system, "streams")
        worker = spec("w", lambda: Worker(journal), restart="temporary", shutdown_s=1)
        ref = await streams.ask(Spawn(worker))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_gone, ref)
            await settled()
            await system.drain(trio.current_time() + 2)
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert journal[-1] == "stopped: the drain deadline has passed"
        assert trio.lowlevel.current_statistics().tasks_living < before
