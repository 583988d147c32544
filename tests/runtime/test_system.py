# ruff: noqa: PT012 - what is raised comes out of the system around the body
"""The whole: how it begins, how it ends, what it shows of itself."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import trio

from runtime import (
    Actor,
    ActorCrashed,
    ActorDown,
    ChildSpec,
    Exit,
    MailboxFull,
    Spawn,
    Supervisor,
    SystemFailed,
    open_system,
)
from tests.runtime.support_actors import (
    Add,
    AddSlowly,
    Budget,
    Counter,
    Crash,
    CrashQuietly,
    Hold,
    Later,
    Note,
    Refuse,
    Shedding,
    Trip,
    Urgent,
    at,
    one,
    settled,
    spec,
    tree,
)


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    """No group around it: a caller may catch it by its type."""
    journal: list[str] = []
    with pytest.raises(Budget):
        async with one(lambda: Counter(journal)):
            raise Budget("body")
    assert journal == ["stopped: the body of open_system has ended"]


async def test_cancelling_around_a_system_still_ends_it_in_order() -> None:
    """Cancelling a plain nursery would cancel everything at once, auditor included."""
    journal: list[str] = []

    class Careful(Counter):
        async def on_stop(self, why: Exit) -> None:
            await trio.sleep(2)
            self.journal.append("flushed")

    with trio.move_on_after(1) as scope:
        async with one(lambda: Careful(journal)) as ref:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert journal == ["flushed"]
    assert ref.gone
    assert trio.current_time() == 3


async def test_no_task_is_left_after_a_system() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with one(Counter) as ref:
        await ref.tell(Note())
        ref.cell.actor.ctx.start_soon(trio.sleep_forever)
        await settled()
        assert trio.lowlevel.current_statistics().tasks_living > before
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_root_that_cannot_start_fails_the_system() -> None:
    def make() -> Supervisor:
        raise OSError("no disk")

    with pytest.raises(SystemFailed, match="system gave up"):
        async with open_system(ChildSpec("system", make)):
            await trio.sleep_forever()


async def test_a_root_that_crashes_cancels_the_body() -> None:
    cancelled = False
    with pytest.raises(SystemFailed) as failed:
        async with tree([spec("it", Counter)]) as system:
            system.root.cell.fail(ValueError("root"), None)
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled = True
                raise
    assert cancelled
    assert failed.value.report is not None
    assert failed.value.report.error == "ValueError"


async def test_the_body_error_wins_over_the_failure_of_the_system() -> None:
    with pytest.raises(Budget):
        async with tree([spec("it", Counter)]) as system:
            system.root.cell.fail(ValueError("root"), None)
            raise Budget("body")


async def test_a_drained_system_leaves_its_body_to_finish() -> None:
    async with tree([spec("it", Counter)]) as system:
        await system.drain(trio.current_time() + 1)
        await trio.sleep(5)
        finished = True
    assert finished


async def test_a_root_that_leaves_by_itself_fails_the_system() -> None:
    with pytest.raises(SystemFailed, match="it left by itself"):
        async with tree([]) as system:
            system.root.cell.actor.ctx.stop_self()
            await trio.sleep_forever()


class Interrupted(Actor):
    async def on_start(self) -> None:
        self.ctx.start_soon(self._interrupt)

    async def _interrupt(self) -> None:
        await trio.sleep(1)
        raise KeyboardInterrupt


async def test_ctrl_c_inside_an_actor_ends_all_in_order_and_is_raised() -> None:
    journal: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        async with tree([spec("a", lambda: Counter(journal)), spec("b", Interrupted)]):
            await trio.sleep_forever()
    assert journal == ["stopped: the body of open_system has ended"]


async def test_the_snapshot_is_the_live_tree() -> None:
    async with tree([spec("it", Counter), spec("streams", Supervisor)]) as system:
        await at(system, "streams").ask(Spawn(spec("s1", Shedding)))
        with pytest.raises(ActorDown):
            await at(system, "it").ask(Trip())
        await settled()
        ref = at(system, "streams/s1")
        await ref.tell(Hold())
        await settled()
        for _ in range(3):
            ref.offer(Note())
        node = system.snapshot()
        assert [n.id for n in node.walk()] == ["system", "it", "streams", "streams/s1"]
        it, stream = node.children[0], node.children[1].children[0]
        assert (it.state, it.restarts, it.retry_in_s) == ("down", 0, 1.0)
        assert (stream.kind, stream.depth, stream.peak) == ("Shedding", 2, 2)
        assert (stream.shed, stream.handling) == (1, "Hold")
        assert str(node) == (
            "system Supervisor running\n"
            "|-- it Counter down retry_in=1.0s\n"
            "`-- streams Supervisor running\n"
            "    `-- streams/s1 Shedding running handling=Hold queued=2/2 shed=1"
        )
        await trio.sleep(2)
        assert system.snapshot().children[0].restarts == 1


async def test_the_dump_shows_where_each_task_waits() -> None:
    async with tree([spec("it", Counter), spec("quiet", Counter)]) as system:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at(system, "it").ask, AddSlowly(takes_s=1))
            await settled()
            dump = system.dump()
        assert "<Counter it running #1 queued=0/64>\n  handling AddSlowly" in dump
        assert "Counter.add_slowly (tests.runtime.support_actors:" in dump
        assert "no task yet" in dump


async def test_the_reprs_are_for_operators() -> None:
    async with tree([spec("it", Counter)]) as system:
        ref = at(system, "it")
        assert repr(ref) == "<Ref <Counter it running #1 queued=0/64>>"
        assert repr(system) == "<System running actors=2 crashes=0>"
        with pytest.raises(ActorDown):
            await ref.ask(Trip())
        await settled()
        assert repr(ref) == "<Ref <Counter it down #1 retry_in=1.0s queued=0/64>>"


# -- tracing -----------------------------------------------------------------------


class Scribe:
    """Writes down all it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def sent(self, to: str, message: type, sender: str | None) -> None:
        self.told.append(("sent", to, message.__name__, sender))

    def received(self, id: str, message: type) -> None:  # noqa: A002
        self.told.append(("received", id, message.__name__))

    def handled(self, id: str, message: type, seconds: float) -> None:  # noqa: A002
        self.told.append(("handled", id, message.__name__, seconds))

    def shed(self, id: str, message: type, why: str) -> None:  # noqa: A002
        self.told.append(("shed", id, message.__name__, why))

    def exited(self, id: str, incarnation: int, why: Exit) -> None:  # noqa: A002
        self.told.append(("exited", id, incarnation, str(why)))


