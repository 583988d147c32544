# ruff: noqa: PT012, TRY301 - bodies of systems; errors that are raised to be reported
"""The rare paths, each a rule of its own."""

from __future__ import annotations

import pytest
import trio

from runtime import (
    Actor,
    ActorCrashed,
    ActorGone,
    ControlTell,
    CrashReport,
    Deferred,
    NotAccepted,
    Request,
    Tell,
    answers,
    handles,
)
from tests.runtime.support_actors import (
    Add,
    Budget,
    Counter,
    CrashQuietly,
    Hold,
    Note,
    at,
    one,
    settled,
    spec,
    tree,
)
from tests.runtime.test_actor_table import Ping, Poke


class Blame(Request["Blamer", None], frozen=True):
    how: str


class Blamer(Actor):
    """Crashes with a history."""

    @answers(Blame)
    async def blame(self, msg: Blame) -> None:
        if msg.how == "cause":
            try:
                raise KeyError("secret cause")
            except KeyError as cause:
                raise ValueError("secret effect") from cause
        if msg.how == "fault":
            raise NotAccepted("x", "Y", "Z")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._raise, TypeError)
            nursery.start_soon(self._raise, OSError)

    async def _raise(self, kind: type[Exception]) -> None:
        raise kind("secret part")


async def _report(how: str) -> CrashReport:
    async with tree([spec("it", Blamer)]) as system:
        with pytest.raises(ActorCrashed):
            await at(system, "it").ask(Blame(how))
        return system.crashes[0]


async def test_a_report_shows_causes_by_type_and_place() -> None:
    report = await _report("cause")
    assert report.error == "ValueError"
    then = report.trace.index("-- then ValueError")
    assert "Blamer.blame:" in report.trace[then - 1]
    assert "Blamer.blame:" in report.trace[-1]
    assert "secret" not in repr(report)


async def test_a_report_shows_the_parts_of_a_group() -> None:
    report = await _report("group")
    assert report.error == "ExceptionGroup"
    parts = [line for line in report.trace if line.startswith("-- part")]
    assert sorted(part.split(": ")[1] for part in parts) == ["OSError", "TypeError"]
    assert "secret" not in repr(report)


async def test_a_report_keeps_the_text_of_our_own_errors() -> None:
    """Their texts are made of ids and types, and say what to do next."""
    report = await _report("fault")
    assert report.note == "x does not accept Y; it accepts Z"
    assert str(report).startswith("it #1 crashed while handling Blame: NotAccepted (x")


async def test_a_wrong_message_that_came_before_the_actor_is_refused_by_it() -> None:
    """While `make` fails nobody knows what will be accepted."""
    tries = 0

    def make() -> Counter:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("not yet")
        return Counter()

    async with tree([spec("it", make)]) as system:
        ref = at(system, "it")
        await ref.tell(Poke())
        with pytest.raises(NotAccepted):
            await ref.ask(Ping())
        assert system.dead_letters == (("it", "Poke"),)
        assert ref.cell.incarnation == 2


class Quit(Request["Quitter", None], frozen=True):
    pass


class Quitter(Actor):
    @answers(Quit)
    async def quit(self, msg: Quit) -> None:
        raise SystemExit(3)


async def test_sys_exit_in_a_handler_ends_all_in_order_and_is_raised() -> None:
    journal: list[str] = []
    with pytest.raises(SystemExit):
        async with tree(
            [spec("a", lambda: Counter(journal)), spec("it", Quitter)]
        ) as system:
            with pytest.raises(ActorGone):
                await at(system, "it").ask(Quit())
            await trio.sleep_forever()
    assert journal == ["stopped: the body of open_system has ended"]


async def test_a_temporary_member_does_not_come_back_with_its_group() -> None:
    children = [
        spec("a", Counter),
        spec("guest", Counter, restart="temporary"),
        spec("b", Counter),
    ]
    async with tree(children, strategy="one_for_all") as system:
        guest = at(system, "guest")
        await at(system, "a").tell(CrashQuietly())
        await trio.sleep(3)
        assert guest.gone
        assert [at(system, name).cell.incarnation for name in "ab"] == [2, 2]


class CrashNow(ControlTell["Doomed"], frozen=True):
    pass


class Settle(ControlTell["Doomed"], frozen=True):
    pass


class Doomed(Actor):
    """Will not live to hear what is behind the crash."""

    @handles(CrashNow)
    def crash_now(self, msg: CrashNow) -> None:
        raise KeyError("now")

    @handles(Settle)
    def settle(self, msg: Settle) -> None: ...


async def test_control_left_behind_by_a_crash_is_a_dead_letter() -> None:
    async with tree([spec("it", Doomed, restart="temporary")]) as system:
        ref = at(system, "it")
        await ref.tell(CrashNow())
        assert ref.offer(Settle())
        await settled()
        assert ref.gone
        assert system.dead_letters == (("it", "Settle"),)


class Early(Request["Hasty", str], frozen=True):
    how: str


class Wait(Tell["Hasty"], frozen=True):
    pass


class Hasty(Actor):
    """Settles its Deferred before it returns it, or far too late."""

    @handles(Wait)
    async def wait(self, msg: Wait) -> None:
        await trio.sleep(1)

    @answers(Early)
    def early(self, msg: Early) -> Deferred[str]:
        deferred = Deferred[str]()
        if msg.how == "reply":
            assert deferred.reply("yes")
        else:
            assert deferred.fail(Budget("no"))
        assert deferred.settled
        assert deferred.reply("twice") is False
        return deferred


@pytest.mark.parametrize("queued", [False, True], ids=["inline", "queued"])
async def test_a_deferred_may_be_settled_either_way_before_it_is_returned(
    queued: bool,
) -> None:
    async with one(Hasty) as ref:
        for how in ("reply", "fail"):
            if queued:
                await ref.tell(Wait())
            if how == "reply":
                assert await ref.ask(Early(how)) == "yes"
            else:
                with pytest.raises(Budget):
                    await ref.ask(Early(how))


async def test_a_deferred_answers_one_question_only() -> None:
    shared = Deferred[str]()

    class Same(Request["Sharer", str], frozen=True):
        pass

    class Sharer(Actor):
        @answers(Same)
        def same(self, msg: Same) -> Deferred[str]:
            return shared

    async with one(Sharer) as ref, trio.open_nursery() as nursery:

        async def ask() -> None:
            assert await ref.ask(Same()) == "for the first"

        nursery.start_soon(ask)
        await settled()
        with pytest.raises(AssertionError, match="one ask"):
            await ref.ask(Same())
        shared.reply("for the first")


async def test_a_system_that_was_never_busy_ends_at_once() -> None:
    async with tree([]) as system:
        assert len(system) == 1
    assert trio.current_time() == 0


async def test_many_senders_and_a_restart_lose_and_double_nothing() -> None:
    journal: list[str] = []
    async with one(lambda: Counter(journal)) as ref, trio.open_nursery() as nursery:

        async def send(me: int) -> None:
            for number in range(20):
                await ref.tell(Note(f"{me}:{number}"))
                if number % 7 == me:
                    await ref.tell(Hold(0.1))
                if number == 10 and me == 2:
                    await ref.tell(CrashQuietly())

        for me in range(5):
            nursery.start_soon(send, me)
        await trio.sleep(30)
        assert await ref.ask(Add(0)) == 0
    words = [word for word in journal if ":" in word and word[0].isdigit()]
    assert len(words) == len(set(words)) == 100
    for me in range(5):
        mine = [word for word in words if word.startswith(f"{me}:")]
        assert mine == [f"{me}:{number}" for number in range(20)]
