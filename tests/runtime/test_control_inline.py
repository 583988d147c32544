"""Control messages to an idle actor: handled at once, under the same rules."""

from __future__ import annotations

import trio

from runtime import Actor, ControlTell, Ref, Tell, handles
from tests.runtime.support_actors import one, settled


class Put(ControlTell["Book"], frozen=True):
    n: int


class Wait(Tell["Book"], frozen=True):
    seconds: float


class Break(ControlTell["Book"], frozen=True):
    pass


class Book(Actor):
    accepts = (Put, Wait, Break)
    seen: list[int]

    def on_start(self) -> None:
        self.seen = []
        BOOKS.append(self)

    @handles(Put)
    def put(self, msg: Put) -> None:
        self.seen.append(msg.n)

    @handles(Wait)
    async def wait(self, msg: Wait) -> None:
        await trio.sleep(msg.seconds)
        self.seen.append(0)

    @handles(Break)
    def broken(self, msg: Break) -> None:
        raise ValueError


BOOKS: list[Book] = []


async def test_an_idle_actor_hears_control_in_the_tellers_step() -> None:
    """No task switch, no task: what a request gives back at its end is free."""
    async with one(Book) as ref:
        assert ref.offer(Put(1))
        assert ref.offer(Put(2))
        assert BOOKS[-1].seen == [1, 2]


async def test_a_busy_actor_hears_control_after_what_it_has_in_hand() -> None:
    async with one(Book) as ref:
        await ref.tell(Wait(3))
        await settled()
        assert ref.offer(Put(1))
        assert BOOKS[-1].seen == []
        await trio.sleep(4)
        assert BOOKS[-1].seen == [0, 1]


async def test_a_crash_in_the_tellers_step_is_the_actors() -> None:
    async with one(Book) as ref:
        first = BOOKS[-1]
        assert ref.offer(Break())
        assert ref.offer(Put(1))  # Waits for the next life.
        assert first.seen == []
        await trio.sleep(60)
        assert BOOKS[-1] is not first
        assert BOOKS[-1].seen == [1]


async def test_control_to_oneself_waits_for_the_end_of_the_step() -> None:
    class Again(Actor):
        def on_start(self) -> None:
            self.steps: list[str] = []
            self.me: Ref[Again] = self.ctx.ref
            made.append(self)

        @handles(Echo)
        def echo(self, msg: Echo) -> None:
            self.steps.append(f"begin {msg.n}")
            if msg.n:
                self.me.offer(Echo(msg.n - 1))
            self.steps.append(f"end {msg.n}")

    made: list[Again] = []
    async with one(Again) as ref:
        ref.offer(Echo(1))
        await settled()
        assert made[-1].steps == ["begin 1", "end 1", "begin 0", "end 0"]


class Echo(ControlTell["Again"], frozen=True):  # type: ignore[name-defined]
    n: int
