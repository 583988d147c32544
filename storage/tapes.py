"""Answers that any worker can give again, in the database. Implements `TapeStore`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from actors.granter.ports import StoreUnavailable
from actors.tapes.ports import Part, Save, Saved, TapeRow
from storage.sql.port import Database, DatabaseUnavailable, Query, Row, Transaction

T = TypeVar("T")

EXPIRED_DELETED_MAX: Final = 200  # A sweep; there is one every few seconds.
CLAIM_TRIES: Final = 3  # Whoever has it may give it up between two statements.
PARTS_MAX: Final = 256  # Of one read: a minute of them.

_COLUMNS: Final = (
    "request_id, site, COALESCE(name, ''), digest, epoch, state, head, alive_ms, "
    "expires_ms"
)
# A name is, when its tape has expired, or its writer died before it had said anything.
_FREE: Final = (
    "(expires_ms <= ? OR (state = 'running' AND bytes = 0 AND alive_ms <= ?))"
)


class SqlTapes:
    """Tapes in two tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        """Where they are."""
        return f"<SqlTapes in {self._database.kind}>"

    async def claim(self, row: TapeRow, stale_ms: int) -> TapeRow | None:
        """See TapeStore."""

        def work(tx: Transaction) -> TapeRow | None:
            for _ in range(CLAIM_TRIES):
                for (gone,) in tx.rows(
                    f"SELECT request_id FROM tape WHERE name = ? AND {_FREE}",  # noqa: S608
                    row.name,
                    row.alive_ms,
                    stale_ms,
                ):
                    # Looked at again: its writer may have come back meanwhile.
                    sql = f"DELETE FROM tape WHERE request_id = ? AND {_FREE}"  # noqa: S608
                    if tx.run(sql, gone, row.alive_ms, stale_ms):
                        tx.run("DELETE FROM tape_part WHERE request_id = ?", gone)
                if _insert(tx, row):
                    return None
                sql = f"SELECT {_COLUMNS} FROM tape WHERE name = ?"  # noqa: S608
                found = tx.row(sql, row.name)
                if found is not None:
                    return _row(found)
            raise StoreUnavailable("the name is taken and given up all the time")

        return await self._do(work)

    async def save(self, saves: Sequence[Save]) -> Saved:
        """See TapeStore."""

        def work(tx: Transaction) -> Saved:
            lost = {save.row.request_id for save in saves if not self._save(tx, save)}
            marks = ", ".join("?" * len(saves))
            wanted = tx.rows(
                f"SELECT request_id FROM tape WHERE stop_wanted = 1 "  # noqa: S608
                f"AND request_id IN ({marks})",
                *(save.row.request_id for save in saves),
            )
            stops = frozenset(str(found[0]) for found in wanted)
            return Saved(stops, frozenset(lost))

        return await self._do(work)

    def _save(self, tx: Transaction, save: Save) -> bool:
        """False: it is not its writer's any more, and nothing is written."""
        row = save.row
        if not save.there:
            _insert(tx, row)
        size = sum(len(part.sealed) for part in save.parts)
        changed = tx.run(
            "UPDATE tape SET state = ?, head = ?, bytes = bytes + ?, alive_ms = ?, "
            "expires_ms = ? WHERE request_id = ?",
            row.state,
            row.head,
            size,
            row.alive_ms,
            row.expires_ms,
            row.request_id,
        )
        if not changed:
            return False
        if row.state == "gone":
            tx.run("DELETE FROM tape_part WHERE request_id = ?", row.request_id)
            tx.run("UPDATE tape SET bytes = 0 WHERE request_id = ?", row.request_id)
        if save.parts:
            tx.run_many(
                "INSERT INTO tape_part (request_id, number, sealed) VALUES (?, ?, ?) "
                "ON CONFLICT (request_id, number) DO NOTHING",
                [(row.request_id, part.number, part.sealed) for part in save.parts],
            )
        return True

    async def release(self, request_id: str) -> None:
        """See TapeStore."""

        def work(tx: Transaction) -> None:
            _delete(tx, request_id)

        await self._do(work)

    async def find(self, site: str | None, request_id: str) -> TapeRow | None:
        """See TapeStore."""

        def work(query: Query) -> TapeRow | None:
            found = _find(query, request_id)
            return found if found is not None and site in {None, found.site} else None

        return await self._view(work)

    async def parts(self, request_id: str, after: int) -> tuple[TapeRow, list[Part]]:
        """See TapeStore."""

        def work(query: Query) -> tuple[TapeRow, list[Part]] | None:
            row = _find(query, request_id)
            if row is None:
                return None
            rows = query.rows(
                "SELECT number, sealed FROM tape_part WHERE request_id = ? AND "
                "number >= ? ORDER BY number LIMIT ?",
                request_id,
                after,
                PARTS_MAX,
            )
            return row, [Part(int(number), bytes(sealed)) for number, sealed in rows]

        found = await self._view(work)
        if found is None:
            raise StoreUnavailable("the tape is gone")
        return found

    async def want_stop(self, request_id: str) -> None:
        """See TapeStore."""

        def work(tx: Transaction) -> None:
            tx.run("UPDATE tape SET stop_wanted = 1 WHERE request_id = ?", request_id)

        await self._do(work)

    async def sweep(self, now_ms: int, bytes_max: int) -> None:
        """See TapeStore."""

        def work(tx: Transaction) -> None:
            gone = tx.rows(
                "SELECT request_id FROM tape WHERE expires_ms <= ? "
                "ORDER BY expires_ms LIMIT ?",
                now_ms,
                EXPIRED_DELETED_MAX,
            )
            for (request_id,) in gone:
                _delete(tx, str(request_id))
            held = tx.row("SELECT COALESCE(SUM(bytes), 0) FROM tape")
            over = int(held[0]) - bytes_max if held is not None else 0
            if over <= 0:
                return
            for request_id, size in tx.rows(
                "SELECT request_id, bytes FROM tape WHERE state NOT IN "
                "('running', 'gone') AND bytes > 0 ORDER BY expires_ms LIMIT ?",
                EXPIRED_DELETED_MAX,
            ):
                tx.run("DELETE FROM tape_part WHERE request_id = ?", request_id)
                tx.run(
                    "UPDATE tape SET state = 'gone', bytes = 0 WHERE request_id = ?",
                    request_id,
                )
                over -= int(size)
                if over <= 0:
                    return

        await self._do(work)

    async def _do(self, work: Callable[[Transaction], T]) -> T:
        try:
            return await self._database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None

    async def _view(self, work: Callable[[Query], T]) -> T:
        try:
            return await self._database.view(work)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None


