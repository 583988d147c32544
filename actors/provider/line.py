"""Who waits for a provider's places: its own queue, and those who wait elsewhere.

A request whose candidates are all full waits in the queue of one, and stands by at the
others: a place that nobody of their own waits for is better taken than left. Owns the
replies until they are given. Never decides who may wait: the provider does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from actors.provider.fair import FairQueue
from actors.provider.messages import Admit, Permit, Refused
from runtime import Deferred

Reply: TypeAlias = Deferred[Permit | Refused]
Waiting: TypeAlias = tuple[Admit, Reply]

STANDBY_MAX: Final = 1024  # They have a place in a queue elsewhere: this one is extra.


class Line:
    """Both queues of one life. Its length is that of its own queue."""

    def __init__(self) -> None:
        self._own: FairQueue[Waiting] = FairQueue()
        self._standby: FairQueue[Waiting] = FairQueue()

    def __len__(self) -> int:
        return len(self._own)

    def __repr__(self) -> str:
        return f"<Line own={len(self._own)} standby={len(self._standby)}>"

    def wait(self, msg: Admit) -> Reply:
        """Queue the asker; the caller has seen to the bound."""
        return _pushed(self._own, msg)

    def stand_by(self, msg: Admit) -> Reply | None:
        """Remember the asker for when nobody waits here; None: too many do."""
        if len(self._standby) >= STANDBY_MAX:
            # Most of them have long found a place.
            self._standby.drop(_has_left)
            if len(self._standby) >= STANDBY_MAX:
                return None
        return _pushed(self._standby, msg)

    def forget_gone(self) -> None:
        """Let those out who have left."""
        self._own.drop(_has_left)

    def push_out(self, site: str) -> Reply | None:
        """Who makes room for this site, as `FairQueue.push_out`."""
        last = self._own.push_out(site)
        return None if last is None else last[1]

    def next(self) -> Waiting | None:
        """Whose turn it is; None: nobody waits."""
        for line in (self._own, self._standby):
            while line:
                waiting = line.pop()
                if not _has_left(waiting):
                    return waiting
        return None

    def everybody(self) -> Iterator[Reply]:
        """Whoever waits, taken out."""
        while (waiting := self.next()) is not None:
            yield waiting[1]


def _pushed(line: FairQueue[Waiting], msg: Admit) -> Reply:
    deferred: Reply = Deferred()
    line.push(msg.site, (msg, deferred))
    return deferred


def _has_left(waiting: Waiting) -> bool:
    return waiting[1].abandoned
