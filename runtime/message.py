"""The vocabulary of actors: what may be said to one, and how one ends.

Owns: the base classes of messages and the exits. Never: behaviour.
Both are phantom-typed: the first parameter says whom a message is for, the
second what comes back, so a type checker rejects a message to the wrong actor.

`Tell` and `Request` are siblings on purpose: `tell()` cannot take a `Request`.
A message for a base class may go to its subclasses (contravariance).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NewType, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from runtime.actor import Actor

A_contra = TypeVar("A_contra", bound="Actor", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

MonitorId = NewType("MonitorId", int)


class Tell(Struct, Generic[A_contra], frozen=True, tag=True):
    """A fact or a command. Nothing comes back."""


class ControlTell(Tell[A_contra], frozen=True, tag=True):
    """A tell on the control lane: never shed, never dropped, overtakes the others.

    For what must arrive whatever the load: outcomes, releases, settlements.
    """


class Request(Struct, Generic[A_contra, R_co], frozen=True, tag=True):
    """A question. `await ref.ask(...)` returns its `R_co`."""


class CrashReport(Struct, frozen=True):
    """What is known of a crash, without a single value of the program in it.

    Prompts and keys travel in messages and exception texts, so neither is here:
    only the message's type, the error's type and where it was.
    """

    actor: str
    incarnation: int
    message: str | None
    error: str
    trace: tuple[str, ...]
    at_s: float
    note: str = ""  # The text of errors that are declared safe, else empty.

    def __str__(self) -> str:
        during = f" while handling {self.message}" if self.message else ""
        note = f" ({self.note})" if self.note else ""
        where = f" at {self.trace[-1]}" if self.trace else ""
        return (
            f"{self.actor} #{self.incarnation} crashed{during}: "
            f"{self.error}{note}{where}"
        )


class Normal(Struct, frozen=True):
    """The actor was done."""

    def __str__(self) -> str:
        return "done"


class Stopped(Struct, frozen=True):
    """Somebody above asked it to stop."""

    reason: str = ""

    def __str__(self) -> str:
        return f"stopped: {self.reason}" if self.reason else "stopped"


class Crashed(Struct, frozen=True):
    """It had a bug. Only this counts toward a supervisor's limit."""

    report: CrashReport

    def __str__(self) -> str:
        return f"crashed: {self.report.error}"


class Tripped(Exception):
    """Leaving on purpose because the world outside is bad: raise it from a handler.

    Not a bug: it does not count toward the supervisor's limit. The actor comes
    back after its backoff, or after `retry_after_s` when the outside named a time.
    `reason` and `facts` are shown to operators: no secrets, no payloads.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        retry_after_s: float | None = None,
        **facts: str | float,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.facts = facts

    def __str__(self) -> str:
        facts = " ".join(f"{key}={value}" for key, value in self.facts.items())
        return ": ".join(part for part in ("tripped", self.reason, facts) if part)

    def __repr__(self) -> str:
        return f"<Tripped {self.reason or 'without a reason'} {self.facts}>"


Exit = Normal | Stopped | Tripped | Crashed


class Down(Struct, frozen=True):
    """The monitored actor has ended for good; its Ref will not answer again."""

    monitor: MonitorId
    id: str
    exit: Exit
