"""What reported usage teaches about one deployment. Pure.

Two decayed sums and their ratio: long prompts count for more, which is right, for they
are the expensive ones. Nothing is believed before a few calls have agreed, and never
more than a factor of two: whoever reports nonsense must not empty or burst a hold.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

STEP: Final = 1 / 16  # Sixteen calls to believe, sixteen to forget.
CALLS_MIN: Final = 8
RATIO_MIN: Final = 0.5
RATIO_MAX: Final = 2.0
SPREADS: Final = 4.0  # Of the usual deviation: what a bound allows for.
ERROR_MIN: Final = 0.02
# One report beyond it teaches as much as one at it: else a single absurd one would
# outweigh hundreds of true ones that follow.
LESSON_MAX: Final = 4.0


class Correction(Struct, frozen=True):
    """Reported over estimated tokens of one deployment, and how far calls differ."""

    reported: float = 0.0
    estimated: float = 0.0
    spread: float = 0.0
    calls: int = 0

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Correction x{self.ratio:.3f} +-{self.spread:.3f} calls={self.calls}>"

    @property
    def ratio(self) -> float:
        """What an estimate is to be multiplied with."""
        if self.calls < CALLS_MIN or self.estimated <= 0:
            return 1.0
        return min(RATIO_MAX, max(RATIO_MIN, self.reported / self.estimated))

    def error(self, family_error: float) -> float:
        """The bound's share above the corrected count; narrower once much is known."""
        if self.calls < 2 * CALLS_MIN:
            return family_error
        return min(family_error, max(ERROR_MIN, SPREADS * self.spread))


NOTHING: Final = Correction()


def learn(correction: Correction, estimated: int, reported: int) -> Correction:
    """After one call whose provider reported its prompt's length."""
    if estimated <= 0 or reported <= 0:
        return correction
    reported = round(min(max(reported, estimated / LESSON_MAX), estimated * LESSON_MAX))
    # The first calls weigh as much as each other, not as the start value does.
    step = max(STEP, 1 / (correction.calls + 1))
    keep = 1 - step
    # How far off the ratio so far would have been, without bounds: those are for use.
    before = correction.reported / correction.estimated if correction.calls else 1.0
    off = min(1.0, abs(reported / (estimated * before) - 1)) if before else 1.0
    return Correction(
        reported=keep * correction.reported + step * reported,
        estimated=keep * correction.estimated + step * estimated,
        spread=keep * correction.spread + step * off,
        calls=min(correction.calls + 1, 1_000_000),
    )
