# ruff: noqa: PT012 - what is raised comes out of the system around the body
"""Lives: who comes back, when, how often, and what a crash may show."""

from __future__ import annotations

import logging

import pytest
import trio

from runtime import (
    Actor,
    ActorCrashed,
    ActorDown,
    ActorGone,
    Backoff,
    Crashed,
    Exit,
    Limit,
    Normal,
    Request,
    Supervisor,
    SystemFailed,
    Tell,
    Tripped,
    answers,
    handles,
)
from tests.runtime.support_actors import (
    Add,
    Counter,
    Crash,
    CrashQuietly,
    CrashSlowly,
    Leave,
    Note,
    Trip,
    at,
    one,
    settled,
    spec,
    tree,
)

SOON = Backoff(first_s=0.1, factor=1, jitter=0)


async def test_a_permanent_actor_comes_back_with_a_new_epoch() -> None:
    async with one(Counter) as ref:
        await ref.ask(Add(5))
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        assert await ref.ask(Add(1)) == 1  # a fresh instance behind the same Ref
        assert ref.cell.incarnation == 2


async def test_a_transient_actor_comes_back_from_a_crash_not_from_its_end() -> None:
    async with one(Counter, restart="transient") as ref:
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        assert await ref.ask(Add(1)) == 1
        await ref.ask(Leave())
        await trio.sleep(60)
        assert ref.gone


async def test_a_temporary_actor_never_comes_back() -> None:
    async with one(Counter, restart="temporary") as ref:
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        await trio.sleep(60)
        assert ref.gone


async def test_the_pause_grows_with_every_failure_up_to_its_cap() -> None:
    async with one(Counter, restart="permanent") as ref:
        pauses: list[float] = []
        for _ in range(6):
            with pytest.raises(ActorDown) as down:
                await ref.ask(Trip())
            assert down.value.retry_at is not None
            pauses.append(round(down.value.retry_at - trio.current_time(), 3))
            await trio.sleep(pauses[-1])
            await settled()
        assert pauses == [1, 2, 4, 8, 8, 8]


async def test_a_long_life_or_recovered_starts_the_backoff_over() -> None:
    async with one(Counter) as ref:
        for pause in (1, 2):
            with pytest.raises(ActorDown):
                await ref.ask(Trip())
            await trio.sleep(pause)
        await trio.sleep(60)  # stable_s
        with pytest.raises(ActorDown) as down:
            await ref.ask(Trip())
        assert down.value.retry_at == pytest.approx(trio.current_time() + 1)
        await trio.sleep(1)
        await settled()
        ref.cell.actor.ctx.recovered()
        with pytest.raises(ActorDown) as down:
            await ref.ask(Trip())
        assert down.value.retry_at == pytest.approx(trio.current_time() + 1)


async def test_a_trip_may_name_the_time_of_return() -> None:
    """A provider that said Retry-After knows better than any backoff."""
    async with one(Counter) as ref:
        with pytest.raises(ActorDown) as down:
            await ref.ask(Trip(retry_after_s=17))
        assert down.value.retry_at == trio.current_time() + 17


async def test_trips_never_count_toward_the_limit() -> None:
    """Otherwise one bad upstream would end the gateway."""
    async with one(Counter) as ref:
        for _ in range(20):
            with pytest.raises(ActorDown):
                await ref.ask(Trip(retry_after_s=0.01))
            await trio.sleep(0.02)
        assert ref.cell.incarnation == 21


async def test_temporary_crashes_never_count_toward_the_limit() -> None:
    async with tree([spec("streams", Supervisor)]) as system:
        streams = at(system, "streams")
        for number in range(20):
            child = streams.cell.spawn(spec(f"s{number}", Counter, restart="temporary"))
            with pytest.raises(ActorCrashed):
                await child.ref.ask(Crash())
        await settled()
        assert streams.cell.state == "running"
        assert streams.cell.incarnation == 1
        assert system.crashes_total == 20


