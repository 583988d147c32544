"""Signals, from before a gateway's start until after its end.

Owns: the handlers. trio's own receiver gives them back before the tree has stopped, and
raises again what nobody has read: a second SIGTERM, or a SIGHUP while streams finish,
would kill the process with records unwritten.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

import trio

WANTED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT})


class Signals:
    """What came and was not read yet. Of one kind, one: a storm is one reload."""

    def __init__(self) -> None:
        self._came: dict[int, None] = {}
        self._more = trio.Event()

    def __repr__(self) -> str:
        """What waits."""
        names = [signal.Signals(number).name for number in self._came]
        return f"<Signals {names}>"

    async def next(self) -> int:
        """Wait for one."""
        while not self._came:
            self._more = trio.Event()
            await self._more.wait()
        number = next(iter(self._came))
        del self._came[number]
        return number

    async def stop(self) -> None:
        """Wait for one that means stop; the others mean nothing any more."""
        while await self.next() not in STOPS:
            pass

    def note(self, number: int) -> None:
        """One came."""
        self._came[number] = None
        self._more.set()


class WorkerSignals(Signals):
    """The same for a worker, whose parent says what they mean.

    A terminal or systemd signals every process of the gateway, and the parent tells the
    worker besides: only the parent may mean it twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told = False

    def note(self, number: int) -> None:
        """One came; of those that mean stop, the first counts."""
        if number in STOPS:
            if self._told:
                return
            self._told = True
        super().note(number)

    def hurry(self) -> None:
        """The parent was told twice to stop."""
        self._told = True
        super().note(signal.SIGTERM)


SomeSignals = TypeVar("SomeSignals", bound=Signals)


@contextmanager
def listening(signals: SomeSignals) -> Generator[SomeSignals]:
    """Take the signals inside this block. What is unread at its end is dropped."""
    token = trio.lowlevel.current_trio_token()

    def handler(number: int, _frame: FrameType | None) -> None:
        # Handlers run between any two instructions: the loop notes it in its turn.
        token.run_sync_soon(signals.note, number, idempotent=True)

    before = {number: signal.signal(number, handler) for number in WANTED}
    try:
        yield signals
    finally:
        for number, old in before.items():
            signal.signal(number, old)
