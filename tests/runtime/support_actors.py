"""Actors that the tests of the kernel share, each named by what it does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio
import trio.testing

from runtime import (
    Actor,
    Backoff,
    ChildSpec,
    ControlTell,
    Deferred,
    DomainError,
    Down,
    Exit,
    MailboxSpec,
    Ref,
    Request,
    Supervisor,
    System,
    Tell,
    Tripped,
    answers,
    handles,
    open_system,
)

# No chance in the tests that count seconds.
STEADY = Backoff(first_s=1.0, factor=2.0, cap_s=8.0, jitter=0.0)


class Add(Request["Counter", int], frozen=True):
    n: int = 1


class AddSlowly(Request["Counter", int], frozen=True):
    n: int = 1
    takes_s: float = 1.0


class Note(Tell["Counter"], frozen=True):
    word: str = ""


class Urgent(ControlTell["Counter"], frozen=True):
    word: str = ""


class Hold(Tell["Counter"], frozen=True):
    """Keep the actor busy."""

    takes_s: float = 1.0


class Crash(Request["Counter", int], frozen=True):
    secret: str = "hunter2"


class CrashSlowly(Request["Counter", int], frozen=True):
    pass


class CrashQuietly(Tell["Counter"], frozen=True):
    pass


class Refuse(Request["Counter", int], frozen=True):
    pass


class Trip(Request["Counter", int], frozen=True):
    retry_after_s: float | None = None


class Leave(Request["Counter", int], frozen=True):
    pass


class Later(Request["Counter", str], frozen=True):
    """Answered when somebody says so."""


class Budget(DomainError):
    """A declared error."""


class Counter(Actor):
    """Counts, keeps a journal outside of its incarnations, and can go wrong."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.total = 0
        self.journal = journal if journal is not None else []
        self.waiting: list[Deferred[str]] = []

    @answers(Add)
    def add(self, msg: Add) -> int:
        self.total += msg.n
        self.journal.append(f"add {msg.n}")
        return self.total

    @answers(AddSlowly)
    async def add_slowly(self, msg: AddSlowly) -> int:
        try:
            await trio.sleep(msg.takes_s)
        except trio.Cancelled:
            self.journal.append("slow add cancelled")
            raise
        self.total += msg.n
        return self.total

    @handles(Note)
    def note(self, msg: Note) -> None:
        self.journal.append(msg.word)

    @handles(Urgent)
    def urgent(self, msg: Urgent) -> None:
        self.journal.append(f"urgent {msg.word}")

    @handles(Hold)
    async def hold(self, msg: Hold) -> None:
        await trio.sleep(msg.takes_s)

    @answers(Crash)
    def crash(self, msg: Crash) -> int:
        raise ValueError(f"cannot use {msg.secret}")

    @answers(CrashSlowly)
    async def crash_slowly(self, msg: CrashSlowly) -> int:
        await trio.sleep(1)
        raise ValueError("late")

    @handles(CrashQuietly)
    def crash_quietly(self, msg: CrashQuietly) -> None:
        raise KeyError("quiet")

    @answers(Refuse)
    def refuse(self, msg: Refuse) -> int:
        raise Budget("site a has spent its budget")

    @answers(Trip)
    def trip(self, msg: Trip) -> int:
        raise Tripped("upstream is away", retry_after_s=msg.retry_after_s, failures=5)

    @answers(Leave)
    def leave(self, msg: Leave) -> int:
        self.ctx.stop_self()
        return self.total

    @answers(Later)
    def later(self, msg: Later) -> Deferred[str]:
        deferred = Deferred[str]()
        deferred.on_abandoned(lambda: self.journal.append("asker left"))
        self.waiting.append(deferred)
        return deferred

    def on_stop(self, why: Exit) -> None:
        self.journal.append(str(why))

    def on_down(self, down: Down) -> None:
        self.journal.append(f"down {down.id} {down.exit}")


class Shedding(Counter):
    mailbox = MailboxSpec(2, full="shed")


class Blocking(Counter):
    mailbox = MailboxSpec(2, full="block")


class Forgetful(Counter):
    mailbox = MailboxSpec(2, full="drop_oldest", down="reject")


class Rejecting(Counter):
    mailbox = MailboxSpec(8, down="reject")


def spec(name: str, make: Callable[[], Actor], **options: Any) -> ChildSpec[Any]:
    """A child whose backoff has no jitter."""
    options.setdefault("backoff", STEADY)
    return ChildSpec(name, make, **options)


@asynccontextmanager
async def tree(
    children: Sequence[ChildSpec[Any]], **options: Any
) -> AsyncGenerator[System]:
    """A system with these children under a root supervisor."""
    tracer = options.pop("tracer", None)
    root = ChildSpec("system", lambda: Supervisor(children, **options))
    async with open_system(root, tracer=tracer, rng=Random(1)) as system:
        yield system


@asynccontextmanager
async def one(make: Callable[[], Actor], **options: Any) -> AsyncGenerator[Ref[Any]]:
    """A system with one actor, `it`."""
    async with tree([spec("it", make, **options)]) as system:
        yield at(system, "it")


def at(system: System, path: str) -> Ref[Any]:
    """The Ref at a path, which must exist."""
    ref = system.lookup(path)
    assert ref is not None, f"no actor at {path}"
    return ref


async def settled() -> None:
    """Let everything run that can run now."""
    await trio.testing.wait_all_tasks_blocked()
