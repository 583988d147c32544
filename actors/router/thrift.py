"""What a site's caps ask of a decision: price weighs more, only cheap ones serve. Pure.

The ledger says how much (`Thrift`); nothing here knows money but as prices.
"""

from __future__ import annotations

from actors.ledger.messages import Thrift
from actors.router.messages import PRESETS, Weights


def pressed(weights: Weights | None, thrift: Thrift) -> Weights | None:
    """The weights under this pressure.

    Price takes over that share of what the other parts had. A route with an order of
    its own (None) keeps it until a step of the ladder says that price decides.
    """
    if thrift.prefer_cheap:
        return PRESETS["cheapest"]
    pressure = thrift.price_pressure
    if weights is None or not pressure:
        return weights
    rest = 1.0 - pressure
    others = weights.latency + weights.errors + weights.window
    return Weights(
        latency=weights.latency * rest,
        errors=weights.errors * rest,
        window=weights.window * rest,
        price=weights.price + others * pressure,
    )


def too_dear(output_nanousd_per_mtok: int | None, most: int | None) -> str:
    """Why a candidate with this price of output is out; empty when it is not."""
    if most is None:
        return ""
    if output_nanousd_per_mtok is None:
        return "has no price, and the site is down to a cheaper class"
    if output_nanousd_per_mtok <= most:
        return ""
    return (
        f"its output costs ${output_nanousd_per_mtok / 1e9:g} a million tokens; the "
        f"site is down to ${most / 1e9:g}"
    )
