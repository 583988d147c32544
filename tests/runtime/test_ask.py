"""Questions: answered once, by a deadline, in order, never in a circle."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import runtime
from runtime import (
    Actor,
    ActorCrashed,
    ActorGone,
    CallCycle,
    DeadlineExceeded,
    Deferred,
    MailboxSpec,
    NotAccepted,
    Ref,
    Request,
    Tell,
    answers,
    current_trace,
    handles,
    set_trace,
)
from tests.runtime.support_actors import (
    Add,
    AddSlowly,
    Budget,
    Counter,
    Crash,
    CrashSlowly,
    Hold,
    Later,
    Leave,
    Note,
    Refuse,
    at,
    one,
    settled,
    spec,
    tree,
)


async def test_an_ask_of_an_idle_actor_runs_in_the_askers_task() -> None:
    """No task switch: the actor has no task at all until something is queued."""
    async with one(Counter) as ref:
        assert await ref.ask(Add(2)) == 2
        assert await ref.ask(Add(3)) == 5
        assert ref.cell.task is None


async def test_an_ask_of_a_busy_actor_waits_its_turn() -> None:
    async with one(Counter) as ref:
        await ref.tell(Hold(5))
        await settled()
        began = trio.current_time()
        assert await ref.ask(Add(1)) == 1
        assert trio.current_time() - began == 5


async def test_messages_of_one_sender_keep_their_order() -> None:
    """A tell that is still queued forces the following ask into the queue."""
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        await ref.tell(Note("first"))
        await ref.ask(Add(1))
        await ref.tell(Note("second"))
        await ref.ask(Add(2))
    assert journal[:4] == ["first", "add 1", "second", "add 2"]


async def test_a_declared_error_is_the_answer_and_nobody_crashes() -> None:
    async with one(Counter) as ref:
        await ref.ask(Add(1))
        with pytest.raises(Budget, match="spent its budget"):
            await ref.ask(Refuse())
        await ref.tell(Note())
        with pytest.raises(Budget):  # through the mailbox, too
            await ref.ask(Refuse())
        assert await ref.ask(Add(1)) == 2
        assert ref.cell.incarnation == 1


async def test_the_asker_of_a_crash_gets_actor_crashed_inline_and_queued() -> None:
    async with one(Counter) as ref:
        with pytest.raises(ActorCrashed) as inline:
            await ref.ask(Crash())
        assert inline.value.incarnation == 1
        assert inline.value.__cause__ is None
        assert inline.value.__context__ is None
        await trio.sleep(2)
        with pytest.raises(ActorCrashed) as queued:
            await ref.ask(CrashSlowly())
        assert queued.value.incarnation == 2


async def test_a_timeout_cancels_the_handler_and_the_actor_lives() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        with pytest.raises(DeadlineExceeded, match="it did not answer AddSlowly"):
            await ref.ask(AddSlowly(takes_s=9), timeout_s=1)
        assert trio.current_time() == pytest.approx(1)
        await settled()
        assert journal == ["slow add cancelled"]
        assert await ref.ask(Add(1)) == 1
        assert ref.cell.incarnation == 1


async def test_deadline_exceeded_is_a_too_slow_error() -> None:
    async with one(Counter) as ref:
        with pytest.raises(trio.TooSlowError):
            await ref.ask(AddSlowly(takes_s=9), timeout_s=1)


async def test_cancelling_the_asker_cancels_the_handler() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        with trio.move_on_after(1) as scope:
            await ref.ask(AddSlowly(takes_s=9))
        assert scope.cancelled_caught
        await settled()
        assert journal == ["slow add cancelled"]
        assert await ref.ask(Add(1)) == 1


async def test_an_ask_in_a_cancelled_scope_does_nothing() -> None:
    async with one(Counter) as ref:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.ask(Add(1))
        assert scope.cancelled_caught
        assert await ref.ask(Add(0)) == 0


async def test_an_asker_that_leaves_the_queue_gives_up_its_place() -> None:
    async with one(Counter) as ref:
        await ref.tell(Hold(5))
        await settled()
        with trio.move_on_after(1):
            await ref.ask(Add(1))
        assert len(ref.cell.queue) == 0
        assert await ref.ask(Add(0)) == 0


async def test_a_question_whose_deadline_passed_is_not_handled() -> None:
    """A CPU burst may keep the asker from leaving first; the handler must not run."""
    async with one(Counter) as ref:
        await ref.tell(Hold(5))
        await settled()
        with trio.CancelScope(deadline=trio.current_time() + 9) as scope:
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    with pytest.raises(DeadlineExceeded):
                        await ref.ask(Add(1))

                nursery.start_soon(ask)
                await settled()
                ref.cell.queue[0].deadline = trio.current_time()
                scope.deadline = trio.current_time() + 99  # it never expires
        assert await ref.ask(Add(0)) == 0


async def test_when_an_outer_scope_expires_the_caller_sees_cancelled_only() -> None:
    """`move_on_after` around an ask must swallow its own expiry, always."""
    async with one(Counter) as ref:
        for takes_s in (0.5, 1, 1.5, 2):
            with trio.move_on_after(1):
                await ref.ask(AddSlowly(takes_s=takes_s))


async def test_the_askers_deadline_reaches_the_handler() -> None:
    async with one(Watchful) as ref:
        with trio.fail_at(7):
            assert await ref.ask(Until()) == 7
            assert await ref.ask(Until(), timeout_s=3) == 3
            assert await ref.ask(Until()) == 7
            await ref.tell(Wake())
            assert await ref.ask(Until()) == 7  # queued
            await ref.tell(Wake())
            assert await ref.ask(Until(), timeout_s=3) == 3
            assert await ref.ask(UntilSlowly()) == 7


class Until(Request["Watchful", float], frozen=True):
    pass


class UntilSlowly(Request["Watchful", float], frozen=True):
    pass


class Wake(Tell["Watchful"], frozen=True):
    pass


class Watchful(Actor):
    """Says until when its asker waits."""

    @answers(Until)
    def until(self, msg: Until) -> float:
        return self.ctx.deadline

    @answers(UntilSlowly)
    async def until_slowly(self, msg: UntilSlowly) -> float:
        return trio.current_effective_deadline()

    @handles(Wake)
    def wake(self, msg: Wake) -> None:
        pass


async def test_a_message_nobody_handles_is_the_senders_error() -> None:
    async with one(Counter) as ref:
        with pytest.raises(NotAccepted, match="it does not accept Until; it accepts"):
            await ref.ask(Until())
        with pytest.raises(NotAccepted):
            await ref.tell(Wake())
        with pytest.raises(NotAccepted):
            ref.offer(Wake())
        assert ref.cell.incarnation == 1


async def test_asking_an_actor_that_ended_raises_actor_gone() -> None:
    async with one(Counter, restart="temporary") as ref:
        await ref.ask(Leave())
        with pytest.raises(ActorGone, match="it has ended and will not come back"):
            await ref.ask(Add())
        await settled()
        assert ref.gone
        with pytest.raises(ActorGone):
            await ref.ask(Add())


async def test_askers_in_the_queue_learn_that_the_actor_ends() -> None:
    async with one(Counter, restart="temporary") as ref:
        outcomes: list[str] = []

        async def ask() -> None:
            try:
                await ref.ask(Add())
            except ActorGone:
                outcomes.append("gone")

        async with trio.open_nursery() as nursery:
            await ref.tell(Hold(1))
            await settled()
            nursery.start_soon(_quietly, ref, Leave())
            await settled()
            for _ in range(3):
                nursery.start_soon(ask)
        assert outcomes == ["gone"] * 3


async def _quietly(ref: Ref[Counter], msg: Request[Counter, int]) -> None:
    await ref.ask(msg)


# -- deferred ----------------------------------------------------------------------


async def test_a_deferred_reply_comes_later_and_the_mailbox_moves_on() -> None:
    """Many wait side by side; each is answered once."""
    actor = Counter()
    async with one(lambda: actor) as ref:
        answers_: list[str] = []

        async def ask() -> None:
            answers_.append(await ref.ask(Later()))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await settled()
            assert await ref.ask(Add(1)) == 1
            assert [d.reply("yes") for d in actor.waiting] == [True] * 3
            assert [d.reply("again") for d in actor.waiting] == [False] * 3
        assert answers_ == ["yes"] * 3


async def test_a_deferred_may_fail() -> None:
    actor = Counter()
    async with one(lambda: actor) as ref, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Budget):
                await ref.ask(Later())

        nursery.start_soon(ask)
        await settled()
        actor.waiting[0].fail(Budget("no"))


class Now(Request["Eager", str], frozen=True):
    pass


class Eager(Actor):
    """Has the answer before it returns the Deferred."""

    @answers(Now)
    def now(self, msg: Now) -> Deferred[str]:
        deferred = Deferred[str]()
        deferred.reply("at once")
        return deferred


async def test_a_deferred_that_is_settled_before_it_is_returned_answers_at_once() -> (
    None
):
    async with one(Eager) as ref:
        assert await ref.ask(Now()) == "at once"
        ref.cell.idle = False  # force the mailbox
        ref.cell.launch()
        assert await ref.ask(Now()) == "at once"


async def test_a_deferred_knows_when_its_asker_has_left() -> None:
    journal: list[str] = []
    actor = Counter(journal)
    async with one(lambda: actor) as ref:
        with pytest.raises(DeadlineExceeded):
            await ref.ask(Later(), timeout_s=1)
        await settled()
        assert actor.waiting[0].abandoned
        assert journal == ["asker left"]
        assert actor.waiting[0].reply("too late") is False
        assert ref.cell.system.late_replies == 1  # counted, never raised


async def test_when_the_actor_crashes_it_still_owes_no_answers() -> None:
    async with one(Counter) as ref, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ActorCrashed):
                await ref.ask(Later())

        nursery.start_soon(ask)
        await settled()
        with pytest.raises(ActorCrashed):
            await ref.ask(Crash())


# -- cycles ------------------------------------------------------------------------


class Through(Request["Relay", str], frozen=True):
    path: tuple[str, ...]


class AskLater(Request["Relay", str], frozen=True):
    pass


class Relay(Actor):
    """Asks the next one on the path."""

    def __init__(self) -> None:
        self.got: list[str] = []

    @answers(Through)
    async def through(self, msg: Through) -> str:
        if not msg.path:
            return f"end trace={current_trace()}"
        ref = self.ctx.lookup(msg.path[0])
        assert ref is not None
        try:
            answer: str = await ref.ask(Through(msg.path[1:]))
        except CallCycle as cycle:
            return f"cycle {cycle.path}"
        return answer

    @answers(AskLater)
    async def ask_later(self, msg: AskLater) -> str:
        self.ctx.start_soon(self._ask_myself)
        return "started"

    async def _ask_myself(self) -> None:
        ref: Ref[Relay] = self.ctx.ref
        self.got.append(await ref.ask(Through(())))


async def test_asking_oneself_is_a_cycle() -> None:
    async with tree([spec("a", Relay)]) as system:
        assert await at(system, "a").ask(Through(("a",))) == "cycle a -> a"


async def test_a_longer_cycle_is_named_whole() -> None:
    async with tree([spec(name, Relay) for name in "abc"]) as system:
        answer = await at(system, "a").ask(Through(("b", "c", "a")))
        assert answer == "cycle a -> b -> c -> a"
        # The cycle does not begin with the first asker.
        answer = await at(system, "a").ask(Through(("b", "c", "b")))
        assert answer == "cycle b -> c -> b"


async def test_asking_the_same_actor_twice_in_a_row_is_no_cycle() -> None:
    async with tree([spec(name, Relay) for name in "ab"]) as system:
        for _ in range(2):
            assert await at(system, "a").ask(Through(("b",))) == "end trace=None"


async def test_a_task_of_the_actor_may_ask_it() -> None:
    """`start_soon` work is no part of the message in hand, so no ring waits."""
    relay = Relay()
    async with tree([spec("a", lambda: relay)]) as system:
        assert await at(system, "a").ask(AskLater()) == "started"
        await settled()
        assert relay.got == ["end trace=None"]


async def test_the_trace_id_travels_with_the_questions() -> None:
    async with tree([spec(name, Relay) for name in "ab"]) as system:
        set_trace("req-1")
        assert await at(system, "a").ask(Through(("b",))) == "end trace=req-1"
        set_trace(None)
        assert await at(system, "a").ask(Through(("b",))) == "end trace=None"


async def test_a_task_that_only_asks_inline_lets_others_run() -> None:
    """Inline asks switch no task, so the kernel yields after so many of them."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with one(Counter) as ref, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(640):
            await ref.ask(Add())
        nursery.cancel_scope.cancel()
    assert turns >= 10  # of 20 chances; the scheduler shuffles


