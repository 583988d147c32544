"""How far a site is ahead of its plan. Pure: time is an argument.

The plan of a calendar window is to spend evenly until its end. Ahead of it price weighs
more, by the share of what is left that was borrowed from later: on the tenth of thirty
days, 50 % spent is (50 - 33) / (100 - 33), a quarter. A window without a beginning
(rolling, total) has no plan but to stay below its cap: there the last half counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from actors.ledger.caps import Book

UNPLANNED_FROM: Final = 0.5  # Of a cap without a calendar, so much is spent at ease.


def pressure_of(used: int, most: int, done: float) -> float:
    """From 0, on plan, to 1, all is spent. `done` is the share of the plan's time."""
    if used <= 0:
        return 0.0
    share = used / most if most else 1.0
    if share >= 1.0:
        return 1.0
    return max(0.0, (share - done) / (1.0 - done)) if done < 1.0 else 0.0


def done_of(book: Book, now_s: float) -> float:
    """How much of the window's time is over."""
    if book.cap.rolling or book.until_s == inf:
        return UNPLANNED_FROM
    return min(1.0, max(0.0, (now_s - book.start_s) / (book.until_s - book.start_s)))


def pressure(books: Iterable[Book], now_s: float) -> float:
    """The most pressing of these. Soft caps press nobody."""
    return max(
        (
            pressure_of(book.used_nanousd, book.cap.nanousd_max, done_of(book, now_s))
            for book in books
            if book.cap.kind != "soft"
        ),
        default=0.0,
    )
