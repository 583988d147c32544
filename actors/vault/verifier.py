"""Who signed a request: the key opened for one MAC, the nonce claimed, both recorded.

Owns: the order of the checks' effects. The profile itself is in signatures.py. Signing
keys are secrets of the provider `signing`, one a key id, in the tenant and environment
that the request names; no site can borrow them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from actors.auditor.messages import AuditEvent
from actors.vault.messages import KeyScope, Signer, VaultRefused, VerifySigned
from actors.vault.ports import KmsError
from actors.vault.safe import KekMissing, Opened, Safe
from actors.vault.signatures import (
    BadSignature,
    Claims,
    NonceStore,
    Ratchet,
    key_id_of,
    verify,
)

SIGNING: Final = "signing"
NOWHERE: Final = "signing.invalid"  # The host that a signing key may be sent to: none.


class Verifier:
    """Verifies signed requests."""

    def __init__(
        self,
        safe: Safe,
        nonces: NonceStore,
        *,
        now: Callable[[], float],
        attest: Callable[[AuditEvent], Awaitable[object]],
    ) -> None:
        self._safe = safe
        self._nonces = nonces
        self._now = now
        self._attest = attest
        self._clock = Ratchet(safe.wall)

    def __repr__(self) -> str:
        return f"<Verifier {self._nonces!r}>"

    async def verify(self, msg: VerifySigned) -> Signer:
        """Who signed it. Raises VaultRefused; AuditUnavailable and AskError."""
        request = msg.request
        scope = KeyScope(SIGNING, "?", request.tenant, request.environment)
        try:
            scope = KeyScope(
                SIGNING, key_id_of(msg.headers), request.tenant, request.environment
            )
            claims = await self._verify(msg, scope)
            # One claim for each tenant's key of this id: they are different keys.
            fresh = await self._nonces.claim(
                f"{request.tenant}/{request.environment}/{claims.claim}",
                claims.created_s,
                claims.expires_s,
            )
        except (BadSignature, KmsError, OSError) as error:
            raise VaultRefused(scope, str(error)) from None
        if not fresh:
            why = "was sent already, or this server's clock was set back; sign it again"
            raise VaultRefused(scope, f"the request {why}")
        signer = Signer(
            f"client:{request.tenant}:{request.environment}:{claims.key_id}",
            request.tenant,
            request.environment,
            claims.base_hash,
        )
        await self._attest(
            AuditEvent(
                act="auth.signed",
                actor=signer.principal,
                tenant=request.tenant,
                env=request.environment,
                req=claims.base_hash,
                nonce=claims.nonce,
            )
        )
        return signer

    async def _verify(self, msg: VerifySigned, scope: KeyScope) -> Claims:
        found = await self._open(scope)
        try:
            return verify(
                msg.request,
                msg.headers,
                key=found.key if found is not None else None,
                authorities=msg.authorities,
                now_s=self._clock(),
            )
        finally:
            if found is not None:
                found.memory.wipe()

    async def _open(self, scope: KeyScope) -> Opened | None:
        """The key, or None: that there is none is for the MAC to say."""
        try:
            found = self._safe.open(scope, self._now())
            while isinstance(found, KekMissing):
                await self._safe.fetch_kek(found.row, self._now)
                found = self._safe.open(scope, self._now())
        except VaultRefused:
            return None
        return found
