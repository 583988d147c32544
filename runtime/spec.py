"""How a child is made, bounded and brought back. Pure: no trio, no clock, no chance.

Owns the verdicts (restart or not, after how long, too often or not); the guard in
`_guard.py` obeys them. Time and randomness come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from msgspec import Struct

from runtime.message import Crashed, Exit, Stopped, Tripped

if TYPE_CHECKING:
    from runtime.actor import Actor

A = TypeVar("A", bound="Actor")

Full = Literal["block", "shed", "drop_oldest"]
DownPolicy = Literal["hold", "reject"]
Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]

# A sender outruns a receiver by bursts, not by seconds: 64 is what a provider
# answers in a millisecond. Every actor that differs says so and why.
MAILBOX_CAPACITY = 64


class MailboxSpec(Struct, frozen=True):
    """The bound of a mailbox, and what happens at it.

    full: `block` the sender, `shed` the new message (MailboxFull), or
    `drop_oldest` to take it. down: between two lives `hold` what arrives, or
    `reject` it at once (ActorDown with the time of return).
    """

    capacity: int = MAILBOX_CAPACITY
    full: Full = "block"
    down: DownPolicy = "hold"

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(
                f"a mailbox of {self.capacity} can never receive; use 1 or more"
            )


class Backoff(Struct, frozen=True):
    """The pause before the next life: first_s, then times factor, up to cap_s.

    Jitter takes away up to that share, so that many actors do not return at once.
    An incarnation that lived stable_s, or said `ctx.recovered()`, starts over.
    """

    first_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 30.0
    jitter: float = 0.5
    stable_s: float = 60.0

    def pause_s(self, attempt: int, rng: Random) -> float:
        """How long to stay away before the attempt (0 is the first)."""
        # Past 64 doublings only the cap is left, and floats would overflow.
        grown = self.first_s * self.factor ** min(attempt, 64)
        return min(grown, self.cap_s) * (1 - self.jitter * rng.random())


class Limit(Struct, frozen=True):
    """More than `crashes` crashes of one child in `seconds` end its supervisor."""

    crashes: int = 3
    seconds: float = 5.0


class ChildSpec(Struct, Generic[A], frozen=True):
    """How to make one child and what to do when it ends.

    `make` runs for every incarnation. What must outlive one (a connection pool,
    permits that are out) lives in what `make` closes over.
    """

    id: str
    make: Callable[[], A]
    restart: Restart = "permanent"
    backoff: Backoff = Backoff()
    shutdown_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.id or "/" in self.id:
            raise ValueError(f"a child's id is one name without '/': got {self.id!r}")


AnySpec = ChildSpec[Any]


class History(Struct, frozen=True):
    """What a guard remembers of the lives before."""

    attempt: int = 0
    crashes: tuple[float, ...] = ()


class Verdict(Struct, frozen=True):
    """What to do after an exit."""

    history: History
    again: bool
    pause_s: float = 0.0
    exceeded: bool = False


def after_exit(
    spec: AnySpec,
    limit: Limit,
    history: History,
    ended: Exit,
    *,
    now_s: float,
    lived_s: float,
    rng: Random,
) -> Verdict:
    """Decide about the next life.

    Only crashes count toward the limit: a tripped actor has no bug, and a
    temporary one is not restarted, so neither can ever end its supervisor.
    """
    if not wants_restart(spec.restart, ended):
        return Verdict(history, again=False)
    attempt = 0 if lived_s >= spec.backoff.stable_s else history.attempt
    crashes = history.crashes
    if isinstance(ended, Crashed):
        recent = (at for at in crashes if now_s - at < limit.seconds)
        crashes = (*recent, now_s)
        if len(crashes) > limit.crashes:
            return Verdict(History(attempt, crashes), again=False, exceeded=True)
    pause_s = spec.backoff.pause_s(attempt, rng)
    if isinstance(ended, Tripped) and ended.retry_after_s is not None:
        pause_s = ended.retry_after_s
    return Verdict(History(attempt + 1, crashes), again=True, pause_s=pause_s)


def wants_restart(restart: Restart, ended: Exit) -> bool:
    """Whether this kind of child comes back after this kind of exit."""
    if isinstance(ended, Stopped):
        return False
    match restart:
        case "permanent":
            return True
        case "transient":
            return isinstance(ended, Crashed | Tripped)
        case "temporary":
            return False
