"""What the keeper of tapes can be asked.

`Start` makes a tape and runs the work that fills it, or answers with the one that the
client's own name for the request stands for already: that is how a request that is sent
twice is served once. Tapes are found by site: what another site has does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actors.tapes.tape import Tape
from runtime import ControlTell, DomainError, Request

if TYPE_CHECKING:
    from actors.tapes.actor import Tapes

Work = Callable[[Tape], Awaitable[None]]
"""Fills a tape; finishes it itself. It ends soon after `when_gone` was called back."""


class Started(Struct, frozen=True):
    """A new tape, which the work is filling."""

    tape: Tape


class Known(Struct, frozen=True):
    """The same request was sent before: here is its answer, running or finished."""

    tape: Tape


class NameTaken(Struct, frozen=True):
    """The client gave this name to another request."""


class NotTaped(Struct, frozen=True):
    """It cannot be recorded now, and why."""

    why: str


StartReply = Started | Known | NameTaken | NotTaped


class TapesUnavailable(DomainError):
    """The store that all workers share cannot be asked.

    Whether a request was served before cannot be told, so it is not served now.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"streams cannot be looked up now: {why}")


class Start(Request["Tapes", "StartReply"], frozen=True):
    """Record what this work answers."""

    tape: Tape
    work: Work


class Seek(Request["Tapes", "Tape | NoTape"], frozen=True):
    """The tape of a request; `site` is None for whoever has shown it otherwise."""

    site: str | None
    request_id: str


class NoTape(Struct, frozen=True):
    """There is none, or it is another site's: nobody can tell."""


StopReply = Literal["stopping", "over", "unknown"]


class Stop(Request["Tapes", "StopReply"], frozen=True):
    """End an answer that is being given, whoever reads it."""

    site: str | None
    request_id: str


class Sweep(ControlTell["Tapes"], frozen=True):
    """Time to forget what is too old."""
