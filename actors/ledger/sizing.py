"""How large a slice should be. Pure integers.

Large enough that a request seldom waits for the store, small enough that a replica
which dies (its slice then counts as spent) or idles strands little: what it takes in
`AHEAD_S`, never more than its part of what is left. Near the cap the parts shrink with
what is left, until each request asks for its own.
"""

from __future__ import annotations

import math
from typing import Final

AHEAD_S: Final = 1.0  # A refill takes some 10 ms; what is more dies with a process.
SPARE: Final = 8  # Parts that each replica's share is divided into: 1 is in advance.
SCARCE_S: Final = 5.0  # So long nobody keeps spare money that another has asked for.
FORGET_S: Final = 2.0  # A rate of spending halves in this time without any.
PEERS_MAX: Final = 1_000  # Beyond it parts are as small as they get.


def parts(peers: int) -> int:
    """Into how many parts what is left is divided for one grant in advance."""
    return SPARE * max(1, min(peers, PEERS_MAX))


def rate(before: float, taken: int, over_s: float) -> float:
    """How much is taken a second, lately."""
    if over_s <= 0:
        return before
    keep = math.pow(0.5, over_s / FORGET_S)
    return before * keep + taken / over_s * (1 - keep)


def spare_money(rate_s: float, left: int, peers: int) -> int:
    """How much should be at hand beyond what is held."""
    return max(0, min(int(rate_s * AHEAD_S), left // parts(peers)))


def spare_places(held: int, left: int, peers: int) -> int:
    """How many places should be free at hand. Alone, all: nobody else wants them."""
    if peers <= 1:
        return max(0, left)
    return max(0, min(held // SPARE + 1, left // parts(peers)))


def spare_rate(rate_s: float, left: int, peers: int) -> int:
    """How many requests or tokens should be at hand."""
    return max(0, min(int(rate_s * AHEAD_S), left // parts(peers)))


def wanted(idle: int, spare: int, need: int) -> int:
    """How much more to ask for: at half of what should be there, or when it is short.

    Negative: so much is too much, and goes back.
    """
    if need > idle:
        return need + spare - max(0, idle) if idle > 0 else need + spare - idle
    if idle - need < (spare + 1) // 2:
        return spare + need - idle
    return min(0, 2 * spare + need - idle)
