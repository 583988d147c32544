"""What tapes need of the outside: a store that other workers read too.

Nothing in it can be read without the epoch's key. Raises StoreUnavailable throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

State = Literal["running", "complete", "broken", "cancelled", "left", "gone"]
"""As `End`, before it; `gone`: its items had to go, that it was is remembered."""


class TapeRow(Struct, frozen=True):
    """A tape as others find it. `name` is a digest, empty without one."""

    request_id: str
    site: str
    name: str
    digest: bytes
    epoch: int
    state: State
    head: bytes
    alive_ms: int
    expires_ms: int

    def __repr__(self) -> str:
        """Which one."""
        return f"<TapeRow {self.request_id} {self.state}>"


class Part(Struct, frozen=True):
    """Items of a tape, sealed; `number` is that of the first."""

    number: int
    sealed: bytes

    def __repr__(self) -> str:
        """Where it stands."""
        return f"<Part {self.number} {len(self.sealed)} bytes>"


class Save(Struct, frozen=True):
    """What is new of a tape. `there`: it was written before, and must still be."""

    row: TapeRow
    parts: tuple[Part, ...]
    there: bool = False


class Saved(Struct, frozen=True):
    """What their writer learns: which of them to end, and which are not its own now."""

    stops: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


class TapeStore(Protocol):
    """Tapes of all workers."""

    async def claim(self, row: TapeRow, stale_ms: int) -> TapeRow | None:
        """Take its name, None; or whoever has it.

        One that has expired, or whose writer was last heard of before `stale_ms` and
        had said nothing yet, gives its name up.
        """
        ...

    async def save(self, saves: Sequence[Save]) -> Saved:
        """Write what is new.

        One that should be there and is not was given up: nothing of it is written.
        """
        ...

    async def release(self, request_id: str) -> None:
        """Forget it, and its name."""
        ...

    async def find(self, site: str | None, request_id: str) -> TapeRow | None:
        """The tape of a request; of any site, for whoever has shown it otherwise."""
        ...

    async def parts(self, request_id: str, after: int) -> tuple[TapeRow, list[Part]]:
        """Where it stands, and its parts from an item's number on, in order."""
        ...

    async def want_stop(self, request_id: str) -> None:
        """Tell its writer to stop."""
        ...

    async def sweep(self, now_ms: int, bytes_max: int) -> None:
        """Delete what has expired; beyond the bound the oldest lose their items."""
        ...
