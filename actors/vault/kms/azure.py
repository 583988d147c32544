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

from actors.vault.kms.http import Caller, context_bytes, word
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.ports import ContextMismatch, KmsContext, KmsUnavailable, Wrapped
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


class AzureKms:
    """One RSA key of a Key Vault or Managed HSM."""

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
        self._key = f"{endpoint.rstrip('/')}/keys/{key_id}"
        self._token = token
        self._memory = memory
        self._entropy = entropy
        self._caller = Caller(self.name, transport)

    def __repr__(self) -> str:
        return f"<AzureKms {self._key}>"

    @property
    def name(self) -> str:
        """See Kms."""
        return "azure"

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms."""
        key = self._memory.take(KEY_BYTES)
        self._entropy.fill(key.view)
        try:
            return Wrapped(key, await self._wrap(key, context))
        except BaseException:
            key.wipe()
            raise

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

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms: through this process, under the key's newest version."""
        key = await self.unwrap(blob, context)
        try:
            return await self._wrap(key, new_context)
        finally:
            key.wipe()

    async def health(self) -> None:
        """See Kms: one key is wrapped, as a lease would need it."""
        made = await self.generate({"tenant": "health", "env": "health"})
        made.key.wipe()

    async def _wrap(self, key: LockedBytes, context: KmsContext) -> bytes:
        outer = self._memory.take(KEY_BYTES)
        self._entropy.fill(outer.view)
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
        status, data = await self._caller.call(
            "POST",
            f"{key}/{action}?api-version={API_VERSION}",
            headers={
                "authorization": f"Bearer {self._token()}",
                "content-type": "application/json",
            },
            body=msgspec.json.encode({"alg": ALGORITHM, "value": text}),
        )
        answer = self._caller.decoded(status, data)
        if status == 200:
            return answer
        error = answer.get("error")
        code = word(error, "code") if isinstance(error, dict) else ""
        mismatch = action == "unwrapkey" and status == 400
        raise self._caller.fault(status, mismatch=mismatch, why=code)


def _aad(context: KmsContext, kid: str) -> bytes:
    return lp("gwv-azure", kid, context_bytes(context))


def _padded(text: str) -> str:
    """URL-safe base64 without padding, as Azure writes it, in its plain form."""
    plain = text.translate(str.maketrans("-_", "+/"))
    return plain + "=" * (-len(plain) % 4)
