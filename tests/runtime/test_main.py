"""Actors that are a piece of work: `main` is their life, control is heard beside it."""

from __future__ import annotations

import pytest
import trio

from runtime import (
    Actor,
    ActorGone,
    ControlTell,
    Down,
    Exit,
    NotAccepted,
    Ref,
    Request,
    Tell,
    answers,
    handles,
)
from tests.runtime.support_actors import at, one, settled, spec, tree


class Say(ControlTell["Work"], frozen=True):
    word: str


class Fail(ControlTell["Work"], frozen=True):
    pass


class Question(Request["Work", int], frozen=True):
    pass


class Work(Actor):
    accepts = (Say, Fail)

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ended = ""
        WORKS.append(self)

    async def main(self) -> None:
        self.heard.append("began")
        await trio.sleep(10)
        self.heard.append("done")

    def on_stop(self, why: Exit) -> None:
        self.ended = str(why)

    def on_down(self, down: Down) -> None:
        self.heard.append(f"{down.id} is down")

    def on_drain(self, deadline: float) -> None:
        del deadline
        self.heard.append("drain")

    @handles(Say)
    def say(self, msg: Say) -> None:
        self.heard.append(msg.word)

    @handles(Fail)
    def failed(self, msg: Fail) -> None:
        del msg
        raise ValueError


WORKS: list[Work] = []


async def test_the_return_of_main_is_the_end() -> None:
    async with one(Work, restart="temporary") as ref:
        work = WORKS[-1]
        await trio.sleep(11)
        assert work.heard == ["began", "done"]
        assert work.ended == "done"
        assert ref.gone


async def test_control_is_heard_in_the_tellers_step_while_main_waits() -> None:
    async with one(Work, restart="temporary") as ref:
        work = WORKS[-1]
        await settled()
        ref.offer(Say("now"))
        ref.offer(Say("and now"))
        assert work.heard == ["began", "now", "and now"]


async def test_a_stop_cancels_main_and_runs_on_stop() -> None:
    async with tree([spec("it", Work)]) as system:
        await settled()
        work = WORKS[-1]
    assert work.heard == ["began"]
    assert work.ended.startswith("stopped")
    assert system.crashes == ()


async def test_a_crash_in_a_handler_ends_main_and_a_permanent_one_begins_anew() -> None:
    async with one(Work) as ref:
        first = WORKS[-1]
        await settled()
        assert ref.offer(Fail())
        assert ref.offer(Say("waits for the next life"))
        await trio.sleep(9)
        assert WORKS[-1] is not first
        assert first.heard == ["began"]
        assert first.ended.startswith("crashed")
        assert WORKS[-1].heard == ["waits for the next life", "began"]


async def test_a_crash_of_main_is_a_crash() -> None:
    class Broken(Actor):
        async def main(self) -> None:
            await trio.sleep(1)
            raise KeyError

    async with tree([spec("it", Broken, restart="temporary")]) as system:
        await trio.sleep(2)
        assert system.lookup("it") is None
        assert [report.error for report in system.crashes] == ["KeyError"]


async def test_deaths_alarms_and_drains_are_heard_beside_main() -> None:
    class Short(Actor):
        async def main(self) -> None:
            await trio.sleep(1)

    short = spec("short", Short, restart="temporary")
    async with tree([short, spec("it", Work)]) as system:
        work = WORKS[-1]
        work.ctx.monitor(at(system, "short"))
        work.ctx.tell_at(trio.current_time() + 2, Say("alarm"))
        await trio.sleep(3)
        await system.drain(trio.current_time() + 1)
    assert work.heard == ["began", "short is down", "alarm", "drain"]


async def test_only_control_may_be_told() -> None:
    class Other(Tell["Work"], frozen=True):
        pass

    async with one(Work) as ref:
        with pytest.raises(NotAccepted):
            ref.offer(Other())
        with pytest.raises((NotAccepted, ActorGone)):
            await ref.ask(Question())


def test_what_could_wait_is_refused_at_import() -> None:
    class Errand(Request["Asked", int], frozen=True):
        pass

    with pytest.raises(TypeError, match="ControlTell"):

        class Asked(Actor):
            async def main(self) -> None: ...

            @answers(Errand)
            def errand(self, msg: Errand) -> int:
                del msg
                return 1

    with pytest.raises(TypeError, match="plain def"):

        class Slow(Actor):
            async def main(self) -> None: ...

            async def on_start(self) -> None: ...


async def test_handlers_of_main_do_not_nest() -> None:
    class Echo(ControlTell["Loud"], frozen=True):
        n: int

    class Loud(Actor):
        async def main(self) -> None:
            self.me: Ref[Loud] = self.ctx.ref
            self.steps: list[str] = []
            LOUDS.append(self)
            await trio.sleep_forever()

        @handles(Echo)
        def echo(self, msg: Echo) -> None:
            self.steps.append(f"begin {msg.n}")
            if msg.n:
                self.me.offer(Echo(msg.n - 1))
            self.steps.append(f"end {msg.n}")

    LOUDS: list[Loud] = []  # noqa: N806 - as a module would have it
    async with one(Loud) as ref:
        await settled()
        ref.offer(Echo(1))
        assert LOUDS[-1].steps == ["begin 1", "end 1", "begin 0", "end 0"]
