"""What a cap covers, and one sum of money under it. Pure: time is an argument.

A hold belongs to the window in which it was taken, and so does what it settles at,
however late: sums agree with the records, and a window that begins owes nothing to the
last one.

Invariant of a hard cap: in each window spent + held exceeds the maximum only by what
was settled above its hold (overruns, reported) or charged without one (`Adjust`).
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from math import inf
from typing import NamedTuple

from actors.ledger import windows
from actors.ledger.messages import AlertKind, Cap
from actors.ledger.windows import QUARTER_S


class Who(NamedTuple):
    """Who spends, on what. An empty part is unknown."""

    site: str
    key_id: str
    asked: str
    provider: str


def subject_of(cap: Cap, who: Who) -> str | None:
    """Whose sum of this cap the money counts in; None: the cap does not cover it."""
    if not (
        _matches(cap.sites, who.site)
        and _matches(cap.keys, who.key_id)
        and _matches(cap.models, who.asked)
        and _matches(cap.providers, who.provider)
    ):
        return None
    match cap.per:
        case "all":
            return ""
        case "site":
            return who.site
        case "key":
            return who.key_id
        case "model":
            return who.asked
        case "provider":
            return who.provider


def needs_provider(cap: Cap) -> bool:
    """Whether it only says something once the provider is known."""
    return bool(cap.providers) or cap.per == "provider"


def is_of_site(cap: Cap, site: str) -> bool:
    """Whether all that it sums up is this site's, so that it may know the amounts."""
    return cap.per in ("site", "key") or cap.sites == (site,)


class Book:
    """One sum of one cap: what was spent and is held in the window that runs now."""

    __slots__ = (
        "_quarters",
        "_told",
        "cap",
        "held_nanousd",
        "spent_nanousd",
        "start_s",
        "subject",
        "until_s",
    )

    def __init__(self, cap: Cap, subject: str, now_s: float) -> None:
        self.cap = cap
        self.subject = subject
        self.spent_nanousd = 0
        self.held_nanousd = 0
        self._quarters: dict[int, int] = {}  # Of a rolling window, oldest first.
        self._told: dict[AlertKind, float] = {}
        if cap.rolling:
            self.start_s, self.until_s = 0.0, inf
        else:
            self.start_s, self.until_s = windows.calendar(cap.window, cap.zone, now_s)

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
        self.spent_nanousd = 0
        self.held_nanousd = 0  # Open holds are the last window's, and settle there.

    def slot(self, at_s: float) -> float:
        """The window of this moment, or its quarter: what a hold remembers."""
        return float(windows.quarter(at_s)) if self.cap.rolling else self.start_s

    # -- money -------------------------------------------------------------------

    @property
    def used_nanousd(self) -> int:
        """Spent, or spoken for."""
        return self.spent_nanousd + self.held_nanousd

    @property
    def room_nanousd(self) -> int:
        """What can still be held."""
        return max(0, self.cap.nanousd_max - self.used_nanousd)

    def hold(self, nanousd: int, at_s: float) -> float:
        """Set money aside; the slot is what `close` wants."""
        self.held_nanousd += nanousd
        return self.slot(at_s)

    def hold_again(self, nanousd: int, at_s: float) -> float | None:
        """Take over an open hold; None: its window is over, it settles in the past."""
        if not self.cap.rolling and not self.start_s <= at_s < self.until_s:
            return None
        return self.hold(nanousd, at_s)

    def close(self, slot: float, held_nanousd: int, nanousd: int) -> None:
        """End a hold at its cost, in the window it was taken in."""
        if self.cap.rolling:
            self.held_nanousd -= held_nanousd
            self._spend_in(int(slot), nanousd)
        elif slot == self.start_s:
            self.held_nanousd -= held_nanousd
            self.spent_nanousd += nanousd
        assert self.held_nanousd >= 0

    def spend(self, at_s: float, nanousd: int) -> None:
        """Count what was spent without a hold, or before this book was opened."""
        if self.cap.rolling:
            self._spend_in(windows.quarter(at_s), nanousd)
        elif self.start_s <= at_s < self.until_s:
            self.spent_nanousd += nanousd

    def reset(self) -> None:
        """Forget what was spent; open holds stay."""
        self.spent_nanousd = 0
        self._quarters.clear()
        self._told.clear()

    def go_on_from(self, other: Book) -> None:
        """Take over from a book of the same sum, but for its holds."""
        self.spent_nanousd = other.spent_nanousd
        self.start_s, self.until_s = other.start_s, other.until_s
        self._quarters = other._quarters
        if self.cap == other.cap:
            self._told = other._told

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
        for quarter in sorted(self._quarters):
            room += self._quarters[quarter]
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

    def _spend_in(self, quarter: int, nanousd: int) -> None:
        """Count into a rolling window. What has left it already leaves again soon."""
        quarters = self._quarters
        quarters[quarter] = quarters.get(quarter, 0) + nanousd
        self.spent_nanousd += nanousd
        self.until_s = min(self.until_s, self._leaves_s(quarter))

    def _leaves_s(self, quarter: int) -> float:
        # Its last moment counts for all of it: never less than the exact sum.
        return (quarter + 1) * QUARTER_S + windows.rolling_s(self.cap.window)

    def _forget(self, now_s: float) -> None:
        quarters = self._quarters
        for quarter in [q for q in quarters if self._leaves_s(q) <= now_s]:
            self.spent_nanousd -= quarters.pop(quarter)
        self.until_s = self._leaves_s(min(quarters)) if quarters else inf


def tightest(books: Iterable[Book]) -> Book:
    """The book with the least room."""
    return min(books, key=lambda book: book.room_nanousd)


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
