"""What one socket remembers, so that a turn can go on from its answers. Pure.

OpenAI keeps the latest answer of each lane with the connection, also where it was asked
not to store it (`store: false`): so do we, in memory, until the socket closes. A turn
that fails takes what it went on from along: the client has to begin with all it knows.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# A long agent's conversation is 1 MB of text; sixteen of those would be too dear.
MEMORY_BYTES_MAX: Final = 4 * 2**20


class LaneMemory:
    """Conversations by the id of their last answer; one for each lane."""

    def __init__(self, bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.size = 0
        self._items: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._latest: dict[str | None, str] = {}

    def __repr__(self) -> str:
        return f"<LaneMemory {len(self._items)} answers {self.size} bytes>"

    def recall(self, answer_id: str) -> tuple[bytes, ...] | None:
        """All that was said up to and with this answer, if it is known here."""
        return self._items.get(answer_id)

    def remember(
        self, lane: str | None, answer_id: str, items: tuple[bytes, ...]
    ) -> None:
        """The lane's latest answer, in the place of the one before."""
        former = self._latest.get(lane)
        if former is not None and former != answer_id:
            self.forget(former)
        size = sum(map(len, items))
        if size > self.bytes_max:
            return
        self.forget(answer_id)
        while self.size + size > self.bytes_max:
            self.forget(next(iter(self._items)))
        self._items[answer_id] = items
        self._latest[lane] = answer_id
        self.size += size

    def forget(self, answer_id: str) -> None:
        """Harmless where it is not known."""
        items = self._items.pop(answer_id, None)
        if items is not None:
            self.size -= sum(map(len, items))
