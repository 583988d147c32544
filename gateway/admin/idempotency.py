"""A write that is sent twice happens once: what is remembered of the first, and how.

The answer is kept sealed under a key made from the Idempotency-Key and the caller's own
credential. Nothing stores either, so a copy of the database shows no answer, and an API
key that is shown once can be shown again only to whoever asked for it.

Only answers that changed something are kept: a refused write may be sent again as it
is. A gateway that dies between the change and its answer leaves a claim that lapses
after `RUNNING_S`; the write then runs again, and meets what it did the first time.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.admin.principal import Principal
from gateway.admin.problems import Problem

HEADER: Final = "idempotency-key"
PATTERN: Final = r"^[\x21-\x7e]{16,128}$"  # A UUID fits; a counter does not.
KEEP_S: Final = 86_400.0  # A day: whoever retries later has looked in between.
RUNNING_S: Final = 60.0  # No write takes longer; a claim that old was left by a crash.
_KEY: Final = re.compile(PATTERN)
_NONCE: Final = b"\0" * 12  # Each key seals one answer: no nonce is ever used twice.


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """An answer as it is sealed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Repeat:
    """One request's part in the book."""

    def __init__(self, principal: Principal, given: str, asked: bytes) -> None:
        self.key = sha256(f"{principal.name}\0{given}".encode()).digest()
        self.fingerprint = sha256(asked).digest()
        derived = HKDF(SHA256(), 32, None, b"stagedoor admin answer").derive(
            principal.seal + b"\0" + given.encode()
        )
        self._aead = AESGCM(derived)

    def __repr__(self) -> str:
        return f"<Repeat {self.key.hex()[:8]}>"

    def seal(self, kept: Kept) -> bytes:
        """For the book."""
        return self._aead.encrypt(_NONCE, msgspec.msgpack.encode(kept), self.key)

    def open(self, sealed: bytes) -> Kept:
        """From the book. Raises Problem."""
        try:
            data = self._aead.decrypt(_NONCE, sealed, self.key)
        except InvalidTag:
            # The same name with another credential: its token was replaced meanwhile.
            raise Problem(
                "key-reused", "it was used with another credential of this name"
            ) from None
        return msgspec.msgpack.decode(data, type=Kept)


def check(given: str) -> None:
    """Raise Problem for what is no Idempotency-Key."""
    if not _KEY.fullmatch(given):
        raise Problem(
            "bad-request",
            "Idempotency-Key: 16 to 128 printable characters, a UUID for example",
        )