async def test_a_crash_loop_ends_the_supervisor_and_then_the_system() -> None:
    """Escalation settles what waits; the error says who and what to look at."""
    with pytest.raises(SystemFailed, match="it crashed more than 3 times in 5 s"):
        children = [spec("it", Hasty, backoff=SOON), spec("other", Counter)]
        async with tree(children) as system:
            ref, other = at(system, "it"), at(system, "other")
            for _ in range(4):
                await ref.tell(Stumble())
            with pytest.raises(ActorGone):
                await ref.ask(Walk())
            await trio.sleep_forever()
    assert other.gone


class Walk(Request["Hasty", None], frozen=True):
    pass


class Fall(Exception):
    pass


class Stumble(Tell["Hasty"], frozen=True):
    pass


class Hasty(Actor):
    """Crashes on every Stumble and comes back soon."""

    @handles(Stumble)
    def stumble(self, msg: Stumble) -> None:
        raise Fall

    @answers(Walk)
    def walk(self, msg: Walk) -> None:
        pass


async def test_a_supervisor_in_the_middle_is_restarted_with_its_children() -> None:
    def middle() -> Supervisor:
        return Supervisor([spec("it", Hasty, backoff=SOON)], limit=Limit(1, 5))

    async with tree([spec("middle", middle), spec("other", Counter)]) as system:
        old = at(system, "middle/it")
        for _ in range(2):
            await old.tell(Stumble())
        await trio.sleep(5)
        assert old.gone
        new = at(system, "middle/it")
        assert new is not old
        await new.ask(Walk())
        assert at(system, "middle").cell.incarnation == 2
        assert at(system, "other").cell.incarnation == 1


async def test_a_constructor_that_throws_is_a_crash_not_a_zombie() -> None:
    tries = 0

    def make() -> Counter:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("disk")
        return Counter()

    async with one(make) as ref:
        assert ref.cell.state == "down"
        assert await ref.ask(Add(1)) == 1
        assert ref.cell.incarnation == 3
        assert ref.cell.last_crash is not None
        assert ref.cell.last_crash.error == "OSError"


class Starter(Counter):
    """Fails to start as often as it is told."""

    failures = 0

    async def on_start(self) -> None:
        await trio.sleep(0.1)
        if Starter.failures:
            Starter.failures -= 1
            raise OSError("not yet")


async def test_a_failing_start_is_retried_and_held_messages_survive() -> None:
    Starter.failures = 2
    journal: list[str] = []
    async with one(lambda: Starter(journal)) as ref:
        await ref.tell(Note("early"))
        assert await ref.ask(Add(1)) == 1
    assert journal[0] == "early"


async def test_on_stop_is_not_run_for_a_life_that_never_started() -> None:
    Starter.failures = 1
    journal: list[str] = []
    async with one(lambda: Starter(journal)):
        await trio.sleep(3)
        assert journal == []


class Brief(Counter):
    """Has nothing to do and says so."""

    def on_start(self) -> None:
        self.ctx.stop_self()


async def test_an_actor_may_leave_in_its_start_and_on_stop_still_runs() -> None:
    journal: list[str] = []
    async with tree([spec("it", lambda: Brief(journal), restart="temporary")]):
        pass
    assert journal == ["done"]


async def test_a_plain_on_start_that_returns_an_awaitable_is_a_bug() -> None:
    class Lazy(Counter):
        def on_start(self) -> object:  # type: ignore[override]
            return object()

    async with tree([spec("it", Lazy, restart="temporary")]) as system:
        assert system.crashes[0].error == "TypeError"


async def test_the_exit_reaches_on_stop() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        with pytest.raises(ActorDown):
            await ref.ask(Trip(retry_after_s=1))
        await trio.sleep(2)
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())
        await trio.sleep(9)
    assert journal == [
        "tripped: upstream is away: failures=5",
        "crashed: ValueError",
        "stopped: the body of open_system has ended",
    ]