async def test_a_tracer_sees_every_message_inline_and_queued() -> None:
    scribe = Scribe()
    async with tree([spec("it", Counter)], tracer=scribe) as system:
        ref = at(system, "it")
        await ref.ask(Add())
        assert ref.cell.task is None  # still inline
        await ref.ask(AddSlowly(takes_s=2))
        await ref.tell(Note("secret"))
        await settled()
        with pytest.raises(Budget):
            await ref.ask(Refuse())
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        await trio.sleep(2)
    assert [told for told in scribe.told if told[1] == "it"] == [
        ("sent", "it", "Add", None),
        ("received", "it", "Add"),
        ("handled", "it", "Add", 0.0),
        ("sent", "it", "AddSlowly", None),
        ("received", "it", "AddSlowly"),
        ("handled", "it", "AddSlowly", 2.0),
        ("sent", "it", "Note", None),
        ("received", "it", "Note"),
        ("handled", "it", "Note", 0.0),
        ("sent", "it", "Refuse", None),
        ("received", "it", "Refuse"),
        ("handled", "it", "Refuse", 0.0),
        ("sent", "it", "Crash", None),
        ("received", "it", "Crash"),
        ("handled", "it", "Crash", 0.0),
        ("exited", "it", 1, "crashed: ValueError"),
        ("exited", "it", 2, "stopped: the body of open_system has ended"),
    ]


async def test_a_tracer_learns_what_was_shed_and_why() -> None:
    scribe = Scribe()
    async with tree([spec("it", Shedding)], tracer=scribe) as system:
        ref = at(system, "it")
        await ref.tell(Hold())
        await settled()
        for _ in range(3):
            ref.offer(Note())
        with pytest.raises(MailboxFull):
            await ref.ask(Add())
    assert [told for told in scribe.told if told[0] == "shed"] == [
        ("shed", "it", "Note", "full"),
        ("shed", "it", "Add", "full"),
    ]


async def test_a_tracer_that_raises_is_switched_off_and_harms_nobody() -> None:
    class Broken(Scribe):
        def received(self, id: str, message: type) -> None:  # noqa: A002
            raise ValueError("broken tracer")

    async with tree([spec("it", Counter)], tracer=Broken()) as system:
        assert await at(system, "it").ask(Add(1)) == 1
        assert system.tracer is None
        assert system.plain
        assert await at(system, "it").ask(Add(1)) == 2
        assert at(system, "it").cell.incarnation == 1


# -- from outside ------------------------------------------------------------------


async def test_tasks_that_are_no_actors_may_ask() -> None:
    """An ASGI handler is one."""
    async with one(Counter) as ref, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ref.ask, Add())
        for _ in range(10):
            nursery.start_soon(ref.ask, AddSlowly(takes_s=0.1))
        await trio.sleep(2)
        assert await ref.ask(Add(0)) == 20


async def test_what_is_deferred_when_the_system_ends_is_answered() -> None:
    """No asker waits for an actor that is no more."""
    outcome: list[str] = []

    async def ask(ref: Any) -> None:
        try:
            await ref.ask(Later())
        except Exception as exc:  # noqa: BLE001
            outcome.append(type(exc).__name__)

    async with trio.open_nursery() as nursery, one(Counter) as ref:
        nursery.start_soon(ask, ref)
        await settled()
    assert outcome == ["ActorGone"]


async def test_control_messages_are_handled_before_the_end() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        await ref.tell(Hold(1))
        await settled()
        ref.offer(Urgent("settle"))
        ref.cell.request_stop("test")
        assert ref.offer(Urgent("while stopping"))
    assert journal == ["urgent settle", "urgent while stopping", "stopped: test"]


async def test_a_second_crash_while_ending_is_only_reported() -> None:
    class Twice(Counter):
        async def on_stop(self, why: Exit) -> None:
            raise RuntimeError("again")

    async with tree([spec("it", Twice)]) as system:
        await at(system, "it").tell(CrashQuietly())
        await trio.sleep(2)
        assert [r.error for r in system.crashes] == ["KeyError", "RuntimeError"]
        assert at(system, "it").cell.incarnation == 2


def test_a_signal_may_ask_for_the_dump() -> None:
    """SIGUSR1 comes at any time; the dump is synchronous and needs no task."""
    dumps: list[str] = []

    async def main() -> None:
        async with tree([spec("it", Counter)]) as system:
            with trio.open_signal_receiver(signal.SIGUSR1) as signals:
                signal.raise_signal(signal.SIGUSR1)
                async for _ in signals:
                    dumps.append(system.dump())
                    break

    trio.run(main)
    assert "<Counter it running #1" in dumps[0]