async def test_a_full_mailbox_is_not_drained_in_one_go() -> None:
    """A `receive_nowait` drain gave others no turn in a thousand messages."""
    turns = 0

    class Roomy(Counter):
        mailbox = MailboxSpec(2000)

    async with one(Roomy) as ref, trio.open_nursery() as nursery:

        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        await ref.tell(Note())  # queued: from here on the actor is not idle
        for _ in range(1000):
            ref.offer(Note())
        nursery.start_soon(other)
        assert await ref.ask(Add()) == 1
        nursery.cancel_scope.cancel()
    assert turns >= 25


class Farewell(Request["Leaver", int], frozen=True):
    pass


class Leaver(Actor):
    """Leaves and declares an error in one breath."""

    @answers(Farewell)
    def farewell(self, msg: Farewell) -> int:
        self.ctx.stop_self()
        raise Budget("and gone")


async def test_an_actor_may_leave_with_a_declared_error() -> None:
    async with tree([spec("it", Leaver, restart="temporary")]) as system:
        ref = at(system, "it")
        with pytest.raises(Budget):
            await ref.ask(Farewell())
        assert ref.gone
        with pytest.raises(ActorGone):
            await ref.ask(Farewell())


class Interrupt(Request["Interruptible", int], frozen=True):
    pass


