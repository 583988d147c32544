"""What the granter needs of the outside: where requests wait, and keys by epoch."""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct


class StoreUnavailable(Exception):
    """It cannot be reached, or is full: who waits is told, nobody crashes."""


class GrantRow(Struct, frozen=True):
    """A request that waits, sealed. Whoever holds only this can open nothing."""

    request_id: str
    site: str
    expires_at_s: float
    sealed: bytes

    def __repr__(self) -> str:
        """Which one."""
        return f"<GrantRow {self.request_id} of {self.site}>"


class GrantStore(Protocol):
    """Requests that wait, shared by all that may be asked for them.

    Raises StoreUnavailable, and OSError where it lies in files.
    """

    async def put(self, row: GrantRow) -> bool:
        """Keep it until it expires; False when its site, or all, have too many."""
        ...

    async def claim(self, request_id: str) -> bytes | Literal["used", "unknown"]:
        """Give it out, to exactly one of all that ask."""
        ...


class EpochKeys(Protocol):
    """Random keys, one an epoch; those of epochs that are over are destroyed.

    Raises as GrantStore does.
    """

    async def make(self, epoch: int) -> bytes:
        """The epoch's key, made if there is none: one for all workers."""
        ...

    async def find(self, epoch: int) -> bytes | None:
        """The epoch's key, if there ever was one."""
        ...
