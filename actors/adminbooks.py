"""What the admin API keeps in the database: tokens, and which writes were done.

Values and ports; there is no actor, for nothing of it has a life of its own. Every
method raises `actors.archivist.ports.Unavailable` where the database is gone.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

from runtime import DomainError

Role = Literal["viewer", "admin", "owner"]


class TokenRow(Struct, frozen=True):
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


class Taken(DomainError):
    """A name is in use."""


class TokenBook(Protocol):
    """Where tokens are kept."""

    async def find_token(self, digest: bytes) -> TokenRow | None:
        """The token with this digest."""
        ...

    async def list_tokens(self, after: str, limit: int) -> list[TokenRow]:
        """By id."""
        ...

    async def get_token(self, token_id: str) -> TokenRow | None:
        """One token."""
        ...

    async def add_token(self, row: TokenRow, digest: bytes) -> None:
        """A new one. Raises Taken."""
        ...

    async def revoke_token(self, token_id: str, now_ms: int) -> bool:
        """It opens nothing from now on; False where it did so before."""
        ...

    async def token_used(self, token_id: str, now_ms: int) -> None:
        """For whoever looks for tokens that nobody uses."""
        ...


class Running(Struct, frozen=True):
    """Somebody is at it."""

    fingerprint: bytes


class Done(Struct, frozen=True):
    """It was done; `sealed` is what was answered."""

    fingerprint: bytes
    sealed: bytes


class Claimed(Struct, frozen=True):
    """It is the caller's to do, and to finish or release."""


Claim = Claimed | Running | Done


class IdempotencyBook(Protocol):
    """Where claims are kept. Shared by all workers and machines of a gateway."""

    async def claim(
        self, key: bytes, fingerprint: bytes, now_ms: int, until_ms: int
    ) -> Claim:
        """Take it, unless somebody has; one that has lapsed is taken over."""
        ...

    async def finish(self, key: bytes, sealed: bytes, until_ms: int) -> None:
        """Remember the answer."""
        ...

    async def release(self, key: bytes) -> None:
        """Nothing was done: forget the claim."""
        ...
