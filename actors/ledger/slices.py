"""A replica's part of a sum, and of an allowance. Pure: time is an argument.

What is here are the numbers and what follows from them at once. Who may write which:
the books hold and settle, escrow.py grants and gives back.
"""

from __future__ import annotations

from math import inf

from actors.ledger.messages import Cap
from actors.ledger.rates import MINUTE_S
from actors.ledger.shares import PLACES, SumKey


class Slice:
    """What one replica may use of one sum. The books write `held` and `settle`."""

    __slots__ = (
        "active",
        "adjusted",
        "adjusting",
        "answered",
        "asked_at",
        "cap",
        "giving",
        "granted",
        "hard",
        "held",
        "key",
        "leased",
        "least",
        "most",
        "need",
        "others",
        "quarters",
        "rate_s",
        "rated_at",
        "scarce_until",
        "sending",
        "settled",
        "spare",
        "spent",
        "taken",
        "used_at",
        "used_said",
        "wanted",
    )

    def __init__(self, key: SumKey, cap: Cap | None, most: int, *, hard: bool) -> None:
        self.key = key
        self.cap = cap
        self.most = most
        self.hard = hard
        self.granted = 0
        self.held = 0
        self.settled = 0  # Not durable yet, as far as is known.
        self.sending = 0  # Of it, what the sync under way says.
        self.adjusted = 0  # As `settled`, but without a hold: it is in no slice.
        self.adjusting = 0
        self.giving = 0
        self.need = 0
        self.least = 0
        self.taken = 0  # Since the last plan.
        self.spare = 0  # What should be at hand beyond what is held.
        self.rate_s = 0.0
        self.rated_at = -inf
        self.spent = 0
        self.leased = 0
        self.others = 0  # What all other replicas use.
        self.used_said = 0
        self.wanted = -1  # Never heard of.
        self.scarce_until = -inf
        self.answered = 0  # The last sync that brought an answer for it; 0 is none.
        self.asked_at = -inf
        self.active = False
        self.used_at = -inf
        self.quarters: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Slice {self.key.cap} {self.key.subject} granted={self.granted} "
            f"held={self.held} settled={self.settled}>"
        )

    @property
    def idle(self) -> int:
        """What of it is neither used nor on its way back."""
        return self.granted - self.held - self.settled - self.giving

    @property
    def total(self) -> int:
        """What was spent of the whole sum, as far as is known here."""
        return self.spent + self.settled + self.adjusted

    @property
    def room(self) -> int:
        """What is left of the sum for this replica, wherever it is leased now."""
        return self.most - self.total - self.others - self.held

    @property
    def at_hand(self) -> int:
        """What may be held without asking.

        `room` is less where something was charged without a hold, or the cap lowered.
        """
        return min(self.idle, self.room)

    @property
    def used(self) -> int:
        """Of the slice, what is held or has been spent and is not durable."""
        return self.held + self.settled


class RateSlice:
    """Requests or tokens of a minute that this replica may let pass."""

    __slots__ = (
        "answered",
        "asked_at",
        "charged",
        "charging",
        "giving",
        "least",
        "left",
        "name",
        "need",
        "paid_at_s",
        "per_minute",
        "rate_s",
        "rated_at",
        "taken",
    )

    def __init__(self, name: str, per_minute: int) -> None:
        self.name = name
        self.per_minute = per_minute
        self.left = 0
        self.charged = 0
        self.charging = 0
        self.giving = 0
        self.need = 0
        self.least = 0
        self.taken = 0
        self.rate_s = 0.0
        self.rated_at = -inf
        self.paid_at_s = 0.0
        self.answered = 0
        self.asked_at = -inf

    def __repr__(self) -> str:
        return f"<RateSlice {self.name} left={self.left} of {self.per_minute}>"

    def wait_s(self, count: int, now_s: float) -> float:
        """How long until so many may pass, by what the store last said."""
        each_s = MINUTE_S / self.per_minute
        ahead_s = self.paid_at_s - self.left * each_s - now_s
        if ahead_s <= 0:
            return 0.0
        return max(0.0, ahead_s + min(MINUTE_S, count * each_s) - MINUTE_S)

    def take(self, count: int) -> None:
        """Let them pass; below nothing it is a debt, charged with the next sync."""
        self.left -= count
        self.taken += count


def places_key(who: str) -> SumKey:
    """The sum that counts requests in flight of this site, key or provider."""
    return SumKey(PLACES, who, 0)
