"""A child that is all its asker waits for lives in its asker's task."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

from runtime import (
    Actor,
    ActorCrashed,
    AskError,
    ChildSpec,
    ControlTell,
    Deferred,
    Exit,
    Limit,
    Ref,
    Request,
    Supervisor,
    answers,
    current_trace,
    handles,
    open_system,
)
from runtime._frame import current_frame
from runtime.testing import Fault, Sim, run_sim
from tests.runtime.support_actors import settled, spec, tree


class Nudge(ControlTell["Work"], frozen=True):
    word: str


class Give(Request["Work", int], frozen=True):
    pass


class Work(Actor):
    """Sleeps a while; says how it ended."""

    accepts = (Nudge,)

    def __init__(
        self, takes_s: float, told: list[str], *, crashes: bool = False
    ) -> None:
        self.takes_s = takes_s
        self.told = told
        self.crashes = crashes

    async def main(self) -> None:
        assert current_frame.get().cell is self.ctx.ref.cell
        self.told.append(self.ctx.id)
        await trio.sleep(self.takes_s)
        if self.crashes:
            raise ValueError
        self.told.append("done")

    def on_stop(self, why: Exit) -> None:
        self.told.append(str(why))

    @handles(Nudge)
    def nudge(self, msg: Nudge) -> None:
        self.told.append(msg.word)


class Hire(Request["Boss", "Ref[Work]"], frozen=True):
    takes_s: float = 1.0
    crashes: bool = False
    restart: str = "temporary"


class HireTwo(Request["Boss", "Ref[Work]"], frozen=True):
    pass


class HireLater(Request["Boss", "Ref[Work]"], frozen=True):
    pass


class HireAndCrash(Request["Boss", "Ref[Work]"], frozen=True):
    pass


TOLD: list[str] = []


class Boss(Supervisor):
    def _hire(self, name: str, msg: Hire) -> Ref[Work]:
        make = partial(Work, msg.takes_s, TOLD, crashes=msg.crashes)
        return self.ctx.spawn(ChildSpec(name, make, restart=msg.restart))  # type: ignore[arg-type]

    @answers(Hire)
    def hire(self, msg: Hire) -> Ref[Work]:
        return self._hire("work", msg)

    @answers(HireTwo)
    def hire_two(self, msg: HireTwo) -> Ref[Work]:
        first = self._hire("first", Hire())
        self._hire("second", Hire())
        return first

    @answers(HireLater)
    def hire_later(self, msg: HireLater) -> Deferred[Ref[Work]]:
        deferred = Deferred["Ref[Work]"]()
        ref = self._hire("work", Hire())
        self.ctx.start_soon(self._answer, deferred, ref)
        return deferred

    async def _answer(self, deferred: Deferred[Ref[Work]], ref: Ref[Work]) -> None:
        await trio.sleep(0.1)
        deferred.reply(ref)

    @answers(HireAndCrash)
    def hire_and_crash(self, msg: HireAndCrash) -> Ref[Work]:
        self._hire("work", Hire())
        raise ValueError


@pytest.fixture(autouse=True)
def _silence() -> None:
    TOLD.clear()


def _ignore(_: object) -> None:
    """Nothing to prepare."""


async def test_it_lives_in_its_askers_task_and_has_ended_when_the_ask_returns() -> None:
    """No task is started, and the asker's own frame is back afterwards."""
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        before = trio.lowlevel.current_statistics().tasks_living
        begun: list[Ref[Work]] = []
        tasks: list[int] = []

        def begin(ref: Ref[Work]) -> None:
            begun.append(ref)
            assert not ref.gone
            assert TOLD == []
            tasks.append(trio.lowlevel.current_statistics().tasks_living - before)

        frame = current_frame.get()
        ref = await boss.ask_hosting(Hire(), begin)
        assert begun == [ref]
        assert ref.gone
        assert tasks == [0]
        assert TOLD == ["boss/work", "done", "done"]
        assert current_frame.get() is frame
        assert current_trace() is None


