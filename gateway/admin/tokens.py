"""Admin tokens: how they look, how they are stored, and who one belongs to.

Owns: making one, and whom it stands for. A token is 256 random bits,
so its SHA-256 is what is stored; nothing can show it again.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final

from actors.adminbooks import TokenRow
from gateway.admin.principal import Principal
from gateway.admin.problems import Problem

PREFIX: Final = "sk-stagedoor-admin-"
RANDOM_BYTES: Final = 32
SHOWN_CHARS: Final = len(PREFIX) + 6  # Tells two tokens apart and opens nothing.
TOKEN_CHARS_MAX: Final = 512


def make() -> tuple[str, bytes, str]:
    """A new token: itself, its digest, and how it is shown."""
    text = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    return text, digest_of(text), text[:SHOWN_CHARS]


def digest_of(text: str) -> bytes:
    """What is stored of a token."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def principal_of(row: TokenRow, text: str, now_ms: int) -> Principal:
    """Whom a token stands for. Raises Problem: it opens nothing any more."""
    if row.revoked_ms is not None:
        raise Problem("unauthenticated", "the token was revoked")
    if row.expires_ms is not None and row.expires_ms <= now_ms:
        raise Problem("unauthenticated", "the token has expired")
    tenants = None if row.tenants is None else frozenset(row.tenants)
    return Principal(f"token:{row.name}", row.role, tenants, seal=text.encode())
