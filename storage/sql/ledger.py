"""The ledger's shared store over SQL: one transaction a sync, whichever database.

Implements `LedgerStore`. Rows are locked in one order everywhere (state, replica,
lines, sums, rates), so that replicas wait for each other and never in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from actors.ledger.messages import Cap, Spend
from actors.ledger.ports import LedgerStoreLost
from actors.ledger.shares import Peer, Sync, Synced
from storage.sql import ledger_ends
from storage.sql import ledger_rows as rows
from storage.sql.ledger_visit import Visit
from storage.sql.port import Database, DatabaseUnavailable, Transaction

T = TypeVar("T")


class LedgerSql:
    """What all processes of a database share."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._caps: dict[str, Cap] = {}
        self._version = -1

    def __repr__(self) -> str:
        """Where it is."""
        return f"<LedgerSql {self.database!r}>"

    async def sync(self, sync: Sync) -> Synced:
        """See LedgerStore."""
        if sync.instance:
            await self._transact(lambda tx: ledger_ends.bury_ancestors(tx, sync))
        known = self._version, self._caps
        visit = await self._transact(lambda tx: Visit(tx, sync, *known).make())
        self._version, self._caps = visit.version, visit.caps
        return visit.said

    async def bury(self, dead: tuple[Peer, ...], now_s: float) -> int:
        """See LedgerStore."""

        def work(tx: Transaction) -> int:
            return sum(
                ledger_ends.bury(tx, peer.replica, now_s, beats=peer.beats)
                for peer in dead
            )

        return await self._transact(work)

    async def restart(self, caps: tuple[Cap, ...], subject: str, now_s: float) -> int:
        """See LedgerStore."""
        return await self._transact(
            lambda tx: ledger_ends.restart(tx, caps, subject, now_s)
        )

    async def tidy(self, now_s: float) -> None:
        """See LedgerStore."""
        await self._transact(lambda tx: ledger_ends.tidy(tx, now_s))

    async def is_new(self) -> bool:
        """Whether nobody has used it yet."""
        found = await self.database.read(
            "SELECT version FROM ledger_state WHERE id = 1"
        )
        return not found[0][0]

    async def adopt(self, spends: Sequence[Spend]) -> None:
        """Begin with what was spent before there was this store; the first one does."""

        def work(tx: Transaction) -> None:
            row = tx.row("SELECT version FROM ledger_state WHERE id = 1 FOR UPDATE")
            if row is None or row[0]:
                return
            tx.run("UPDATE ledger_state SET version = 1 WHERE id = 1")
            rows.write_lines(tx, map(rows.line, spends))

        await self._transact(work)

    async def _transact(self, work: Callable[[Transaction], T]) -> T:
        try:
            # Hot rows are waited for: serializable, their losers would run again.
            return await self.database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise LedgerStoreLost(str(error)) from None
