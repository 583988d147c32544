"""The ledger's shared store for tests of pure code: real SQL, nothing that waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any, TypeVar

import apsw

from storage.sql.ledger import LedgerSql
from storage.sql.migrate import shipped
from storage.sql.port import Isolation, Kind, Query, Row, Transaction, Value
from storage.sql.sqlite import transaction
from storage.sql.words import migration_for_sqlite

T = TypeVar("T")


@lru_cache(1)
def _empty() -> bytes:
    """A file with the ledger's tables."""
    connection = apsw.Connection(":memory:")
    for one in shipped():
        if one.name == "ledger":
            connection.execute(migration_for_sqlite(one.text))
    return bytes(connection.serialize("main"))


class PlainDatabase:
    """SQLite in memory whose methods never suspend."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.deserialize("main", _empty())

    @property
    def kind(self) -> Kind:
        return "sqlite"

    async def read(self, sql: str, *args: Value) -> list[Row]:
        return self.rows(sql, *args)

    async def view(self, work: Callable[[Query], T]) -> T:
        return transaction(self.connection, "BEGIN", work)[0]

    async def transact(
        self, work: Callable[[Transaction], T], *, isolation: Isolation = "serializable"
    ) -> T:
        return transaction(self.connection, "BEGIN", work)[0]

    async def subscribe(self, channel: str) -> Any:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.connection.close()

    def rows(self, sql: str, *args: Value) -> list[Row]:
        return list(self.connection.execute(sql, args))


def now(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine that never suspends comes to."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


def open_store() -> tuple[LedgerSql, PlainDatabase]:
    """A new one."""
    database = PlainDatabase()
    return LedgerSql(database), database
