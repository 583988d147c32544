"""When a worker that died is started again, and when nobody should try any more. Pure.

A worker that is killed after a long life comes back almost at once. One that dies again
and again waits longer each time, and after `DEATHS_MAX` deaths in a row of
`DEATHS_WINDOW_S` the gateway ends: whoever supervises it sees a failure instead of a
service that flickers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

DEATHS_MAX: Final = 5  # Two are a coincidence of kills, five are a bug or a bad disk.
DEATHS_WINDOW_S: Final = 60.0  # Five starts of a second each and their waits fit well.
WAIT_FIRST_S: Final = 0.1  # The others serve meanwhile; a fork is quick.
WAIT_MAX_S: Final = 5.0
BEAT_S: Final = 1.0  # How often a worker says that its loop turns.
SILENT_MAX_S: Final = 30.0  # No step of the loop takes a second; a pause is no death.
START_MAX_S: Final = 120.0  # A large audit log is read back on a slow disk.
LATE_S: Final = 5.0  # The parent itself was paused, and so was everybody.


@attrs.frozen
class Death:
    """One end of a worker that nobody asked for."""

    at: float
    why: str
    served: bool = True  # Whether it had come as far as serving.


@attrs.frozen
class Again:
    """Start it again, after a while."""

    after_s: float


@attrs.frozen
class GiveUp:
    """Stop all, and say why."""

    why: str


Verdict: TypeAlias = Again | GiveUp


def after(deaths: Sequence[Death]) -> Verdict:
    """What to do about the last of a worker's deaths."""
    last = deaths[-1]
    recent = [one for one in deaths if last.at - one.at < DEATHS_WINDOW_S]
    if len(recent) >= DEATHS_MAX:
        return GiveUp(
            f"died {len(recent)} times within {DEATHS_WINDOW_S:g} s, the last time "
            f"{last.why}"
        )
    return Again(min(WAIT_FIRST_S * 2 ** (len(recent) - 1), WAIT_MAX_S))


def remembered(deaths: Sequence[Death], now: float) -> list[Death]:
    """The deaths that still count."""
    return [one for one in deaths if now - one.at < DEATHS_WINDOW_S]


def is_stuck(*, silent_s: float, serves: bool) -> bool:
    """Whether a worker that lives is of no use any more."""
    return silent_s > (SILENT_MAX_S if serves else START_MAX_S)


def overslept(*, wanted_s: float, slept_s: float) -> bool:
    """Whether nobody's silence means anything: this process was paused as well."""
    return slept_s > wanted_s + LATE_S


def share(total: int, workers: int) -> int:
    """One worker's part of what the whole gateway may hold; never less in sum."""
    return -(-total // workers)