async def test_a_crash_report_names_types_and_lines_but_no_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Prompts and keys live in messages and exception texts."""
    with caplog.at_level(logging.ERROR, logger="runtime"):
        async with tree([spec("it", Counter)]) as system:
            with pytest.raises(ActorCrashed) as raised:
                await at(system, "it").ask(Crash(secret="sk-very-secret"))
            await at(system, "it").tell(CrashQuietly())
            await trio.sleep(5)
            seen = repr(system.crashes) + str(system.snapshot()) + system.dump()
    report = system.crashes[0]
    assert (report.actor, report.incarnation) == ("it", 1)
    assert (report.message, report.error) == ("Crash", "ValueError")
    assert report.trace[-1].startswith("tests.runtime.support_actors.Counter.crash:")
    assert "sk-very-secret" not in seen + caplog.text + repr(raised.value)
    assert "it #1 crashed while handling Crash: ValueError" in caplog.text


async def test_only_so_many_crash_reports_are_kept() -> None:
    async with tree([spec("streams", Supervisor)]) as system:
        streams = at(system, "streams").cell
        for number in range(100):
            child = streams.spawn(spec(f"s{number}", Counter, restart="temporary"))
            with pytest.raises(ActorCrashed):
                await child.ref.ask(Crash())
        assert len(system.crashes) == 64
        assert system.crashes[-1].actor == "streams/s99"


class Nested(Request["Nursery", None], frozen=True):
    what: str


class Nursery(Actor):
    """Raises from inside a nursery, which wraps what it raises in groups."""

    def __init__(self) -> None:
        self.left: list[Exit] = []

    @answers(Nested)
    async def nested(self, msg: Nested) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._raise, msg.what)

    async def _raise(self, what: str) -> None:
        if what == "trip":
            raise Tripped("inside")
        raise RuntimeError("inside")


async def test_what_a_nursery_wraps_in_a_group_still_trips_or_crashes() -> None:
    async with one(Nursery) as ref:
        with pytest.raises(ActorDown):
            await ref.ask(Nested("trip"))
        await trio.sleep(1)
        with pytest.raises(ActorCrashed):
            await ref.ask(Nested("crash"))
        assert ref.cell.last_crash is not None
        assert ref.cell.last_crash.error == "RuntimeError"


async def test_the_asker_of_a_handler_cut_short_by_a_crash_is_answered() -> None:
    """A task of the actor crashes while a handler waits: both belong to one life."""

    class Go(Request["Split", None], frozen=True):
        pass

    class Split(Actor):
        async def _crash(self) -> None:
            await trio.sleep(1)
            raise RuntimeError("task")

        @answers(Go)
        async def go(self, msg: Go) -> None:
            self.ctx.start_soon(self._crash)
            await trio.sleep_forever()

    async with one(Split) as ref:
        with pytest.raises(ActorCrashed):
            await ref.ask(Go())
        assert trio.current_time() == 1


async def test_stopping_an_actor_in_backoff_ends_it_at_once() -> None:
    async with one(Counter) as ref:
        with pytest.raises(ActorDown):
            await ref.ask(Trip(retry_after_s=1000))
        await settled()
    assert ref.gone
    assert trio.current_time() < 1


async def test_an_actor_may_leave_by_itself_and_a_permanent_one_returns() -> None:
    async with one(Counter) as ref:
        await ref.ask(Leave())
        assert ref.cell.exit == Normal()
        assert await ref.ask(Add(1)) == 1
        assert ref.cell.history.crashes == ()


async def test_a_slow_crash_reports_the_life_it_was_in() -> None:
    async with one(Counter) as ref:
        with pytest.raises(ActorCrashed):
            await ref.ask(CrashSlowly())
        assert isinstance(ref.cell.exit, Crashed)
        assert ref.cell.exit.report.message == "CrashSlowly"


async def test_what_is_cancelled_by_a_crash_learns_no_value_of_it() -> None:
    """Trio copies the text of an exception into its siblings' Cancelled."""
    seen: list[str] = []

    class Leak(Counter):
        async def _crash(self) -> None:
            await trio.sleep(1)
            raise ValueError("sk-very-secret")

        async def _sibling(self) -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                seen.append(str(cancelled))
                raise

        async def on_start(self) -> None:
            self.ctx.start_soon(self._sibling)
            self.ctx.start_soon(self._crash)

    async with one(Leak, restart="temporary"):
        await trio.sleep(2)
    assert len(seen) == 1
    assert "it crashed: ValueError" in seen[0]
    assert "secret" not in seen[0]
