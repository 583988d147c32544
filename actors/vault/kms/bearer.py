"""What Google's and Azure's KMS have in common: no data keys, and a bearer token.

So the key is made here, wrapped there, and re-wrapped through this process. Owns: the
life of that key, and how a call is made and refused. A KMS of this kind adds how it
wraps, how it unwraps, and what its errors mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from actors.vault.kms.http import Caller, word
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.ports import KmsContext, Wrapped
from actors.vault.sealing import KEY_BYTES, Entropy


class BearerKms(ABC):
    """One key of such a KMS. See Kms."""

    name: str

    def __init__(
        self,
        *,
        token: Callable[[], str],
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        entropy: Entropy = OS_ENTROPY,
    ) -> None:
        self._token = token
        self._memory = memory
        self._entropy = entropy
        self._caller = Caller(self.name, transport)

    @abstractmethod
    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""

    @abstractmethod
    async def _wrap(self, key: LockedBytes, context: KmsContext) -> bytes:
        """The blob of a key, under the newest version there. Raises KmsError."""

    @abstractmethod
    def _is_mismatch(self, action: str, status: int, code: str) -> bool:
        """Whether a refusal means another context or key, or a damaged blob."""

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms."""
        key = self._fresh()
        try:
            return Wrapped(key, await self._wrap(key, context))
        except BaseException:
            key.wipe()
            raise

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms: through this process, under the newest version there."""
        key = await self.unwrap(blob, context)
        try:
            return await self._wrap(key, new_context)
        finally:
            key.wipe()

    async def health(self) -> None:
        """See Kms: one key is wrapped, as a lease would need it."""
        made = await self.generate({"tenant": "health", "env": "health"})
        made.key.wipe()

    def _fresh(self) -> LockedBytes:
        """A new random key, in locked memory."""
        key = self._memory.take(KEY_BYTES)
        self._entropy.fill(key.view)
        return key

    async def _post(
        self, url: str, action: str, fields: dict[str, str], *, code_in: str
    ) -> dict[str, Any]:
        """The answer to a call; `code_in` is where an error has its code.

        Raises KmsError.
        """
        status, data = await self._caller.call(
            "POST",
            url,
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
        code = word(error, code_in) if isinstance(error, dict) else ""
        mismatch = self._is_mismatch(action, status, code)
        raise self._caller.fault(status, mismatch=mismatch, why=code)