def _insert(tx: Transaction, row: TapeRow) -> bool:
    """False: it, or its name, is there already."""
    changed = tx.run(
        "INSERT INTO tape (request_id, site, name, digest, epoch, state, head, bytes, "
        "alive_ms, expires_ms, stop_wanted) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 0) "
        "ON CONFLICT DO NOTHING",
        row.request_id,
        row.site,
        row.name or None,
        row.digest,
        row.epoch,
        row.state,
        row.head,
        row.alive_ms,
        row.expires_ms,
    )
    return changed == 1


def _delete(tx: Transaction, request_id: str) -> None:
    tx.run("DELETE FROM tape_part WHERE request_id = ?", request_id)
    tx.run("DELETE FROM tape WHERE request_id = ?", request_id)


def _find(query: Query, request_id: str) -> TapeRow | None:
    sql = f"SELECT {_COLUMNS} FROM tape WHERE request_id = ?"  # noqa: S608 - constant
    found = query.row(sql, request_id)
    return None if found is None else _row(found)


def _row(found: Row) -> TapeRow:
    return TapeRow(
        request_id=str(found[0]),
        site=str(found[1]),
        name=str(found[2]),
        digest=bytes(found[3]),
        epoch=int(found[4]),
        state=found[5],
        head=bytes(found[6]),
        alive_ms=int(found[7]),
        expires_ms=int(found[8]),
    )