async def test_it_hears_what_it_is_told_while_it_runs() -> None:
    async with tree([spec("boss", Boss)]) as system, trio.open_nursery() as nursery:
        boss = system.lookup("boss", Boss)
        assert boss is not None

        async def ask() -> None:
            await boss.ask_hosting(Hire(), lambda ref: ref.offer(Nudge("before")))

        nursery.start_soon(ask)
        await trio.sleep(0.5)
        work = system.lookup("boss/work")
        assert work is not None
        work.offer(Nudge("while"))
        await trio.sleep(1)
    assert TOLD == ["before", "boss/work", "while", "done", "done"]


async def test_cancelling_the_asker_stops_the_child_in_order() -> None:
    """It is stopped, not crashed; and the asker is cancelled, as it should be."""
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        with trio.move_on_after(0.5) as scope:
            await boss.ask_hosting(Hire(), _ignore)
        assert scope.cancelled_caught
        assert TOLD == ["boss/work", "stopped: cancelled"]
        assert system.lookup("boss/work") is None
        assert system.crashes == ()


async def test_a_stop_by_its_supervisor_ends_it_and_the_asker_goes_on() -> None:
    async with tree([spec("boss", Boss)]) as system, trio.open_nursery() as nursery:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        went_on: list[bool] = []

        async def ask() -> None:
            ref = await boss.ask_hosting(Hire(takes_s=100), _ignore)
            went_on.append(ref.gone)

        nursery.start_soon(ask)
        await trio.sleep(0.5)
        work = system.lookup("boss/work")
        assert work is not None
        system.stop_soon(work.cell, "enough")
        await settled()
        assert went_on == [True]
        assert TOLD == ["boss/work", "stopped: enough"]


async def test_with_its_hosts_scope_a_stop_of_the_child_ends_the_host_too() -> None:
    """The child ends in order all the same, and what is not cancelled costs nothing."""
    async with tree([spec("boss", Boss)]) as system, trio.open_nursery() as nursery:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        went_on: list[bool] = []
        scopes = [trio.CancelScope(), trio.CancelScope()]

        async def ask(scope: trio.CancelScope, takes_s: float) -> None:
            with scope:
                ref = await boss.ask_hosting(Hire(takes_s=takes_s), _ignore, scope)
                went_on.append(ref.gone)

        nursery.start_soon(ask, scopes[0], 1)
        await trio.sleep(2)
        assert went_on == [True]
        assert TOLD == ["boss/work", "done", "done"]
        TOLD.clear()

        nursery.start_soon(ask, scopes[1], 100)
        await trio.sleep(1)
        work = system.lookup("boss/work")
        assert work is not None
        system.stop_soon(work.cell, "enough")
        await settled()
        assert went_on == [True]
        assert TOLD == ["boss/work", "stopped: enough"]
        assert [scope.cancelled_caught for scope in scopes] == [False, True]
        assert work.gone
        assert system.crashes == ()


async def test_its_crash_is_its_own_and_reported() -> None:
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        ref = await boss.ask_hosting(Hire(crashes=True), _ignore)
        assert ref.gone
        assert [report.error for report in system.crashes] == ["ValueError"]


async def test_what_comes_back_after_its_end_has_a_task_of_its_own() -> None:
    """A host waits for one life only."""
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        ref = await boss.ask_hosting(Hire(takes_s=9, restart="transient"), _ignore)
        assert not ref.gone
        await trio.sleep(10)
        assert ref.gone


async def test_of_two_children_the_first_is_hosted() -> None:
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        first = await boss.ask_hosting(HireTwo(), _ignore)
        assert first.gone
        await settled()
        assert system.lookup("boss/second") is None
        assert TOLD.count("done") == 4


async def test_an_answer_that_comes_later_leaves_the_child_its_own_task() -> None:
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        ref = await boss.ask_hosting(HireLater(), _ignore)
        assert not ref.gone
        await trio.sleep(2)
        assert ref.gone


