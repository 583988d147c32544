"""Google Cloud KMS: a key made here, encrypted there, the context as its AAD.

Every value goes with its CRC-32C in both directions, as Google asks, so that a flipped
bit on the way is an error and not a lost key. Checked request by request against a
server that plays Google's part; not run against Google's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import msgspec

from actors.vault.kms.http import Caller, b64, context_bytes, word
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.ports import KmsContext, KmsUnavailable, Wrapped
from actors.vault.sealing import KEY_BYTES, Entropy

ENDPOINT: Final = "https://cloudkms.googleapis.com"
POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, reflected.


def _table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE: Final = _table()


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (RFC 3720, B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class GcpKms:
    """One crypto key: projects/P/locations/L/keyRings/R/cryptoKeys/K."""

    def __init__(
        self,
        key_id: str,
        *,
        token: Callable[[], str],
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        endpoint: str = "",
        entropy: Entropy = OS_ENTROPY,
    ) -> None:
        self._base = f"{endpoint or ENDPOINT}/v1/{key_id}"
        self._token = token
        self._memory = memory
        self._entropy = entropy
        self._caller = Caller(self.name, transport)

    def __repr__(self) -> str:
        return f"<GcpKms {self._base}>"

    @property
    def name(self) -> str:
        """See Kms."""
        return "gcp"

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms: Google makes no data keys, so it is made here."""
        key = self._memory.take(KEY_BYTES)
        self._entropy.fill(key.view)
        try:
            return Wrapped(key, await self._encrypt(key, context))
        except BaseException:
            key.wipe()
            raise

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""
        aad = context_bytes(context)
        answer = await self._call(
            "decrypt",
            {
                "ciphertext": b64(blob),
                "additionalAuthenticatedData": b64(aad),
                "ciphertextCrc32c": str(crc32c(blob)),
                "additionalAuthenticatedDataCrc32c": str(crc32c(aad)),
            },
        )
        key = self._caller.key(self._memory, self._caller.text(answer, "plaintext"))
        if str(answer.get("plaintextCrc32c")) != str(crc32c(key.view)):
            key.wipe()
            raise KmsUnavailable(self.name, "answered a damaged key")
        return key

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms: through this process, under the key's primary version."""
        key = await self.unwrap(blob, context)
        try:
            return await self._encrypt(key, new_context)
        finally:
            key.wipe()

    async def health(self) -> None:
        """See Kms: one key is wrapped, as a lease would need it."""
        made = await self.generate({"tenant": "health", "env": "health"})
        made.key.wipe()

    async def _encrypt(self, key: LockedBytes, context: KmsContext) -> bytes:
        aad = context_bytes(context)
        answer = await self._call(
            "encrypt",
            {
                "plaintext": b64(key.view),
                "additionalAuthenticatedData": b64(aad),
                "plaintextCrc32c": str(crc32c(key.view)),
                "additionalAuthenticatedDataCrc32c": str(crc32c(aad)),
            },
        )
        blob = self._caller.blob(self._caller.text(answer, "ciphertext"))
        verified = (
            answer.get("verifiedPlaintextCrc32c") is True
            and answer.get("verifiedAdditionalAuthenticatedDataCrc32c") is True
            and str(answer.get("ciphertextCrc32c")) == str(crc32c(blob))
        )
        if not verified:
            raise KmsUnavailable(self.name, "a value was damaged on the way; try again")
        return blob

    async def _call(self, action: str, fields: Mapping[str, str]) -> dict[str, Any]:
        status, data = await self._caller.call(
            "POST",
            f"{self._base}:{action}",
            headers={
                "authorization": f"Bearer {self._token()}",
                "content-type": "application/json",
            },
            body=msgspec.json.encode(fields),
        )
        answer = self._caller.decoded(status, data)
        if status == 200:
            return answer
        error = answer.get("error")
        code = word(error, "status") if isinstance(error, dict) else ""
        # A wrong AAD, a foreign blob and a damaged one are all INVALID_ARGUMENT there.
        mismatch = action == "decrypt" and code == "INVALID_ARGUMENT"
        raise self._caller.fault(status, mismatch=mismatch, why=code)
