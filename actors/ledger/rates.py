"""Requests and tokens a minute: the generic cell rate algorithm. Pure, no clock.

One number for each limit: the moment at which all that was let through would be paid
for at the even rate. A minute's worth may come at once; after that, as it is paid off.

Tokens of an answer are known only afterwards. They are charged then, and may bring a
debt: the next requests wait for it, so that the rate holds on average.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

MINUTE_S: Final = 60.0


class Rate(Struct):
    """One limit, and how far ahead of it somebody is. `now` is any steady clock."""

    per_minute: int
    paid_at: float = 0.0

    def wait_s(self, count: int, now: float) -> float:
        """How long until this many may pass; 0 is at once.

        More than a minute's worth passes when nothing else is unpaid: refusing it for
        ever would say that the limit is one of size.
        """
        ahead_s = self.paid_at - now
        if ahead_s <= 0:
            return 0.0
        worth_s = min(MINUTE_S, count * MINUTE_S / self.per_minute)
        return max(0.0, ahead_s + worth_s - MINUTE_S)

    def take(self, count: int, now: float) -> None:
        """Let them pass, or charge for those that have passed."""
        start = max(now, self.paid_at)
        self.paid_at = start + count * MINUTE_S / self.per_minute

    def left(self, now: float) -> int:
        """How many would pass at once now."""
        ahead_s = max(0.0, self.paid_at - now)
        return max(0, int((MINUTE_S - ahead_s) * self.per_minute / MINUTE_S))


def rate_of(per_minute_max: int | None) -> Rate | None:
    """A rate for this limit; None for none."""
    return None if per_minute_max is None else Rate(per_minute_max)


def go_on(fresh: Rate | None, old: Rate | None) -> None:
    """A changed limit does not forget what was let through."""
    if fresh is not None and old is not None:
        fresh.paid_at = old.paid_at


def take(rates: Iterable[Rate | None], count: int, now: float) -> None:
    """Charge all of them."""
    for rate in rates:
        if rate is not None:
            rate.take(count, now)
