"""Google Cloud KMS: a key made here, encrypted there, the context as its AAD.

Every value goes with its CRC-32C in both directions, as Google asks, so that a flipped
bit on the way is an error and not a lost key. Checked request by request against a
server that plays Google's part; not run against Google's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httpx

from actors.vault.kms.bearer import BearerKms
from actors.vault.kms.http import b64, context_bytes
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.ports import KmsContext, KmsUnavailable
from actors.vault.sealing import Entropy

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


class GcpKms(BearerKms):
    """One crypto key: projects/P/locations/L/keyRings/R/cryptoKeys/K."""

    name = "gcp"

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
        super().__init__(
            token=token, transport=transport, memory=memory, entropy=entropy
        )
        self._base = f"{endpoint or ENDPOINT}/v1/{key_id}"

    def __repr__(self) -> str:
        return f"<GcpKms {self._base}>"

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

    async def _wrap(self, key: LockedBytes, context: KmsContext) -> bytes:
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

    async def _call(self, action: str, fields: dict[str, str]) -> dict[str, Any]:
        return await self._post(
            f"{self._base}:{action}", action, fields, code_in="status"
        )

    def _is_mismatch(self, action: str, status: int, code: str) -> bool:
        # A wrong AAD, a foreign blob and a damaged one are all INVALID_ARGUMENT there.
        del status
        return action == "decrypt" and code == "INVALID_ARGUMENT"
