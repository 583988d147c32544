"""When a checkpoint goes to where nobody can take it back, and when that is late. Pure.

Owns: the schedule of anchors. A checkpoint is due a period after the last one that is
known to be kept; a failure is tried again sooner, ever less often, for ever: the log
goes on meanwhile, and whoever watches is told once it is late.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

RETRY_FIRST_S: Final = 5.0
RETRY_S_MAX: Final = 300.0  # Twelve asks an hour: no storage minds.
DOUBLINGS_MAX: Final = 6  # 5, 10 … 320: beyond the bound above.
LATE_S: Final = 300.0  # Storage that is away for minutes is no news; beyond, it is.


class Anchoring(Struct, frozen=True):
    """How the anchors of one log stand. Times are the loop's."""

    every_s: float
    kept_s: float  # When the last was kept; at first, when this process began.
    size: int = 0  # Of the last that is kept; 0 while none is known.
    failures: int = 0  # Since then.
    tried_s: float = 0.0
    compared: bool = False  # Whether the log was held against what is kept.
    trouble: str = ""

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Anchoring size={self.size} failures={self.failures} {self.trouble}>"


def due_s(anchoring: Anchoring) -> float:
    """When the next try is due."""
    if anchoring.failures:
        doublings = min(anchoring.failures - 1, DOUBLINGS_MAX)
        return anchoring.tried_s + min(RETRY_FIRST_S * 2.0**doublings, RETRY_S_MAX)
    # The first of a life at once: what was published before the last stop may not be.
    return anchoring.kept_s + (anchoring.every_s if anchoring.size else 0.0)


def late_s(anchoring: Anchoring | None, size: int, now_s: float) -> float:
    """For how long the anchor of a log of this size is overdue; 0 when it is not."""
    # Without a failure it is on its way: each try has an end.
    if anchoring is None or not anchoring.failures:
        return 0.0
    if anchoring.compared and size <= anchoring.size:
        return 0.0
    period_s = anchoring.every_s if anchoring.size else 0.0
    return max(0.0, now_s - anchoring.kept_s - period_s - LATE_S)


def kept(anchoring: Anchoring, size: int, now_s: float) -> Anchoring:
    """A checkpoint of this size is where nobody can take it back."""
    size = max(size, anchoring.size)
    return replace(
        anchoring, size=size, kept_s=now_s, failures=0, compared=True, trouble=""
    )


def failed(anchoring: Anchoring, why: str, now_s: float) -> Anchoring:
    """It could not be put there, or nothing could be asked."""
    return replace(
        anchoring, failures=anchoring.failures + 1, tried_s=now_s, trouble=why
    )
