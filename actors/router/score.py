"""How good a candidate is, in four parts of 0 to 1. Pure.

    latency   1 when its predicted p95 is within the SLO, else SLO / p95;
              without an SLO the quickest candidate's p95 is the measure
    errors    the share of calls that do not fail, squared: 10 % is worse than it sounds
    window    1 while prompt and answer take half of its window, falling to 0 when full
    price     the cheapest candidate's price of this request / its own

Each part is explainable on its own; the score is their weighted mean.
"""

from __future__ import annotations

from typing import Final

from actors.router.messages import Weights

PARTS: Final = ("latency", "errors", "window", "price")
FILL_EASY: Final = 0.5  # Models answer worse in the last part of their windows.
UNPRICED: Final = 0.0  # Unknown is not free.

EQUAL: Final = Weights(latency=1.0, errors=1.0, window=1.0, price=1.0)


def latency_part(latency_s: float, measure_s: float) -> float:
    """Against the SLO, or the quickest."""
    return 1.0 if latency_s <= measure_s else measure_s / latency_s


def error_part(error_rate: float) -> float:
    """Calls that work."""
    return (1.0 - error_rate) * (1.0 - error_rate)


def window_part(fill: float) -> float:
    """Room in the window."""
    return 1.0 if fill <= FILL_EASY else max(0.0, (1.0 - fill) / (1.0 - FILL_EASY))


def price_part(cost_nanousd: int, cheapest_nanousd: int) -> float:
    """Against the cheapest; -1 is unpriced."""
    if cost_nanousd < 0:
        return UNPRICED
    if cost_nanousd <= cheapest_nanousd:
        return 1.0
    return cheapest_nanousd / cost_nanousd


def total(weights: Weights) -> float:
    """What the weights are normalised by."""
    return weights.latency + weights.errors + weights.window + weights.price
