"""SQLite in memory, in the caller's thread: for embedding without a disk, and tests.

No thread, so a `MockClock` that jumps jumps right. One process, one connection; a
statement cannot be cancelled, and what is asked of it should be small. Implements
`Database`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import apsw
import trio

from storage.sql.bells import READ_VERSION, Bell, Bells
from storage.sql.migrate import migrate
from storage.sql.port import (
    DatabaseUnavailable,
    Isolation,
    Kind,
    Query,
    Row,
    Transaction,
    Value,
)
from storage.sql.sqlite import transaction

T = TypeVar("T")

POLL_S: Final = 60.0  # Nobody else writes: every change rings.


class MemoryDatabase:
    """A store that ends with its process."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._bells = Bells(self._version, POLL_S)
        self.outage = ""  # Why it cannot be reached: for tests of what stands on it.

    def __repr__(self) -> str:
        return "<MemoryDatabase>"

    @property
    def kind(self) -> Kind:
        """See Database."""
        return "sqlite"

    async def read(self, sql: str, *args: Value) -> list[Row]:
        """See Database."""
        return await self.view(lambda query: query.rows(sql, *args))

    async def view(self, work: Callable[[Query], T]) -> T:
        """See Database."""
        await self._reach()
        self._connection.execute("PRAGMA query_only = ON")
        try:
            return transaction(self._connection, "BEGIN", work)[0]
        finally:
            self._connection.execute("PRAGMA query_only = OFF")

    async def transact(
        self, work: Callable[[Transaction], T], *, isolation: Isolation = "serializable"
    ) -> T:
        """See Database."""
        del isolation
        await self._reach()
        result, rung = transaction(self._connection, "BEGIN", work)
        for channel in rung:
            self._bells.ring(channel)
        return result

    async def subscribe(self, channel: str) -> Bell:
        """See Database."""
        return await self._bells.subscribe(channel)

    async def aclose(self) -> None:
        """See Database."""
        self.outage = "was closed"
        self._connection.close()

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.outage:
            raise DatabaseUnavailable(f"the store in memory {self.outage}")

    async def _version(self, channel: str) -> int:
        found = await self.read(READ_VERSION, channel)
        return int(found[0][0]) if found else 0


async def open_memory() -> MemoryDatabase:
    """With every table."""
    database = MemoryDatabase()
    await migrate(database)
    return database
