"""Two lanes with bounds: what waits, what is refused, what is never lost."""

from __future__ import annotations

import pytest
import trio

from runtime import (
    Actor,
    ActorDown,
    ActorGone,
    ControlTell,
    MailboxFull,
    MailboxSpec,
    handles,
)
from tests.runtime.support_actors import (
    Add,
    Blocking,
    Counter,
    Crash,
    CrashQuietly,
    Forgetful,
    Hold,
    Leave,
    Note,
    Rejecting,
    Shedding,
    Trip,
    Urgent,
    at,
    one,
    settled,
    spec,
    tree,
)


def test_a_mailbox_needs_room_for_one() -> None:
    with pytest.raises(ValueError, match="can never receive"):
        MailboxSpec(0)


# -- full --------------------------------------------------------------------------


async def test_a_shedding_mailbox_refuses_what_does_not_fit() -> None:
    async with one(Shedding) as ref:
        await ref.tell(Hold())
        await settled()
        assert ref.offer(Note("a"))
        await ref.tell(Note("b"))
        assert ref.offer(Note("c")) is False
        with pytest.raises(MailboxFull, match="it has 2 messages waiting"):
            await ref.tell(Note("d"))
        with pytest.raises(MailboxFull):
            await ref.ask(Add())
        assert (ref.cell.shed, ref.cell.peak, len(ref.cell.queue)) == (3, 2, 2)


async def test_a_blocking_mailbox_makes_senders_wait_in_their_order() -> None:
    journal: list[str] = []
    async with one(lambda: Blocking(journal)) as ref:
        await ref.tell(Hold())
        await settled()
        async with trio.open_nursery() as nursery:
            for word in "abcdef":
                nursery.start_soon(ref.tell, Note(word))
                await settled()
            assert len(ref.cell.queue) == 2
            assert len(ref.cell.waiters) == 4
            assert ref.offer(Note("no")) is False  # never blocks
    assert "".join(journal[:6]) == "abcdef"
    assert ref.cell.peak == 2


async def test_an_ask_may_wait_for_room_within_its_deadline() -> None:
    async with one(Blocking) as ref:
        await ref.tell(Hold(5))
        await settled()
        for word in "ab":
            ref.offer(Note(word))
        with trio.move_on_after(1) as scope:
            await ref.ask(Add())
        assert scope.cancelled_caught
        assert not ref.cell.waiters
        assert await ref.ask(Add(7)) == 7  # waits for room and is answered


async def test_a_sender_that_leaves_while_blocked_delivers_nothing() -> None:
    journal: list[str] = []
    async with one(lambda: Blocking(journal)) as ref:
        await ref.tell(Hold())
        await settled()
        for word in "ab":
            ref.offer(Note(word))
        with trio.move_on_after(0.5):
            await ref.tell(Note("never"))
    assert "never" not in journal


async def test_tell_in_a_cancelled_scope_delivers_nothing_but_offer_does() -> None:
    """Records must be written from cancelled scopes: that is what `offer` is for."""
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        with trio.CancelScope() as scope:
            scope.cancel()
            assert ref.offer(Note("offered"))
            await ref.tell(Note("told"))
        await settled()
        assert journal == ["offered"]


async def test_a_tell_with_room_does_not_need_time() -> None:
    """Trio's own channel times out under `fail_after(0)` even with room (trio#1626)."""
    async with one(Counter) as ref:
        with trio.CancelScope(deadline=trio.current_time()):
            await ref.tell(Note("just in time"))
            assert len(ref.cell.queue) == 1


async def test_drop_oldest_keeps_the_newest_and_answers_a_dropped_ask() -> None:
    journal: list[str] = []
    async with one(lambda: Forgetful(journal)) as ref:
        await ref.tell(Hold())
        await settled()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(MailboxFull):
                    await ref.ask(Add())

            nursery.start_soon(ask)
            await settled()
            for word in "abc":
                assert ref.offer(Note(word))
    assert journal[:2] == ["b", "c"]
    assert ref.cell.shed == 2


async def test_an_asker_that_leaves_lets_a_blocked_sender_in() -> None:
    journal: list[str] = []
    async with one(lambda: Blocking(journal)) as ref:
        await ref.tell(Hold(5))
        await settled()
        ref.offer(Note("a"))
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(_after, 0.5, ref.tell, Note("b"))
                await ref.ask(Add())
            await settled()
            assert len(ref.cell.queue) == 2
            assert not ref.cell.waiters


