"""Which of the good candidates gets this request. Pure: chance comes in as numbers.

Always the best one would herd: everybody's best is the same until its numbers change,
and then everybody's next. So two are drawn among the good ones, by score, and the less
busy one wins; a small, bounded share goes where something is to be learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

GOOD_ENOUGH: Final = 0.02  # Scores this near the best are as good: within the error.
SHARPNESS: Final = (
    8.0  # Within the good ones, a tenth more score is drawn twice as often.
)
EXPLORE_SHARE: Final = 0.01  # Of requests, to look at candidates that nobody chose.


def draw(scores: Sequence[float], chance: float) -> int:
    """One of the candidates, by score; better ones more often."""
    best = max(scores)
    if best <= 0.0:
        return min(int(chance * len(scores)), len(scores) - 1)
    weights = [(score / best) ** SHARPNESS for score in scores]
    left = chance * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0.0:
            return index
    return len(scores) - 1


def two_choices(
    scores: Sequence[float], busy: Sequence[float], first: float, second: float
) -> int:
    """The less busy of two that were drawn among the good ones; the better on a tie."""
    floor = max(scores) - GOOD_ENOUGH
    good = [index for index, score in enumerate(scores) if score >= floor]
    if len(good) == 1:
        return good[0]
    of = [scores[index] for index in good]
    a = good[draw(of, first)]
    b = good[draw(of, second)]
    if busy[a] != busy[b]:
        return a if busy[a] < busy[b] else b
    return a if scores[a] >= scores[b] else b
