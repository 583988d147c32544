"""Keeps this process's providers paused as the database says.

Owns: which of them it has paused. A pause holds over restarts, in every process; where
the database is gone, what was paused stays so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio

from actors.archivist.ports import Unavailable
from actors.provider.pauses import PauseBook
from gateway.gate import Gate

AGAIN_S: Final = 1.0
# A provider that a reload has made anew knows of no pause: it is told again.
LOOK_S: Final = 30.0


class Pausing:
    """One process's ear on the pauses."""

    def __init__(self, gate: Gate, book: PauseBook) -> None:
        self._gate = gate
        self._book = book
        self._paused: set[str] = set()

    def __repr__(self) -> str:
        return f"<Pausing {sorted(self._paused)}>"

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with suppress(Unavailable):
                bell = await self._book.subscribe()
                try:
                    while True:
                        await self.apply()
                        with trio.move_on_after(LOOK_S):
                            await bell.wait()
                finally:
                    bell.close()
            await trio.sleep(AGAIN_S)

    async def apply(self) -> None:
        """Pause and resume as it says now. Raises Unavailable."""
        wanted = {one.provider: one.reason for one in await self._book.pauses()}
        for name in self._paused - wanted.keys():
            self._gate.pause(name, "")
        for name, reason in wanted.items():
            self._gate.pause(name, reason)
        self._paused = set(wanted)
