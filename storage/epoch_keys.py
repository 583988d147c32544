"""Random keys by epoch, wrapped by the vault's KMS, shared through the database.

Of several workers that make the same epoch's key one wins, and its key is everybody's.
Whoever reads the database alone has ciphertext. Where several machines share it, they
share the KMS too (or the root key file, with the local one). Implements `EpochKeys`.
"""

from __future__ import annotations

from typing import Final

from actors.granter.ports import StoreUnavailable
from actors.vault.locked import LockedBytes
from actors.vault.ports import ContextMismatch, KmsContext, KmsError
from actors.vault.safe import Safe
from storage.sql.port import Database, DatabaseUnavailable, Transaction

KEPT: Final = 2  # Epochs before this one whose keys may still be asked for.


class SqlEpochKeys:
    """Keys in a table.

    Args:
        tenant, environment: what the KMS binds wrapped keys to, beside the epoch: its
            own policies may be about them.
    """

    def __init__(
        self, database: Database, safe: Safe, *, tenant: str, environment: str
    ) -> None:
        self._database = database
        self._safe = safe
        self._tenant = tenant
        self._environment = environment

    def __repr__(self) -> str:
        """Where they are."""
        return f"<SqlEpochKeys in {self._database.kind}>"

    async def make(self, epoch: int) -> bytes:
        """See EpochKeys. Raises StoreUnavailable."""
        found = await self.find(epoch)
        if found is not None:
            return found
        name = self._safe.seals_with
        try:
            made = await self._safe.kms(name).generate(self._context(epoch))
        except KmsError as error:
            raise StoreUnavailable(type(error).__name__) from None
        made.key.wipe()

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM epoch_key WHERE epoch < ?", epoch - KEPT)
            tx.run(
                "INSERT INTO epoch_key (epoch, kms, blob) VALUES (?, ?, ?) "
                "ON CONFLICT (epoch) DO NOTHING",
                epoch,
                name,
                made.blob,
            )

        try:
            await self._database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None
        # Not the one just made: another worker may have been first.
        found = await self.find(epoch)
        if found is None:
            raise StoreUnavailable("the key that was made is not there")
        return found

    async def find(self, epoch: int) -> bytes | None:
        """See EpochKeys. Raises StoreUnavailable."""
        try:
            rows = await self._database.read(
                "SELECT kms, blob FROM epoch_key WHERE epoch = ?", epoch
            )
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None
        if not rows:
            return None
        kms, blob = rows[0]
        try:
            key = await self._safe.kms(str(kms)).unwrap(
                bytes(blob), self._context(epoch)
            )
        except ContextMismatch:
            await self._drop(epoch, bytes(blob))
            return None
        except KmsError as error:
            raise StoreUnavailable(type(error).__name__) from None
        return _taken(key)

    async def _drop(self, epoch: int, blob: bytes) -> None:
        """One that the KMS does not know any more is lost, with what it protected."""

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM epoch_key WHERE epoch = ? AND blob = ?", epoch, blob)

        try:
            await self._database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise StoreUnavailable(type(error).__name__) from None

    def _context(self, epoch: int) -> KmsContext:
        return {
            "tenant": self._tenant,
            "env": self._environment,
            "kek": f"epoch/{epoch}",
        }


def _taken(key: LockedBytes) -> bytes:
    try:
        return bytes(key.view)
    finally:
        key.wipe()
