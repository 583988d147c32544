"""Which providers operators have taken out of use: a port, shared by all processes."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Pause(Struct, frozen=True):
    """One provider that is out of use, and why."""

    provider: str
    reason: str
    by: str
    at_ms: int


class Wakeup(Protocol):
    """Hears that something has changed."""

    async def wait(self) -> None:
        """Return when it has since the last return, or since the start."""
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


class PauseBook(Protocol):
    """Where pauses are kept. Raises `actors.archivist.ports.Unavailable`."""

    async def pauses(self) -> list[Pause]:
        """All there are."""
        ...

    async def pause(self, pause: Pause) -> None:
        """Keep it, and wake every process."""
        ...

    async def resume(self, provider: str) -> None:
        """Forget it, and wake every process."""
        ...

    async def subscribe(self) -> Wakeup:
        """Hear of changes by any process."""
        ...
