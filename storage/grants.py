"""Requests that wait for a browser, in the database that all workers share.

The claim is one conditional UPDATE: of any number of workers that try, one changes the
row. Expired rows go with the next grant that is made. Implements `GrantStore`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from actors.granter.memory import SITE_SHARE_DEN, WAITING_BYTES_MAX, WAITING_MAX
from actors.granter.ports import GrantRow, StoreUnavailable
from storage.sql.port import Database, DatabaseUnavailable, Transaction

EXPIRED_DELETED_MAX: Final = 500  # A grant clears what others left, in a millisecond.


class SqlGrants:
    """`GrantStore` over SQL."""

    def __init__(
        self,
        database: Database,
        wall: Callable[[], float],
        *,
        waiting_max: int = WAITING_MAX,
        bytes_max: int = WAITING_BYTES_MAX,
    ) -> None:
        self.waiting_max = waiting_max
        self.bytes_max = bytes_max
        self._database = database
        self._wall = wall

    def __repr__(self) -> str:
        """Where they wait."""
        return f"<SqlGrants in {self._database.kind}>"

    async def put(self, row: GrantRow) -> bool:
        """See GrantStore. Raises StoreUnavailable."""
        now_ms = round(self._wall() * 1000)

        def work(tx: Transaction) -> bool:
            tx.run(
                "DELETE FROM stream_grant WHERE request_id IN (SELECT request_id "
                "FROM stream_grant WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)",
                now_ms,
                EXPIRED_DELETED_MAX,
            )
            if not self._has_room(tx, row, now_ms):
                return False
            tx.run(
                "INSERT INTO stream_grant (request_id, site, expires_ms, sealed) "
                "VALUES (?, ?, ?, ?)",
                row.request_id,
                row.site,
                round(row.expires_at_s * 1000),
                row.sealed,
            )
            return True

        try:
            # The bounds are for memory, not for money: two at once may both fit.
            return await self._database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None

    def _has_room(self, tx: Transaction, row: GrantRow, now_ms: int) -> bool:
        size = len(row.sealed)
        found = tx.row(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(sealed)), 0), "
            "COALESCE(SUM(CASE WHEN site = ? THEN 1 ELSE 0 END), 0), "
            "COALESCE(SUM(CASE WHEN site = ? THEN LENGTH(sealed) ELSE 0 END), 0) "
            "FROM stream_grant WHERE expires_ms > ?",
            row.site,
            row.site,
            now_ms,
        )
        count, held, own, own_held = found or (0, 0, 0, 0)
        return bool(
            count < self.waiting_max
            and held + size <= self.bytes_max
            and own < self.waiting_max // SITE_SHARE_DEN
            and own_held + size <= self.bytes_max // SITE_SHARE_DEN
        )

    async def claim(self, request_id: str) -> bytes | Literal["used", "unknown"]:
        """See GrantStore. Raises StoreUnavailable."""
        now_ms = round(self._wall() * 1000)

        def work(tx: Transaction) -> bytes | Literal["used", "unknown"]:
            found = tx.row(
                "SELECT sealed FROM stream_grant WHERE request_id = ? "
                "AND expires_ms > ? FOR UPDATE",
                request_id,
                now_ms,
            )
            if found is None:
                return "unknown"
            sealed = bytes(found[0])
            if not sealed:
                return "used"
            changed = tx.run(
                "UPDATE stream_grant SET sealed = ? WHERE request_id = ?",
                b"",
                request_id,
            )
            assert changed == 1, "a locked row was there"
            return sealed

        try:
            return await self._database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None
