"""Secrets of webhooks, wrapped by the vault's KMS. Implements the herald's `Secrets`.

A secret is 256 random bits of the KMS. The database has it wrapped, bound to its
webhook: whoever reads or swaps rows there can sign nothing.
"""

from __future__ import annotations

from actors.herald.ports import Sealed, SecretUnavailable
from actors.vault.locked import LockedBytes
from actors.vault.ports import KmsContext, KmsError
from actors.vault.safe import Safe


class KmsSecrets:
    """See Secrets."""

    def __init__(self, safe: Safe, *, tenant: str, environment: str) -> None:
        self._safe = safe
        self._tenant = tenant
        self._environment = environment

    def __repr__(self) -> str:
        return "<KmsSecrets>"

    async def make(self, webhook_id: str) -> tuple[bytes, Sealed]:
        """See Secrets."""
        name = self._safe.seals_with
        try:
            made = await self._safe.kms(name).generate(self._context(webhook_id))
        except KmsError as error:
            raise SecretUnavailable(type(error).__name__) from None
        return _taken(made.key), Sealed(name, made.blob)

    async def open(self, webhook_id: str, sealed: Sealed) -> bytes:
        """See Secrets."""
        try:
            key = await self._safe.kms(sealed.kms).unwrap(
                sealed.blob, self._context(webhook_id)
            )
        except KmsError as error:
            raise SecretUnavailable(type(error).__name__) from None
        return _taken(key)

    def _context(self, webhook_id: str) -> KmsContext:
        return {
            "tenant": self._tenant,
            "env": self._environment,
            "kek": f"webhook/{webhook_id}",
        }


def _taken(key: LockedBytes) -> bytes:
    try:
        return bytes(key.view)
    finally:
        key.wipe()
