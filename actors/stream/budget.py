"""How many extra calls the gateway may make: retries and hedges. Pure.

An outage must not be multiplied: a target that fails half of its calls would get twice
the load if each were made again. So an extra call is paid from a share of the recent
requests. Moving on to another candidate is no retry: that is what candidates are for.
"""

from __future__ import annotations

from typing import Final

RETRY_SHARE: Final = 0.1  # Of requests: at worst a tenth more load.
HEDGE_SHARE: Final = 0.05  # Of requests; a p95 asks for that many.
SAVED_MAX: Final = 10.0  # In a row, after a good time: a burst of a few clients.
TRICKLE_PER_S: Final = 0.1  # A quiet gateway may still retry, every ten seconds.


class Budget:
    """A share of requests, saved up to a bound. Time is an argument."""

    def __init__(
        self,
        share: float = RETRY_SHARE,
        *,
        saved_max: float = SAVED_MAX,
        trickle_per_s: float = TRICKLE_PER_S,
        saved: float | None = None,
    ) -> None:
        self._share = share
        self._saved_max = saved_max
        self._trickle_per_s = trickle_per_s
        self._saved = saved_max if saved is None else saved
        self._at: float | None = None

    def __repr__(self) -> str:
        return f"<Budget {self._saved:.1f}/{self._saved_max:g}>"

    def request(self, now: float) -> None:
        """A request came: it brings its share."""
        self._refill(now)
        self._saved = min(self._saved_max, self._saved + self._share)

    def has(self, now: float) -> bool:
        """Whether one extra call can be paid."""
        self._refill(now)
        return self._saved >= 1.0

    def take(self, now: float) -> bool:
        """Pay one extra call, if it can be paid."""
        if not self.has(now):
            return False
        self._saved -= 1.0
        return True

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._saved = min(
                self._saved_max, self._saved + (now - self._at) * self._trickle_per_s
            )
        self._at = now


def hedge_budget() -> Budget:
    """Of second calls beside the first: their share of the requests, and one.

    No trickle: a brownout makes every request late, and a few a minute of those would
    be more than the share on a quiet gateway.
    """
    return Budget(HEDGE_SHARE, trickle_per_s=0.0, saved=1.0)
