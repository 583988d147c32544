"""AWS KMS: data keys under a customer key, the context as encryption context.

Signs with our own SigV4 (wire/sigv4.py). Decrypts only what the configured key wrapped
(`KeyId` is pinned), so that a blob wrapped by an attacker's key opens nothing. Enforce
`kms:EncryptionContext:tenant` and `:env` in the key's policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import httpx
import msgspec

from actors.vault.kms.http import Caller, b64, word
from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.ports import KmsContext, Wrapped
from wire.sigv4 import Signer, Unsigned, sign

SERVICE: Final = "kms"
MISMATCHES: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
LATER: Final = frozenset(
    {
        "ThrottlingException",
        "KMSInternalException",
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "LimitExceededException",
    }
)


@attrs.frozen(repr=False)
class AwsCredentials:
    """Who calls; the secret signs and is never sent."""

    signer: Signer
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"<AwsCredentials {self.signer.access_key_id}>"


class AwsKms:
    """One customer key in one region."""

    def __init__(
        self,
        key_id: str,
        region: str,
        *,
        credentials: Callable[[], AwsCredentials],
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        wall: Callable[[], float],
        endpoint: str = "",
    ) -> None:
        self._key_id = key_id
        self._region = region
        self._credentials = credentials
        self._memory = memory
        self._wall = wall
        self._endpoint = endpoint or f"https://kms.{region}.amazonaws.com"
        self._caller = Caller(self.name, transport)

    def __repr__(self) -> str:
        return f"<AwsKms {self._key_id} {self._region}>"

    @property
    def name(self) -> str:
        """See Kms."""
        return "aws"

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms."""
        answer = await self._call(
            "GenerateDataKey",
            KeyId=self._key_id,
            KeySpec="AES_256",
            EncryptionContext=dict(context),
        )
        blob = self._blob(answer)
        plain = self._caller.text(answer, "Plaintext")
        return Wrapped(self._caller.key(self._memory, plain), blob)

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""
        answer = await self._call(
            "Decrypt",
            KeyId=self._key_id,
            CiphertextBlob=b64(blob),
            EncryptionContext=dict(context),
        )
        return self._caller.key(self._memory, self._caller.text(answer, "Plaintext"))

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms: inside AWS, the key never comes out."""
        answer = await self._call(
            "ReEncrypt",
            SourceKeyId=self._key_id,
            CiphertextBlob=b64(blob),
            SourceEncryptionContext=dict(context),
            DestinationKeyId=self._key_id,
            DestinationEncryptionContext=dict(new_context),
        )
        return self._blob(answer)

    async def health(self) -> None:
        """See Kms: one key is made and thrown away, as a lease would need it."""
        made = await self.generate({"tenant": "health", "env": "health"})
        made.key.wipe()

    async def _call(self, action: str, **fields: Any) -> dict[str, Any]:
        body = msgspec.json.encode(fields)
        credentials = self._credentials()
        host = urlsplit(self._endpoint).netloc
        headers = (
            ("host", host),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", f"TrentService.{action}"),
        )
        signed = sign(
            Unsigned("POST", "/", headers, body),
            signer=credentials.signer,
            region=self._region,
            service=SERVICE,
            now_s=self._wall(),
            session_token=credentials.session_token,
        )
        status, data = await self._caller.call(
            "POST", f"{self._endpoint}/", headers=dict((*headers, *signed)), body=body
        )
        answer = self._caller.decoded(status, data)
        if status == 200:
            return answer
        code = word(answer, "__type", "code")
        raise self._caller.fault(
            503 if code in LATER else status, mismatch=code in MISMATCHES, why=code
        )

    def _blob(self, answer: dict[str, Any]) -> bytes:
        return self._caller.blob(self._caller.text(answer, "CiphertextBlob"))
