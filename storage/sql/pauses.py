"""Pauses of providers in the database. Implements `PauseBook`."""

from __future__ import annotations

from typing import Final

from actors.provider.pauses import Pause
from storage.sql.port import Database, Subscription, Transaction
from storage.sql.records import told

CHANNEL: Final = "provider_pauses"


class SqlPauses:
    """See PauseBook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"<SqlPauses {self._database!r}>"

    async def pauses(self) -> list[Pause]:
        """See PauseBook."""
        with told():
            rows = await self._database.read(
                "SELECT provider, reason, paused_by, paused_ms FROM provider_pause"
            )
        return [Pause(*row) for row in rows]

    async def pause(self, pause: Pause) -> None:
        """See PauseBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                "INSERT INTO provider_pause (provider, reason, paused_by, paused_ms) "
                "VALUES (?, ?, ?, ?) ON CONFLICT (provider) DO UPDATE SET "
                "reason = excluded.reason, paused_by = excluded.paused_by, "
                "paused_ms = excluded.paused_ms",
                pause.provider,
                pause.reason,
                pause.by,
                pause.at_ms,
            )
            tx.notify(CHANNEL)

        with told():
            await self._database.transact(work)

    async def resume(self, provider: str) -> None:
        """See PauseBook."""

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM provider_pause WHERE provider = ?", provider)
            tx.notify(CHANNEL)

        with told():
            await self._database.transact(work)

    async def subscribe(self) -> Subscription:
        """See PauseBook."""
        with told():
            return await self._database.subscribe(CHANNEL)