async def test_a_child_is_never_lost_when_the_handler_or_the_asker_fails() -> None:
    """Then it lives in a task of its own, and ends with its parent as any child."""

    def fail(_: object) -> None:
        raise KeyError

    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        with pytest.raises(KeyError):
            await boss.ask_hosting(Hire(), fail)
        await trio.sleep(2)
        assert TOLD == ["boss/work", "done", "done"]
        with pytest.raises(ActorCrashed):
            await boss.ask_hosting(HireAndCrash(), _ignore)
        await trio.sleep(10)
        assert system.lookup("boss/work") is None
        assert len(TOLD) > 3


async def test_hosting_ends_with_the_handler_that_was_asked() -> None:
    """What others spawn afterwards has tasks of its own."""
    async with tree([spec("boss", Boss)]) as system:
        boss = system.lookup("boss", Boss)
        assert boss is not None
        with pytest.raises(ActorCrashed):
            await boss.ask_hosting(HireAndCrash(), _ignore)
        assert not system.hosting
        assert system.newborn is None


@pytest.mark.parametrize("seed", range(60))
def test_in_any_order_and_under_faults_every_hosted_child_ends(seed: int) -> None:
    """Askers leave, actors crash, stall and are cancelled: nothing is left behind."""

    async def asker(sim: Sim, system: Any, name: str) -> None:
        for _ in range(5):
            boss = system.lookup("boss", Crowd)
            await sim.jitter()
            if boss is None:
                continue
            with sim.impatience(0.4, 1.0):
                join = Join(name, sim.random.random())
                with suppress(AskError):
                    if sim.random.random() < 0.5:
                        ref = await boss.ask_hosting(join, _ignore)
                    else:
                        with trio.CancelScope() as lent:
                            ref = await boss.ask_hosting(join, _ignore, lent)
                        if lent.cancelled_caught:
                            continue
                    await ref.cell.wait_gone()

    async def main(sim: Sim) -> None:
        faults_of: list[str] = []
        crowd = ChildSpec("boss", partial(Crowd, faults_of))
        async with open_system(
            ChildSpec("root", lambda: Supervisor([crowd], limit=Limit(1000, 5)))
        ) as system:
            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(asker, sim, system, f"a{number}")
            sim.calm()
            await trio.sleep(5)
            assert [n.id for n in system.snapshot().walk()] == ["root", "boss"]
            assert not system.hosting
            assert system.newborn is None
        assert faults_of.count("born") == faults_of.count("ended")

    faults = (
        Fault("crash", rate=0.05),
        Fault("stall", rate=0.1, within_s=0.5),
        Fault("cancel", rate=0.1, actor="boss/*", within_s=0.5),
    )
    run_sim(main, seed, faults)


class Join(Request["Crowd", "Ref[Guest]"], frozen=True):
    name: str
    takes_s: float


class Half(ControlTell["Guest"], frozen=True):
    pass


class Guest(Actor):
    accepts = (Half,)

    def __init__(self, takes_s: float, book: list[str]) -> None:
        self.takes_s = takes_s
        self.book = book
        book.append("born")

    def on_start(self) -> None:
        self.ctx.tell_at(self.ctx.now() + self.takes_s / 2, Half())

    async def main(self) -> None:
        await trio.sleep(self.takes_s)

    def on_stop(self, why: Exit) -> None:
        self.book.append("ended")

    @handles(Half)
    def half(self, msg: Half) -> None:
        """Nothing but a message that may be struck."""


class Crowd(Supervisor):
    def __init__(self, book: list[str]) -> None:
        super().__init__()
        self.book = book
        self.count = 0

    @answers(Join)
    def join(self, msg: Join) -> Ref[Guest]:
        self.count += 1
        make = partial(Guest, msg.takes_s, self.book)
        name = f"{msg.name}-{self.count}"
        return self.ctx.spawn(ChildSpec(name, make, restart="temporary"))
