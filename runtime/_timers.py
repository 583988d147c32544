"""Alarms of all actors in one heap, with one task: a lease needs no task to expire.

A sleeping task costs 12 us and 3 KiB an alarm, an entry here 2 us and 200 bytes. An
alarm dies with the incarnation that set it.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from runtime._cell import Cell
    from runtime.system import System

# Cancelled alarms stay in the heap until they are half of it; below this, who cares.
DEAD_ALARMS_MIN = 64


class Timer:
    """An alarm that is set. Cancel it, or let it ring."""

    __slots__ = ("_timers", "at_s", "cell", "msg")

    def __init__(self, timers: Timers, cell: Cell, at_s: float, msg: Any) -> None:
        self._timers = timers
        self.cell: Cell | None = cell
        self.at_s = at_s
        self.msg = msg

    def __repr__(self) -> str:
        whose = f"of {self.cell.id} at t={self.at_s:.3f}" if self.cell else "spent"
        return f"<Timer {whose}>"

    def cancel(self) -> None:
        """Do not ring. Cancelling twice, or after ringing, does nothing."""
        if self.cell is not None:
            if self.cell.timers is not None:
                self.cell.timers.pop(self, None)
            self.cell = None
            self._timers.note_dead()


class Timers:
    """The heap and its task, which starts with the first alarm."""

    __slots__ = (
        "_closed",
        "_dead",
        "_due_s",
        "_heap",
        "_scope",
        "_serial",
        "_started",
        "_system",
    )

    def __init__(self, system: System) -> None:
        self._system = system
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0
        self._dead = 0
        self._started = False
        self._closed = False
        self._scope: trio.CancelScope | None = None
        self._due_s = inf  # The scope's deadline; asking it takes longer.

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def set(self, cell: Cell, at_s: float, msg: Any) -> Timer:
        """Ring at a time: the message arrives on the control lane."""
        timer = Timer(self, cell, at_s, msg)
        self._serial += 1  # Alarms for the same moment ring in the order they were set.
        heappush(self._heap, (at_s, self._serial, timer))
        if cell.timers is None:
            cell.timers = {}
        cell.timers[timer] = None
        if not self._started:
            self._started = True
            self._system.start(self._run, name="timers")
        elif at_s < self._due_s and self._scope is not None:
            self._scope.deadline = self._due_s = at_s
        return timer

    def note_dead(self) -> None:
        """An alarm was cancelled; sweep when the dead are the most."""
        self._dead += 1
        if self._dead > DEAD_ALARMS_MIN and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].cell is not None]
            heapify(self._heap)
            self._dead = 0

    def close(self) -> None:
        """The system has ended."""
        self._closed = True
        if self._scope is not None:
            self._scope.cancel(reason="the system has ended")

    async def _run(self) -> None:
        while not self._closed:
            self._ring(trio.current_time())
            self._due_s = self._heap[0][0] if self._heap else inf
            with trio.CancelScope(deadline=self._due_s, shield=True) as self._scope:
                await trio.sleep_forever()

    def _ring(self, now_s: float) -> None:
        while self._heap and self._heap[0][0] <= now_s:
            timer = heappop(self._heap)[2]
            cell = timer.cell
            if cell is None:
                self._dead -= 1
                continue
            timer.cell = None
            if cell.timers is not None:
                cell.timers.pop(timer, None)
            cell.put_control(timer.msg)
