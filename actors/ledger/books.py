"""All books: which of them a request touches. Pure: time is an argument.

Owns: the caps, their books, and the history that new books begin from. A book is opened
by the first hold that touches it, never by a mere question: questions name whatever
model a client wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from actors.ledger import covering
from actors.ledger.caps import Book
from actors.ledger.covering import Who
from actors.ledger.escrow import Escrow
from actors.ledger.history import History
from actors.ledger.messages import Cap

WHO_CACHED_MAX: Final = 50_000  # Some 20 MB; beyond it, found anew.


class Books:
    """The books of every cap. With an escrow, what was spent before is in its store."""

    def __init__(self, caps: Iterable[Cap] = (), escrow: Escrow | None = None) -> None:
        self.history = History()
        self._escrow = escrow
        self.caps = tuple(caps)
        self._books: dict[tuple[str, str], Book] = {}
        self._of: dict[Who, tuple[Book, ...]] = {}

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Books caps={len(self.caps)} books={len(self._books)}>"

    def __iter__(self) -> Iterator[Book]:
        """Every open book."""
        return iter(self._books.values())

    def of(self, who: Who, now_s: float) -> tuple[Book, ...]:
        """The books that this money counts in, rolled to `now_s`."""
        found = self._of.get(who)
        if found is None:
            found = self._find(who, now_s)
        for book in found:
            if now_s >= book.until_s:
                book.roll(now_s)
        return found

    def known(self, who: Who, now_s: float) -> tuple[Book, ...]:
        """Those that are open, of caps that say something before a provider is known.

        What nobody has spent on yet has no book, and no news.
        """
        found = self._of.get(who)
        if found is None:
            found = tuple(
                book
                for cap in self.caps
                if not covering.needs_provider(cap)
                and (subject := covering.subject_of(cap, who)) is not None
                and (book := self._books.get((cap.name, subject))) is not None
            )
        for book in found:
            if now_s >= book.until_s:
                book.roll(now_s)
        return found

    def of_cap(self, cap: Cap, subject: str, now_s: float) -> Book:
        """One book, opened if it is not."""
        book = self._books.get((cap.name, subject)) or self._open(cap, subject, now_s)
        book.roll(now_s)
        return book

    def spend(self, who: Who, at_s: float, nanousd: int, now_s: float) -> None:
        """Count what was spent without a hold of ours."""
        for book in self.of(who, now_s):
            book.spend(at_s, nanousd)
        self.remember(who, at_s, nanousd, now_s)

    def remember(
        self,
        who: Who,
        at_s: float,
        nanousd: int,
        now_s: float,
        tick_s: float = -inf,
    ) -> None:
        """What was spent stays known: in the store, or here where there is none."""
        if self._escrow is None:
            self.history.add(who, at_s, nanousd, now_s)
        else:
            self._escrow.spend(who, at_s, nanousd, tick_s)

    def replace(self, caps: Iterable[Cap], now_s: float) -> None:
        """Take other caps.

        Books of caps that cover the same, in the same windows, go on; all others are
        opened anew, from the history. The caller puts its open holds back.
        """
        old = self._books
        self.caps = tuple(caps)
        self._books = {}
        self._of = {}
        for (name, subject), book in old.items():
            cap = next((cap for cap in self.caps if cap.name == name), None)
            if cap is not None and _same_sum(cap, book.cap):
                book.roll(now_s)
                fresh = self._books[name, subject] = self._book(cap, subject, now_s)
                fresh.go_on_from(book)
            else:
                book.retire()

    # -- inside ------------------------------------------------------------------

    def _find(self, who: Who, now_s: float) -> tuple[Book, ...]:
        if len(self._of) >= WHO_CACHED_MAX:
            self._of.clear()
        found: list[Book] = []
        early: list[Book] = []
        for cap in self.caps:
            subject = covering.subject_of(cap, who)
            if subject is None:
                continue
            book = self._books.get((cap.name, subject))
            if book is None:
                book = self._open(cap, subject, now_s)
            found.append(book)
            if not covering.needs_provider(cap):
                early.append(book)
        self._of[who._replace(provider="")] = tuple(early)
        made = self._of[who] = tuple(found)
        return made

    def _open(self, cap: Cap, subject: str, now_s: float) -> Book:
        book = self._books[cap.name, subject] = self._book(cap, subject, now_s)
        for who, at_s, nanousd in self.history.all():
            if covering.subject_of(cap, who) == subject:
                book.spend(at_s, nanousd)
        book.roll(now_s)
        return book

    def _book(self, cap: Cap, subject: str, now_s: float) -> Book:
        return Book(cap, subject, now_s, self._escrow)


def _same_sum(one: Cap, other: Cap) -> bool:
    """Whether two caps add up the same money; how much and what then may differ."""
    return (
        one.window == other.window
        and one.per == other.per
        and one.rolling == other.rolling
        and one.zone == other.zone
        and one.sites == other.sites
        and one.keys == other.keys
        and one.models == other.models
        and one.providers == other.providers
    )
