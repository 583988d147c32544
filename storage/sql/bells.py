"""Subscriptions over a row of versions: a poll that a ring makes early.

Owns: `Bells`, one a database. `notify` counts a row of `channel` up inside its
transaction, so a version that differs is the whole truth; the ring (a commit of this
process, PostgreSQL's NOTIFY) only shortens the wait for the next look. What is lost on
the way, a connection or a ring, costs time and never a change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from storage.sql.port import DatabaseUnavailable

READ_VERSION: Final = "SELECT version FROM channel WHERE name = ?"
COUNT_UP: Final = (
    "INSERT INTO channel (name, version) VALUES (?, 1) "
    "ON CONFLICT (name) DO UPDATE SET version = channel.version + 1"
)

ReadVersion = Callable[[str], Awaitable[int]]


class Bells:
    """Every subscription of one database."""

    def __init__(self, read_version: ReadVersion, poll_s: float) -> None:
        self.read_version = read_version
        self.poll_s = poll_s
        self._open: set[Bell] = set()

    def __repr__(self) -> str:
        return f"<Bells {len(self._open)} every {self.poll_s} s>"

    async def subscribe(self, channel: str) -> Bell:
        """Hear of a channel from now on."""
        bell = Bell(self, channel, await self.read_version(channel))
        self._open.add(bell)
        return bell

    def ring(self, channel: str | None) -> None:
        """Let the subscribers of a channel (None: of all) look now."""
        for bell in self._open:
            if channel is None or bell.channel == channel:
                bell.rung.set()

    def discard(self, bell: Bell) -> None:
        """It listens no more."""
        self._open.discard(bell)


class Bell:
    """See Subscription."""

    def __init__(self, bells: Bells, channel: str, seen: int) -> None:
        self.channel = channel
        self.rung = trio.Event()
        self._bells = bells
        self._seen = seen

    def __repr__(self) -> str:
        return f"<Bell {self.channel} seen={self._seen}>"

    async def wait(self) -> None:
        """See Subscription."""
        while True:
            # Anew before the look: a ring that comes during it is not lost.
            self.rung = trio.Event()
            try:
                version = await self._bells.read_version(self.channel)
            except DatabaseUnavailable:
                version = self._seen  # Nothing can change in it meanwhile.
            if version != self._seen:
                self._seen = version
                return
            with trio.move_on_after(self._bells.poll_s):
                await self.rung.wait()

    def close(self) -> None:
        """See Subscription."""
        self._bells.discard(self)
