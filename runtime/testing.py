"""Simulation: the same tree of actors, on a virtual clock, in an order a seed gives.

`run_sim(main, seed, faults)` runs `main(sim)` to its end. Systems opened inside meet
the faults. A failure carries "replay with seed=N". Nothing real may be waited for:
the clock jumps as soon as all tasks wait, so storage must be in memory and no thread
may be used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from math import inf
from random import Random
from typing import Literal, TypeVar

import trio
import trio.testing
from msgspec import Struct

from runtime._deterministic import seeded_scheduling
from runtime._sim import InjectedCrash, set_injector

T = TypeVar("T")

# Longer than any deadline of the product, so reaching it means that nothing can go on.
SIM_SECONDS_MAX = 3600.0


class Stuck(AssertionError):
    """The simulation waits for what will never happen."""


class Fault(Struct, frozen=True):
    """Something that goes wrong at a rate, to messages of actors that match.

    crash: the actor crashes instead of handling. stall: the message waits up to
    `within_s` before it is handled. cancel: a temporary actor is stopped and
    cancelled up to `within_s` later.
    """

    kind: Literal["crash", "stall", "cancel"]
    rate: float
    actor: str = "*"
    message: str = "*"
    within_s: float = 1.0

    def hits(self, actor: str, message: str, rng: Random) -> bool:
        """Whether this message is struck."""
        return (
            fnmatchcase(actor, self.actor)
            and fnmatchcase(message, self.message)
            and rng.random() < self.rate
        )


class Strike(Struct, frozen=True):
    """What is done to one message."""

    crashes: bool = False
    stall_s: float = 0.0
    cancel_after_s: float | None = None


class Sim:
    """One seeded run: the chance all parts share, and what was done."""

    def __init__(self, seed: int, faults: Sequence[Fault] = ()) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311 - it must be replayable
        self.faults = tuple(faults)
        self.strikes: list[tuple[str, str, Strike]] = []
        self.disturbing = True

    def __repr__(self) -> str:
        return f"<Sim seed={self.seed} strikes={len(self.strikes)}>"

    def strike(self, actor: str, kind: type) -> Strike | None:
        """Roll the dice for one message."""
        if not self.disturbing:
            return None
        message = kind.__name__
        hits = [f for f in self.faults if f.hits(actor, message, self.random)]
        if not hits:
            return None
        within = {fault.kind: fault.within_s for fault in hits}
        struck = Strike(
            crashes="crash" in within,
            stall_s=self.random.random() * within.get("stall", 0.0),
            cancel_after_s=(
                self.random.random() * within["cancel"] if "cancel" in within else None
            ),
        )
        self.strikes.append((actor, message, struck))
        return struck

    def may_inline(self, actor: str, kind: type) -> bool:  # noqa: ARG002
        """Send half of the inline asks through the mailbox: both ways must be right."""
        return self.random.random() < 0.5

    @contextmanager
    def impatience(self, rate: float, within_s: float) -> Generator[trio.CancelScope]:
        """Cancel the body, at this rate, at some time within `within_s`."""
        deadline = inf
        if self.random.random() < rate:
            deadline = trio.current_time() + self.random.random() * within_s
        with trio.CancelScope(deadline=deadline) as scope:
            yield scope

    async def jitter(self, within_s: float = 1.0) -> None:
        """Let a seeded while pass."""
        await trio.sleep(self.random.random() * within_s)

    def calm(self) -> None:
        """Stop disturbing, for instance before checking that all is well again."""
        self.disturbing = False


def run_sim(
    main: Callable[[Sim], Awaitable[T]],
    seed: int,
    faults: Sequence[Fault] = (),
    *,
    limit_s: float = SIM_SECONDS_MAX,
) -> T:
    """Run `main(sim)` in simulated time and order; return what it returns.

    A run that has not ended after `limit_s` of simulated time is Stuck.
    """
    sim = Sim(seed, faults)

    def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
        if trio.current_time() <= limit_s:  # The clock of a run starts at zero.
            return trio.lowlevel.Abort.SUCCEEDED
        raise Stuck(f"it did not end within {limit_s:g} s and cannot be cancelled")

    async def watch() -> None:
        # What is shielded hears no cancel: then only the end of the run is left, which
        # an error inside of trio's scheduler brings about.
        with trio.CancelScope(deadline=limit_s + 1):
            await trio.lowlevel.wait_task_rescheduled(give_up)

    async def whole() -> T:
        set_injector(sim)
        trio.lowlevel.spawn_system_task(watch)
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.CancelScope(deadline=limit_s):
            result = await main(sim)
            left = trio.lowlevel.current_statistics().tasks_living - before
            assert left == 0, f"{left} tasks are left after the simulation"
            return result
        raise Stuck(f"it did not end within {limit_s:g} s of simulated time")

    try:
        with seeded_scheduling(seed):
            clock = trio.testing.MockClock(autojump_threshold=0)
            return _run(whole, clock)
    except BaseException as exc:
        exc.add_note(f"replay with seed={seed}")
        raise


def _run(whole: Callable[[], Awaitable[T]], clock: trio.testing.MockClock) -> T:
    try:
        return trio.run(whole, clock=clock)
    except trio.TrioInternalError as exc:
        if isinstance(exc.__cause__, Stuck):
            raise exc.__cause__ from None
        raise


__all__ = ["Fault", "InjectedCrash", "Sim", "Strike", "Stuck", "run_sim"]
