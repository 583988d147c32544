"""A stop between two lives: what control messages say is still heard."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from runtime import (
    Actor,
    Backoff,
    ChildSpec,
    ControlTell,
    Exit,
    MailboxSpec,
    Supervisor,
    Tripped,
    handles,
    open_system,
)


class Fact(ControlTell["Clerk"], frozen=True):
    """Something that must be written down."""

    number: int


class Burn(ControlTell["Clerk"], frozen=True):
    """End this life."""


class Clerk(Actor):
    """Writes facts down."""

    mailbox = MailboxSpec(1, down="reject")
    accepts = (Fact, Burn)

    def __init__(self, book: list[int], ends: list[str]) -> None:
        self.book = book
        self.ends = ends

    def on_stop(self, why: Exit) -> None:
        self.ends.append(type(why).__name__)

    @handles(Fact)
    def fact(self, msg: Fact) -> None:
        self.book.append(msg.number)
        if msg.number < 0:
            raise Tripped("a fact that cannot be written")

    @handles(Burn)
    def burn(self, _msg: Burn) -> None:
        raise Tripped("burnt")


async def run(facts: list[int]) -> tuple[list[int], list[str]]:
    """Stop while it is down, with those facts waiting."""
    book: list[int] = []
    ends: list[str] = []
    clerk = ChildSpec(
        "clerk", lambda: Clerk(book, ends), backoff=Backoff(first_s=60, jitter=0)
    )
    async with open_system(ChildSpec("top", lambda: Supervisor([clerk]))) as system:
        ref = system.lookup("clerk", Clerk)
        assert ref is not None
        ref.offer(Burn())
        await trio.sleep(1)
        for number in facts:
            ref.offer(Fact(number))
        await system.drain(trio.current_time() + 5)
    assert trio.current_time() < 10
    return book, ends


async def test_control_messages_get_one_more_life(autojump_clock: MockClock) -> None:
    """They are never dropped, and the pause is not waited for."""
    assert await run([1, 2]) == ([1, 2], ["Tripped", "Stopped"])


async def test_without_any_there_is_no_other_life(autojump_clock: MockClock) -> None:
    assert await run([]) == ([], ["Tripped"])


async def test_it_is_the_last_life_however_it_ends(autojump_clock: MockClock) -> None:
    """An actor that trips on each message must not keep its system from stopping."""
    assert await run([-1, -2, -3]) == ([-1], ["Tripped", "Tripped"])
