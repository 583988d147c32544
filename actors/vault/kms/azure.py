"""Azure Key Vault: RSA-OAEP-256 over a wrapping key, the context in our own AAD.

Azure's wrapKey takes no context. So it wraps a random key of ours, and that key wraps
the tenant's with AES-256-GCM, the context as associated data: a blob moved to another
tenant opens there, at Azure, and is refused here. Checked request by request against a
server that plays Azure's part; not run against Azure's own.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from actors.vault.kms.bearer import BearerKms
from actors.vault.kms.http import context_bytes
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.ports import ContextMismatch, KmsContext, KmsUnavailable
from actors.vault.sealing import KEY_BYTES, NONCE_BYTES, Entropy, lp

API_VERSION: Final = "7.4"
ALGORITHM: Final = "RSA-OAEP-256"


class _Blob(msgspec.Struct, frozen=True, array_like=True):
    v: int
    kid: str
    wrapped: bytes
    nonce: bytes
    ct: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(_Blob)


class AzureKms(BearerKms):
    """One RSA key of a Key Vault or Managed HSM."""

    name = "azure"

    def __init__(
        self,
        key_id: str,
        endpoint: str,
        *,
        token: Callable[[], str],
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        entropy: Entropy = OS_ENTROPY,
    ) -> None:
        super().__init__(
            token=token, transport=transport, memory=memory, entropy=entropy
        )
        self._key = f"{endpoint.rstrip('/')}/keys/{key_id}"

    def __repr__(self) -> str:
        return f"<AzureKms {self._key}>"

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""
        try:
            found = _decoder.decode(blob)
        except msgspec.MsgspecError:
            found = None
        # Pinned: the blob may name a version of our key, and nothing else.
        if found is None or found.v != 1 or not found.kid.startswith(f"{self._key}/"):
            raise ContextMismatch(self.name, "this is no key that it wrapped")
        answer = await self._call(found.kid, "unwrapkey", found.wrapped)
        outer = self._caller.key(self._memory, _padded(self._value(answer)))
        key = self._memory.take(KEY_BYTES)
        try:
            AESGCM(outer.view).decrypt_into(
                found.nonce, found.ct, _aad(context, found.kid), key.view
            )
        except (InvalidTag, ValueError):
            key.wipe()
            raise ContextMismatch(
                self.name, "the wrapped key is of another tenant, environment or key"
            ) from None
        finally:
            outer.wipe()
        return key

    async def _wrap(self, key: LockedBytes, context: KmsContext) -> bytes:
        outer = self._fresh()
        try:
            answer = await self._call(self._key, "wrapkey", outer.view)
            kid = self._caller.text(answer, "kid")
            if not kid.startswith(f"{self._key}/"):
                raise KmsUnavailable(self.name, "wrapped with a key that is not ours")
            nonce = self._entropy(NONCE_BYTES)
            ct = AESGCM(outer.view).encrypt(nonce, key.view, _aad(context, kid))
        finally:
            outer.wipe()
        wrapped = self._caller.blob(_padded(self._value(answer)))
        return _encode(_Blob(1, kid, wrapped, nonce, ct))

    def _value(self, answer: dict[str, Any]) -> str:
        return self._caller.text(answer, "value")

    async def _call(
        self, key: str, action: str, value: bytes | memoryview
    ) -> dict[str, Any]:
        text = base64.urlsafe_b64encode(value).rstrip(b"=").decode()
        return await self._post(
            f"{key}/{action}?api-version={API_VERSION}",
            action,
            {"alg": ALGORITHM, "value": text},
            code_in="code",
        )

    def _is_mismatch(self, action: str, status: int, code: str) -> bool:
        del code
        return action == "unwrapkey" and status == 400


def _aad(context: KmsContext, kid: str) -> bytes:
    return lp("gwv-azure", kid, context_bytes(context))


def _padded(text: str) -> str:
    """URL-safe base64 without padding, as Azure writes it, in its plain form."""
    plain = text.translate(str.maketrans("-_", "+/"))
    return plain + "=" * (-len(plain) % 4)
