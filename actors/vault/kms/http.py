"""One call to a KMS over an httpx transport: bounded in time and size, errors sorted.

Owns: what of HTTP is the same for every KMS. Never: puts a request or an answer into an
error; they hold tokens and keys.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx
import msgspec
import trio

from actors.vault.keyuse import KeyUse
from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.ports import (
    ContextMismatch,
    KmsContext,
    KmsDenied,
    KmsError,
    KmsUnavailable,
)
from actors.vault.sealing import KEY_BYTES, lp

CALL_S: Final = 5.0  # A KMS answers within 100 ms; leases wait for this one.
ANSWER_BYTES_MAX: Final = 64 * 1024


class Caller:
    """Calls one KMS."""

    def __init__(
        self, name: str, transport: httpx.AsyncBaseTransport, *, call_s: float = CALL_S
    ) -> None:
        self.name = name
        self._transport = transport
        self._call_s = call_s

    def __repr__(self) -> str:
        return f"<Caller {self.name}>"

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        key: KeyUse | None = None,
    ) -> tuple[int, bytes]:
        """Status and body; `key` is written into the head. Raises KmsUnavailable."""
        request = httpx.Request(
            method,
            url,
            headers=dict(headers),
            content=body,
            extensions={} if key is None else {"stagedoor.key": key},
        )
        try:
            with trio.fail_after(self._call_s):
                response = await self._transport.handle_async_request(request)
                try:
                    return response.status_code, await self._read(response)
                finally:
                    await response.aclose()
        except trio.TooSlowError:
            why = f"did not answer within {self._call_s:g} s"
        except httpx.TransportError as error:
            why = f"cannot be reached ({type(error).__name__})"
        raise KmsUnavailable(self.name, why) from None

    async def _read(self, response: httpx.Response) -> bytes:
        data = bytearray()
        async for chunk in cast("httpx.AsyncByteStream", response.stream):
            data += chunk
            if len(data) > ANSWER_BYTES_MAX:
                raise KmsUnavailable(self.name, "answers more than a key")
        return bytes(data)

    def decoded(self, status: int, body: bytes) -> dict[str, Any]:
        """A JSON object, or a KmsError: some proxy answered in its place."""
        try:
            value = msgspec.json.decode(body)
        except msgspec.MsgspecError:
            value = None
        if not isinstance(value, dict):
            why = "with something that is no JSON object"
            raise self.fault(status if status >= 400 else 502, mismatch=False, why=why)
        return cast("dict[str, Any]", value)

    def text(self, answer: Mapping[str, Any], field: str) -> str:
        """A field that must be a string."""
        value = answer.get(field)
        if not isinstance(value, str):
            raise KmsUnavailable(self.name, f"answered without {field}")
        return value

    def blob(self, text: str) -> bytes:
        """A wrapped key from base64."""
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            raise KmsUnavailable(self.name, "answered a damaged blob") from None

    def key(self, memory: LockedMemory, text: str) -> LockedBytes:
        """A key from base64. The answer itself was a copy; see docs/security.md."""
        try:
            data = bytearray(binascii.a2b_base64(text, strict_mode=True))
        except binascii.Error:
            raise KmsUnavailable(self.name, "answered a damaged key") from None
        try:
            if len(data) != KEY_BYTES:
                raise KmsUnavailable(self.name, f"answered no key of {KEY_BYTES} bytes")
            return memory.hold(data)
        finally:
            data[:] = bytes(len(data))

    def fault(self, status: int, *, mismatch: bool, why: str) -> KmsError:
        """The error for an answer that is not good."""
        if mismatch:
            return ContextMismatch(
                self.name,
                "the wrapped key is of another tenant, environment or key",
            )
        if status in (408, 425, 429) or status >= 500:
            return KmsUnavailable(self.name, f"answered {status} {why}".rstrip())
        return KmsDenied(self.name, f"answered {status} {why}".rstrip())


def b64(data: bytes | memoryview) -> str:
    """As JSON carries bytes."""
    return base64.b64encode(data).decode()


def context_bytes(context: KmsContext) -> bytes:
    """The context for those that take bytes: sorted, each part with its length."""
    # Never empty: a key derived from no context would be every context's key.
    pairs = (part for key in sorted(context) for part in (key, context[key]))
    return lp("gwv-kek", *pairs)


def word(answer: Mapping[str, Any], *fields: str) -> str:
    """A short error code out of an answer: letters only, for it comes from outside."""
    for field in fields:
        value = answer.get(field)
        if isinstance(value, str):
            code = value.rpartition("#")[2][:64]
            return "".join(char for char in code if char.isalnum() or char in "_-")
    return ""
