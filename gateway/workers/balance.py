"""Which worker takes the next connection from the queue that all share.

Whoever wakes first would take whole bursts: of 32 connections at once one of two
workers was measured to get 31. So each tells the others how many it has, in a page of
shared memory, and one that has more than another lets that one go first, for a moment.
Nothing is locked: a number that is a moment old makes a share a little less fair.

Owns: the page. A worker that dies is taken out by the parent, so nobody waits for it.
"""

from __future__ import annotations

import mmap
from typing import Final

WAIT_S: Final = 0.002  # Some turns of a busy loop; then the connection is taken.
GONE: Final = -1
_BYTES: Final = 8


class Balance:
    """The connections of each worker, seen by all. Made before the first fork."""

    def __init__(self, workers: int) -> None:
        # Anonymous and shared: a fork sees the same page.
        self._page = mmap.mmap(-1, workers * _BYTES)
        self._counts = memoryview(self._page).cast("q")
        for place in range(workers):
            self._counts[place] = GONE

    def __repr__(self) -> str:
        """Everybody's number."""
        return f"<Balance {list(self._counts)}>"

    def note(self, number: int, connections: int) -> None:
        """Worker `number`, from 1, has so many connections."""
        self._counts[number - 1] = connections

    def gone(self, number: int) -> None:
        """It takes none, until it notes some again."""
        self._counts[number - 1] = GONE

    def wait_s(self, number: int) -> float:
        """How long this one lets the others go first."""
        mine = self._counts[number - 1]
        for count in self._counts:
            if GONE < count < mine:
                return WAIT_S
        return 0.0


class Share:
    """One worker's part in it: what its listener asks and tells."""

    def __init__(self, balance: Balance, number: int) -> None:
        self._balance = balance
        self._number = number

    def __repr__(self) -> str:
        """Whose."""
        return f"<Share {self._number} of {self._balance!r}>"

    def note(self, connections: int) -> None:
        """So many are open."""
        self._balance.note(self._number, connections)

    def gone(self) -> None:
        """No more are taken."""
        self._balance.gone(self._number)

    def wait_s(self) -> float:
        """How long to let the others go first."""
        return self._balance.wait_s(self._number)
