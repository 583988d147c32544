"""A quantile sketch that forgets. Pure: time is an argument.

Logarithmic buckets (as in DDSketch) bound the relative error of every quantile;
forward decay bounds the age of what is remembered: instead of shrinking all old
weights at each look, new ones weigh more, and all are rescaled when they grow large.

A library was looked for: those with decay sample (t-digests of windows), those with
bounded relative error never forget. This needs both, and a hundred lines.
"""

from __future__ import annotations

from math import ceil, exp, log
from typing import Final

VALUE_MIN_S: Final = 0.001  # Below a millisecond nothing differs for a client.
VALUE_MAX_S: Final = 4000.0  # Above an hour every deadline has passed.
GAMMA: Final = 1.1  # Bucket bounds: a quantile is within 5 % of a value that was seen.
_LOG_GAMMA: Final = log(GAMMA)
BUCKETS: Final = ceil(log(VALUE_MAX_S / VALUE_MIN_S) / _LOG_GAMMA) + 1
_MIDDLE: Final = tuple(
    VALUE_MIN_S * GAMMA**index * 2 * GAMMA / (1 + GAMMA) for index in range(BUCKETS)
)
RESCALE_AGE: Final = 27.0  # e^27 is 5e11: small weights still count beside it.


class Sketch:
    """Values seen lately, by weight."""

    __slots__ = ("_high", "_landmark", "_low", "_rate", "_total", "_weights")

    def __init__(self, half_life_s: float, now: float) -> None:
        self._rate = log(2) / half_life_s
        self._landmark = now
        self._weights = [0.0] * BUCKETS
        self._total = 0.0
        self._low = BUCKETS - 1
        self._high = 0

    def __repr__(self) -> str:
        return f"<Sketch p50={self.quantile(0.5)} p95={self.quantile(0.95)}>"

    def add(self, value_s: float, now: float) -> None:
        """Remember one value."""
        age = (now - self._landmark) * self._rate
        if age > RESCALE_AGE:
            self._rescale(now)
            age = 0.0
        weight = exp(age)
        clipped = min(max(value_s, VALUE_MIN_S), VALUE_MAX_S)
        index = int(log(clipped / VALUE_MIN_S) / _LOG_GAMMA)
        self._weights[index] += weight
        self._low = min(self._low, index)
        self._high = max(self._high, index)
        self._total += weight

    def weight(self, now: float) -> float:
        """How many values of right now the remembered ones are worth."""
        return self._total * exp((self._landmark - now) * self._rate)

    def quantile(self, share: float) -> float | None:
        """The value that `share` of the weight does not exceed; None of nothing."""
        if not self._total:
            return None
        left = share * self._total
        index = self._low
        # Between the bounds alone: a deployment's values fill a tenth of all buckets.
        for weight in self._weights[self._low : self._high]:
            left -= weight
            if left <= 0.0:
                break
            index += 1
        return _MIDDLE[index]

    def _rescale(self, now: float) -> None:
        factor = exp((self._landmark - now) * self._rate)
        self._weights = [weight * factor for weight in self._weights]
        self._total = sum(self._weights)
        self._landmark = now
