"""One sum of money under a cap. Pure: time is an argument.

With an escrow the sum is shared: the book holds from its slice (`at_hand`), and knows
the rest as the store last said. Without one, the whole sum is here.

A hold belongs to the window in which it was taken, and so does what it settles at,
however late: sums agree with the records, and a window that begins owes nothing to the
last one.

Invariant of a hard cap: in each window spent + held exceeds the maximum only by what
was settled above its hold (overruns, reported) or charged without one (`Adjust`).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from actors.ledger import windows
from actors.ledger.escrow import Escrow
from actors.ledger.messages import AlertKind, Cap
from actors.ledger.shares import SumKey, cap_id
from actors.ledger.slices import Slice
from actors.ledger.windows import QUARTER_S


class Book:
    """One sum of one cap: what was spent and is held in the window that runs now."""

    __slots__ = (
        "_escrow",
        "_id",
        "_quarters",
        "_told",
        "cap",
        "slice",
        "start_s",
        "subject",
        "until_s",
    )

    def __init__(
        self, cap: Cap, subject: str, now_s: float, escrow: Escrow | None = None
    ) -> None:
        self.cap = cap
        self.subject = subject
        self._escrow = escrow
        self._id = "" if escrow is None else cap_id(cap)
        self._quarters: dict[int, int] = {}  # Of a rolling window, oldest first.
        self._told: dict[AlertKind, float] = {}
        if cap.rolling:
            self.start_s, self.until_s = 0.0, inf
        else:
            self.start_s, self.until_s = windows.calendar(cap.window, cap.zone, now_s)
        self.slice = self._open_slice()

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Book {self.cap.name} {self.subject} spent={self.spent_nanousd} "
            f"held={self.held_nanousd} max={self.cap.nanousd_max}>"
        )

    # -- time --------------------------------------------------------------------

    def roll(self, now_s: float) -> None:
        """Begin the window of `now_s`, if the one before is over."""
        if now_s < self.until_s:
            return
        cap = self.cap
        if cap.rolling:
            self._forget(now_s)
            return
        self.start_s, self.until_s = windows.calendar(cap.window, cap.zone, now_s)
        # Open holds are the last window's, and settle there.
        if self._escrow is not None:
            self._escrow.forget(self.slice)
        self.slice = self._open_slice()

    def slot(self, at_s: float) -> float:
        """The window of this moment, or its quarter: what a hold remembers."""
        return float(windows.quarter(at_s)) if self.cap.rolling else self.start_s

    # -- money -------------------------------------------------------------------

    @property
    def spent_nanousd(self) -> int:
        """Spent in this window, by all replicas, as far as is known here."""
        return self.slice.total

    @property
    def held_nanousd(self) -> int:
        """Spoken for, by all replicas, as far as is known here."""
        return self.slice.held + self.slice.others

    @property
    def used_nanousd(self) -> int:
        """Spent, or spoken for."""
        one = self.slice
        return one.total + one.held + one.others

    @property
    def room_nanousd(self) -> int:
        """What can still be held: at once, or when the store has been asked."""
        return max(0, self.cap.nanousd_max - self.used_nanousd)

    @property
    def at_hand_nanousd(self) -> int:
        """What can be held at once."""
        if self._escrow is None:
            return self.room_nanousd
        return max(0, self.slice.at_hand)

    def hold(self, nanousd: int, at_s: float) -> float:
        """Set money aside; the slot is what `close` wants."""
        if self._escrow is None:
            self.slice.held += nanousd
        else:
            self._escrow.hold(self.slice, nanousd)
        return self.slot(at_s)

    def hold_again(self, nanousd: int, at_s: float) -> float | None:
        """Take over an open hold; None: its window is over, it settles in the past."""
        if not self.cap.rolling and not self.start_s <= at_s < self.until_s:
            return None
        return self.hold(nanousd, at_s)

    def close(self, slot: float, held_nanousd: int, nanousd: int) -> None:
        """End a hold at its cost, in the window it was taken in."""
        if not self.cap.rolling and slot != self.start_s:
            return
        if self._escrow is not None:
            self._escrow.close(self.slice, held_nanousd, nanousd)
        else:
            self.slice.held -= held_nanousd
            self._spend(int(slot), nanousd)
        assert self.slice.held >= 0

    def spend(self, at_s: float, nanousd: int) -> None:
        """Count what was spent without a hold, or before this book was opened."""
        if not self.cap.rolling and not self.start_s <= at_s < self.until_s:
            return
        if self._escrow is not None:
            self._escrow.adjust(self.slice, nanousd)
        else:
            self._spend(windows.quarter(at_s), nanousd)

    def reset(self) -> None:
        """Forget what was spent; open holds stay."""
        self._told.clear()
        if self._escrow is None:
            self.slice.spent = 0
            self._quarters.clear()

    def go_on_from(self, other: Book) -> None:
        """Take over from a book of the same sum, but for its holds."""
        self.start_s, self.until_s = other.start_s, other.until_s
        self._quarters = other._quarters
        if self._escrow is None:
            self.slice.spent = other.slice.spent
        else:
            self.slice = self._open_slice()
            self.slice.held = 0
        if self.cap == other.cap:
            self._told = other._told

    def retire(self) -> None:
        """Its cap is gone."""
        if self._escrow is not None:
            self._escrow.retire(self.slice)

    # -- what follows ------------------------------------------------------------

    def resets_at_s(self, wanted_nanousd: int = 0) -> float | None:
        """When a hold of this size has room again; None: waiting will not help.

        Open holds are taken to settle at what they hold: the worst.
        """
        cap = self.cap
        if wanted_nanousd > cap.nanousd_max:
            return None
        if not cap.rolling:
            return None if self.until_s == inf else self.until_s
        room = cap.nanousd_max - self.used_nanousd
        length_s = windows.rolling_s(cap.window)
        quarters = self._quarters or dict(self.slice.quarters)
        for quarter in sorted(quarters):
            room += quarters[quarter]
            if room >= max(1, wanted_nanousd):
                return (quarter + 1) * QUARTER_S + length_s
        return None

    def tell(self, kind: AlertKind, now_s: float) -> bool:
        """Whether this is to be told now: once in each window."""
        told_s = self._told.get(kind)
        if told_s is not None:
            length_s = windows.rolling_s(self.cap.window)
            if told_s >= self.start_s and (
                not self.cap.rolling or now_s - told_s < length_s
            ):
                return False
        self._told[kind] = now_s
        return True

    # -- inside ------------------------------------------------------------------

    def _open_slice(self) -> Slice:
        cap = self.cap
        key = SumKey(self._id, self.subject, int(self.start_s))
        hard = cap.kind == "hard"
        if self._escrow is None:
            return Slice(key, cap, cap.nanousd_max, hard=hard)
        return self._escrow.slice_of(key, cap, cap.nanousd_max, hard=hard)

    def _spend(self, quarter: int, nanousd: int) -> None:
        """Count it; in a rolling window, until its quarter of an hour has left."""
        self.slice.spent += nanousd
        if self.cap.rolling:
            quarters = self._quarters
            quarters[quarter] = quarters.get(quarter, 0) + nanousd
            self.until_s = min(self.until_s, self._leaves_s(quarter))

    def _leaves_s(self, quarter: int) -> float:
        # Its last moment counts for all of it: never less than the exact sum.
        return (quarter + 1) * QUARTER_S + windows.rolling_s(self.cap.window)

    def _forget(self, now_s: float) -> None:
        quarters = self._quarters
        for quarter in [q for q in quarters if self._leaves_s(q) <= now_s]:
            self.slice.spent -= quarters.pop(quarter)
        self.until_s = self._leaves_s(min(quarters)) if quarters else inf


def tightest(books: Iterable[Book]) -> Book:
    """The book with the least room."""
    return min(books, key=lambda book: book.room_nanousd)