class Interruptible(Actor):
    @answers(Interrupt)
    def interrupt(self, msg: Interrupt) -> int:
        raise KeyboardInterrupt


async def test_ctrl_c_in_an_inline_handler_is_raised_and_ends_that_life() -> None:
    """The actor may be in the middle of a change, so it starts afresh."""
    async with one(Interruptible) as ref:
        with pytest.raises(KeyboardInterrupt):
            await ref.ask(Interrupt())
        assert ref.cell.exit is not None
        await trio.sleep(2)
        assert ref.cell.incarnation == 2


class Finish(Request["Shielded", str], frozen=True):
    takes_s: float


class Shielded(Actor):
    """Finishes what it began, whoever has left."""

    def __init__(self) -> None:
        self.finished = 0

    @answers(Finish)
    async def finish(self, msg: Finish) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(msg.takes_s)
        self.finished += 1
        return f"finished {self.finished}"


async def test_a_handler_that_outlasts_its_asker_does_not_harm_the_next() -> None:
    """The scope that was cancelled for one asker must not cancel another's handler."""
    async with one(Shielded) as ref:
        with trio.move_on_after(1):
            await ref.ask(Finish(2))
        assert await ref.ask(Finish(1)) == "finished 2"
        with pytest.raises(DeadlineExceeded):
            await ref.ask(Finish(2), timeout_s=1)
        assert await ref.ask(Finish(1), timeout_s=9) == "finished 4"
        assert ref.cell.incarnation == 1
        assert ref.cell.system.late_replies == 2


