"""Who is served next, of several sites that wait for one provider. Pure, no clock.

Start-time fair queueing: each site has its own line, and a virtual time that goes on
with what it was served, the slower the larger its share. The site with the least is
next. So one that floods the queue waits behind itself, and one that comes seldom is
served at once; nobody saves up for the time that it was away.

When the queue is full, room is made at the end of the longest line: its own site's
last, not somebody who waits alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Lines by flow (a site). Bounds are the caller's: `len`, and `push_out`."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[float, T]]] = {}  # Those that are not empty.
        self._served: dict[str, float] = {}  # Finish of each waiting flow's last item.
        self._now = 0.0  # The start of the item that was served last.
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<FairQueue {self._count} of {len(self._lines)} flows>"

    def push(
        self, flow: str, item: T, *, share: float = 1.0, size: float = 1.0
    ) -> None:
        """Wait in this flow's line. Twice the share is served twice as often."""
        line = self._lines.get(flow)
        if line is None:
            line = self._lines[flow] = deque()
        start = max(self._now, self._served.get(flow, 0.0))
        self._served[flow] = start + size / share
        line.append((start, item))
        self._count += 1

    def pop(self) -> T:
        """Whoever is next. Raises IndexError when nobody waits."""
        if not self._lines:
            raise IndexError("pop from an empty queue")
        # Insertion order breaks ties: a new line is behind those that wait already.
        flow = min(self._lines, key=lambda name: self._lines[name][0][0])
        line = self._lines[flow]
        self._now, item = line.popleft()
        self._count -= 1
        if not line:
            del self._lines[flow]
        if not self._lines:
            self._rest()
        elif len(self._served) > 2 * len(self._lines) + 64:
            self._forget()
        return item

    def push_out(self, flow: str) -> T | None:
        """Make room for this flow: the last of the longest line, None if it is its own.

        A flow that waits as long as any other may not push anybody out.
        """
        if not self._lines:
            return None
        longest = max(self._lines, key=lambda name: len(self._lines[name]))
        own = len(self._lines.get(flow, ()))
        line = self._lines[longest]
        if longest == flow or len(line) <= own + 1:
            return None
        start, item = line.pop()
        self._served[longest] = start
        self._count -= 1
        return item

    def drop(self, gone: Callable[[T], bool]) -> None:
        """Take out those who have left. The others keep their turns."""
        for flow, line in list(self._lines.items()):
            left = deque(entry for entry in line if not gone(entry[1]))
            self._count -= len(line) - len(left)
            if left:
                self._lines[flow] = left
            else:
                del self._lines[flow]
        if not self._lines:
            self._rest()

    def _rest(self) -> None:
        """Nobody waits: nobody is owed anything, or owes."""
        self._served.clear()
        self._now = 0.0

    def _forget(self) -> None:
        """Flows that are not ahead of the time begin at it anyway."""
        self._served = {
            flow: at
            for flow, at in self._served.items()
            if flow in self._lines or at > self._now
        }