async def _after(s: float, fn: object, *args: object) -> None:
    await trio.sleep(s)
    await fn(*args)  # type: ignore[operator]


# -- the control lane --------------------------------------------------------------


async def test_control_overtakes_and_is_never_shed() -> None:
    journal: list[str] = []
    async with one(lambda: Shedding(journal)) as ref:
        await ref.tell(Hold())
        await settled()
        for word in "ab":
            ref.offer(Note(word))
        for at_ in range(100):
            assert ref.offer(Urgent(str(at_)))
        await ref.tell(Urgent("last"))
    assert journal[:100] == [f"urgent {n}" for n in range(100)]
    assert journal[100:103] == ["urgent last", "a", "b"]


async def test_control_is_taken_while_the_actor_is_down_and_handled_after() -> None:
    """Drop-oldest and reject mailboxes must not eat what releases permits."""
    journal: list[str] = []
    async with one(lambda: Forgetful(journal)) as ref:
        with pytest.raises(ActorDown):
            await ref.ask(Trip())
        assert ref.offer(Urgent("while down"))
        await settled()
        assert ref.offer(Urgent("still down"))
        assert "urgent while down" not in journal
        await trio.sleep(2)
        assert journal[-2:] == ["urgent while down", "urgent still down"]


async def test_control_to_an_actor_that_ended_is_a_dead_letter() -> None:
    async with tree([spec("it", Counter, restart="temporary")]) as system:
        ref = at(system, "it")
        await ref.ask(Leave())
        await settled()
        assert ref.offer(Urgent()) is False
        with pytest.raises(ActorGone):
            await ref.tell(Urgent())
        assert system.dead_letters == (("it", "Urgent"), ("it", "Urgent"))


# -- inline offers -----------------------------------------------------------------


async def test_control_offered_to_an_idle_actor_is_handled_before_it_returns() -> None:
    """An outcome told at the end of a request costs no task switch."""
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        assert ref.offer(Urgent("at once"))
        assert journal == ["urgent at once"]
        assert ref.cell.task is None


async def test_an_offer_does_not_overtake_what_is_queued() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        await ref.tell(Urgent("first"))
        assert ref.offer(Urgent("second"))
        assert journal == []
        await settled()
        assert journal == ["urgent first", "urgent second"]


async def test_a_crash_in_an_inline_offer_is_the_actors_not_the_senders() -> None:
    async with one(Fragile) as ref:
        assert ref.offer(CrashAtOnce())
        assert ref.cell.exit is not None
        await trio.sleep(2)
        assert ref.cell.incarnation == 2
        assert ref.cell.last_crash.message == "CrashAtOnce"


class CrashAtOnce(ControlTell["Fragile"], frozen=True):
    pass


class Fragile(Actor):
    @handles(CrashAtOnce)
    def crash(self, msg: CrashAtOnce) -> None:
        raise KeyError("at once")


class Echo(ControlTell["Echoer"], frozen=True):
    left: int


class Echoer(Actor):
    """Offers to the other one from within its handler."""

    def __init__(self, other: str, heard: list[str]) -> None:
        self.other = other
        self.heard = heard

    @handles(Echo)
    def echo(self, msg: Echo) -> None:
        self.heard.append(f"{self.ctx.id} begins {msg.left}")
        other = self.ctx.lookup(self.other)
        if msg.left:
            assert other is not None
            assert other.offer(Echo(msg.left - 1))
        self.heard.append(f"{self.ctx.id} ends {msg.left}")


async def test_actors_that_offer_to_each_other_never_re_enter() -> None:
    """A handler that is on the stack is not idle, so what comes back is queued."""
    heard: list[str] = []
    children = [
        spec("a", lambda: Echoer("b", heard)),
        spec("b", lambda: Echoer("a", heard)),
    ]
    async with tree(children) as system:
        at(system, "a").offer(Echo(3))
        await settled()
    assert heard[:4] == ["a begins 3", "b begins 2", "b ends 2", "a ends 3"]
    assert [line for line in heard if "begins" in line] == [
        "a begins 3",
        "b begins 2",
        "a begins 1",
        "b begins 0",
    ]


# -- down --------------------------------------------------------------------------


