"""What the admin API keeps: tokens, and which writes were done already.

Implements `TokenBook` and `IdempotencyBook` (actors/adminbooks.py).
"""

from __future__ import annotations

from typing import Final

import msgspec

from actors.adminbooks import Claim, Claimed, Done, Running, Taken, TokenRow
from storage.sql.port import Database, Duplicate, Row, Transaction
from storage.sql.records import told

_COLUMNS: Final = (
    "id, name, role, tenants, prefix, created_ms, created_by, expires_ms, revoked_ms, "
    "used_ms"
)


class SqlTokens:
    """Admin tokens, by digest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"<SqlTokens {self._database!r}>"

    async def find_token(self, digest: bytes) -> TokenRow | None:
        """See TokenBook."""
        return await self._one("digest = ?", digest)

    async def get_token(self, token_id: str) -> TokenRow | None:
        """See TokenBook."""
        return await self._one("id = ?", token_id)

    async def list_tokens(self, after: str, limit: int) -> list[TokenRow]:
        """See TokenBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_COLUMNS} FROM admin_token WHERE id > ? ORDER BY id LIMIT ?",
                after,
                limit,
            )
        return [_token(row) for row in rows]

    async def add_token(self, row: TokenRow, digest: bytes) -> None:
        """See TokenBook."""
        tenants = None if row.tenants is None else _json(row.tenants)

        def work(tx: Transaction) -> None:
            tx.run(
                f"INSERT INTO admin_token ({_COLUMNS}, digest) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row.id,
                row.name,
                row.role,
                tenants,
                row.prefix,
                row.created_ms,
                row.created_by,
                row.expires_ms,
                row.revoked_ms,
                row.used_ms,
                digest,
            )

        try:
            with told():
                await self._database.transact(work)
        except Duplicate:
            raise Taken(f"a token is called {row.name} already") from None

    async def revoke_token(self, token_id: str, now_ms: int) -> bool:
        """See TokenBook."""
        return await self._set(
            "revoked_ms", token_id, now_ms, " AND revoked_ms IS NULL"
        )

    async def token_used(self, token_id: str, now_ms: int) -> None:
        """See TokenBook."""
        await self._set("used_ms", token_id, now_ms, "")

    async def _set(self, column: str, token_id: str, now_ms: int, more: str) -> bool:
        def work(tx: Transaction) -> bool:
            sql = f"UPDATE admin_token SET {column} = ? WHERE id = ?{more}"
            return tx.run(sql, now_ms, token_id) == 1

        with told():
            return await self._database.transact(work)

    async def _one(self, where: str, value: str | bytes) -> TokenRow | None:
        with told():
            rows = await self._database.read(
                f"SELECT {_COLUMNS} FROM admin_token WHERE {where}",
                value,
            )
        return _token(rows[0]) if rows else None


class SqlRepeats:
    """Writes that were sent under a key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"<SqlRepeats {self._database!r}>"

    async def claim(
        self, key: bytes, fingerprint: bytes, now_ms: int, until_ms: int
    ) -> Claim:
        """See IdempotencyBook."""

        def work(tx: Transaction) -> Claim:
            taken = tx.run(
                "INSERT INTO admin_repeat (key, fingerprint, sealed, until_ms) "
                "VALUES (?, ?, NULL, ?) ON CONFLICT (key) DO UPDATE SET "
                "fingerprint = excluded.fingerprint, sealed = NULL, "
                "until_ms = excluded.until_ms WHERE admin_repeat.until_ms < ?",
                key,
                fingerprint,
                until_ms,
                now_ms,
            )
            if taken:
                return Claimed()
            row = tx.row(
                "SELECT fingerprint, sealed FROM admin_repeat WHERE key = ?", key
            )
            assert row is not None  # It was the reason why nothing was inserted.
            return Running(row[0]) if row[1] is None else Done(row[0], row[1])

        with told():
            return await self._database.transact(work)

    async def finish(self, key: bytes, sealed: bytes, until_ms: int) -> None:
        """See IdempotencyBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                "UPDATE admin_repeat SET sealed = ?, until_ms = ? WHERE key = ?",
                sealed,
                until_ms,
                key,
            )

        with told():
            await self._database.transact(work)

    async def release(self, key: bytes) -> None:
        """See IdempotencyBook."""

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM admin_repeat WHERE key = ? AND sealed IS NULL", key)

        with told():
            await self._database.transact(work)


def _json(tenants: tuple[str, ...]) -> str:
    return msgspec.json.encode(tenants).decode()


def _token(row: Row) -> TokenRow:
    values = list(row)
    if values[3] is not None:
        values[3] = msgspec.json.decode(values[3], type=tuple[str, ...])
    return TokenRow(*values)