async def test_the_deadline_of_one_ask_does_not_reach_the_next_message() -> None:
    async with one(Counter) as ref:
        assert await ref.ask(AddSlowly(takes_s=1), timeout_s=2) == 1
        assert await ref.ask(AddSlowly(takes_s=5)) == 2
        await ref.tell(Hold(5))
        assert await ref.ask(Add(0)) == 2
        assert ref.cell.incarnation == 1


async def test_an_idle_actor_answers_an_ask_now_at_once() -> None:
    async with one(Counter) as ref:
        assert ref.ask_now(Add(2)) == 2
        with pytest.raises(Budget):
            ref.ask_now(Refuse())
        assert ref.ask_now(Add(1)) == 3


async def test_an_ask_now_of_a_busy_actor_is_awaited_like_any_other() -> None:
    async with one(Counter) as ref:
        ref.offer(Hold(5))
        await settled()
        began = trio.current_time()
        answer = ref.ask_now(Add(2))
        assert isinstance(answer, runtime.Later)
        assert await answer == 2
        assert trio.current_time() == began + 5


async def test_an_ask_now_that_is_answered_later_waits_and_may_be_left() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        with trio.move_on_after(1) as scope:
            answer = ref.ask_now(Later())
            assert isinstance(answer, runtime.Later)
            await answer
        assert scope.cancelled_caught
        await settled()
        assert journal == ["asker left"]


async def test_a_crash_in_an_ask_now_is_the_actors() -> None:
    async with one(Counter) as ref:
        with pytest.raises(ActorCrashed):
            ref.ask_now(Crash())
        answer = ref.ask_now(Add(1))
        assert isinstance(answer, runtime.Later)
        assert await answer == 1
