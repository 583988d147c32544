"""Admin tokens: how they look, how they are stored, and who one belongs to.

Owns: making one, and the port under which tokens are kept. A token is 256 random bits,
so its SHA-256 is what is stored; nothing can show it again.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from gateway.admin.principal import Principal, Role
from gateway.admin.problems import Problem

PREFIX: Final = "sk-stagedoor-admin-"
RANDOM_BYTES: Final = 32
SHOWN_CHARS: Final = len(PREFIX) + 6  # Tells two tokens apart and opens nothing.
TOKEN_CHARS_MAX: Final = 512


class TokenRow(msgspec.Struct, frozen=True):
    """A token as it is stored. Not the token."""

    id: str
    name: str
    role: Role
    tenants: tuple[str, ...] | None  # None: all of them, and the gateway itself.
    prefix: str
    created_ms: int
    created_by: str
    expires_ms: int | None = None
    revoked_ms: int | None = None
    used_ms: int | None = None


class TokenBook(Protocol):
    """Where tokens are kept."""

    async def find_token(self, digest: bytes) -> TokenRow | None:
        """The token with this digest."""
        ...

    async def list_tokens(
        self, tenants: frozenset[str] | None, after: str, limit: int
    ) -> list[TokenRow]:
        """By id; only those that are about none but these tenants."""
        ...

    async def get_token(self, token_id: str) -> TokenRow | None:
        """One token."""
        ...

    async def add_token(self, row: TokenRow, digest: bytes) -> None:
        """A new one. Raises the store's Duplicate where its name is taken."""
        ...

    async def revoke_token(self, token_id: str, now_ms: int) -> bool:
        """It opens nothing from now on; False where it did so before."""
        ...

    async def token_used(self, token_id: str, now_ms: int) -> None:
        """For whoever looks for tokens that nobody uses."""
        ...


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