async def test_a_holding_mailbox_keeps_messages_across_a_restart() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        await ref.tell(CrashQuietly())
        await ref.tell(Note("behind the crash"))
        await settled()
        assert ref.cell.state == "down"
        await ref.tell(Note("while down"))
        assert await ref.ask(Add(1)) == 1  # waits for the next life
        assert trio.current_time() == 1
    assert journal[1:4] == ["behind the crash", "while down", "add 1"]


async def test_the_message_in_hand_of_a_crash_is_not_replayed() -> None:
    async with one(Counter) as ref:
        await ref.tell(CrashQuietly())
        await trio.sleep(60)
        assert ref.cell.incarnation == 2


async def test_a_rejecting_mailbox_says_at_once_when_the_actor_returns() -> None:
    async with one(Rejecting) as ref:
        with pytest.raises(ActorDown):
            await ref.ask(Trip())
        began = trio.current_time()
        with pytest.raises(ActorDown, match=r"returns at t=1\.000") as down:
            await ref.ask(Add())
        assert down.value.retry_at == began + 1
        with pytest.raises(ActorDown):
            await ref.tell(Note())
        assert ref.offer(Note()) is False
        assert trio.current_time() == began  # zero time
        await trio.sleep(1)
        await settled()
        assert await ref.ask(Add(1)) == 1


async def test_going_down_answers_queued_asks_but_keeps_queued_tells() -> None:
    journal: list[str] = []
    async with one(lambda: Rejecting(journal)) as ref, trio.open_nursery() as nursery:
        await ref.tell(Hold())
        await settled()

        async def ask() -> None:
            with pytest.raises(ActorDown):
                await ref.ask(Add())

        await ref.tell(CrashQuietly())
        nursery.start_soon(ask)
        await settled()
        await ref.tell(Note("kept"))
        await trio.sleep(1.5)
        assert "kept" not in journal
        await trio.sleep(1)
        assert journal[-1] == "kept"


async def test_blocked_senders_learn_that_a_rejecting_actor_went_down() -> None:
    class Both(Counter):
        mailbox = MailboxSpec(1, full="block", down="reject")

    async with one(Both) as ref, trio.open_nursery() as nursery:
        await ref.tell(Hold())
        await settled()
        await ref.tell(CrashQuietly())

        async def tell() -> None:
            with pytest.raises(ActorDown):
                await ref.tell(Note())

        nursery.start_soon(_asks_down, ref)
        await settled()
        nursery.start_soon(tell)
        await settled()
        # The ask gets in when the crash is taken; the tell is still blocked then.
        assert len(ref.cell.waiters) == 2


async def _asks_down(ref: object) -> None:
    with pytest.raises(ActorDown):
        await ref.ask(Add())  # type: ignore[attr-defined]


async def test_an_actor_that_ends_leaves_dead_letters_not_silence() -> None:
    async with tree([spec("it", Counter, restart="temporary")]) as system:
        ref = at(system, "it")
        await ref.tell(Hold())
        await settled()
        await ref.tell(CrashQuietly())
        await ref.tell(Note("lost"))
        await trio.sleep(2)
        assert ref.gone
        assert system.dead_letters == (("it", "Note"),)
        assert system.snapshot().children == ()


async def test_an_orderly_stop_handles_all_that_was_accepted() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        await ref.tell(Hold(1))
        for word in "abc":
            await ref.tell(Note(word))
        ref.cell.request_stop("test")
        with pytest.raises(ActorGone):
            await ref.tell(Note("too late"))
    assert journal == ["a", "b", "c", "stopped: test"]


async def test_a_crash_with_messages_waiting_loses_none_of_them() -> None:
    """Each life handles one bad message; the good ones all arrive, in order."""
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref:
        for number in range(9):
            await ref.tell(CrashQuietly() if number % 3 == 0 else Note(str(number)))
        await trio.sleep(60)
    assert [word for word in journal if word.isdigit()] == list("124578")


async def test_the_crash_of_one_does_not_touch_the_others() -> None:
    async with tree([spec("a", Counter), spec("b", Counter)]) as system:
        await at(system, "b").ask(Add(5))
        with pytest.raises(Exception, match="crashed"):
            await at(system, "a").ask(Crash())
        assert await at(system, "b").ask(Add(1)) == 6
