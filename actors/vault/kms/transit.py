"""OpenBao or HashiCorp Vault: the transit engine, a derived key with a context.

`context` and not `associated_data`: both servers ignore the latter when they re-wrap,
so a key would lose what it is bound to. Make the key with `derived=true`; a token needs
no more than `update` on datakey/plaintext, decrypt, encrypt and rewrap of this key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from actors.vault.kms.http import Caller, b64, context_bytes
from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.ports import KmsContext, Wrapped

PREFIX: Final = b"vault:v"
# What the servers say when a ciphertext is not of this key and context.
MISMATCHES: Final = (
    "message authentication failed",
    "invalid ciphertext",
    "unable to decrypt",
    "disallowed by policy (too old)",
)
CODES: Final = {200: "", 429: "", 473: ""}  # Active, standby, performance standby.


class TransitKms:
    """One key of a transit engine."""

    def __init__(
        self,
        key_id: str,
        endpoint: str,
        *,
        token: Callable[[], str],
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        mount: str = "transit",
    ) -> None:
        self._key = quote(key_id, safe="")
        self._base = f"{endpoint.rstrip('/')}/v1"
        self._mount = mount
        self._token = token
        self._memory = memory
        self._caller = Caller(self.name, transport)

    def __repr__(self) -> str:
        return f"<TransitKms {self._key} {self._base}>"

    @property
    def name(self) -> str:
        """See Kms."""
        return "transit"

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms."""
        answer = await self._call("datakey/plaintext", context, bits=256)
        blob = self._caller.text(answer, "ciphertext").encode()
        plain = self._caller.text(answer, "plaintext")
        return Wrapped(self._caller.key(self._memory, plain), blob)

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""
        if not blob.startswith(PREFIX):
            raise self._caller.fault(400, mismatch=True, why="")
        answer = await self._call("decrypt", context, ciphertext=blob.decode("ascii"))
        return self._caller.key(self._memory, self._caller.text(answer, "plaintext"))

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms. In the server where the context stays; else through this process."""
        if dict(context) == dict(new_context):
            answer = await self._call(
                "rewrap", context, ciphertext=blob.decode("ascii")
            )
            return self._caller.text(answer, "ciphertext").encode()
        key = await self.unwrap(blob, context)
        try:
            answer = await self._call("encrypt", new_context, plaintext=b64(key.view))
        finally:
            key.wipe()
        return self._caller.text(answer, "ciphertext").encode()

    async def health(self) -> None:
        """See Kms: sealed or not; it tells without a token."""
        status, _ = await self._caller.call(
            "GET", f"{self._base}/sys/health", headers={}
        )
        if status not in CODES:
            why = {501: "not initialised", 503: "sealed"}.get(status, "")
            raise self._caller.fault(max(status, 500), mismatch=False, why=why)

    async def _call(
        self, action: str, context: KmsContext, **fields: Any
    ) -> dict[str, Any]:
        body = msgspec.json.encode({**fields, "context": b64(context_bytes(context))})
        status, data = await self._caller.call(
            "POST",
            f"{self._base}/{self._mount}/{action}/{self._key}",
            headers={
                "x-vault-token": self._token(),
                "content-type": "application/json",
            },
            body=body,
        )
        answer = self._caller.decoded(status, data)
        found = answer.get("data")
        if status == 200 and isinstance(found, dict):
            return found
        said = " ".join(str(one) for one in answer.get("errors") or ())
        mismatch = status == 400 and any(one in said for one in MISMATCHES)
        why = "(sealed)" if "sealed" in said else ""
        raise self._caller.fault(status, mismatch=mismatch, why=why)
