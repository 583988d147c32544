"""What the vault can be asked and told. No message ever holds a key's bytes.

A `Lease` carries a handle that can write the key into one request's head and nothing
else. Leases end at their deadline, when spent, when their stream ends, or when revoked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actors.vault.keyuse import KeyHandle
from runtime import ControlTell, DomainError, Ref, Request

if TYPE_CHECKING:
    from actors.stream.actor import Stream
    from actors.vault.actor import Vault


class KeyScope(Struct, frozen=True):
    """Which key: what names a secret everywhere, and what its use is bound to."""

    provider: str
    name: str = "default"
    tenant: str = "default"
    environment: str = "default"


class KeySource(Struct, frozen=True):
    """Where a key is found, and where it may be sent.

    `access_key_id_env` names AWS's public half: then the key signs and is not sent.
    """

    env: str
    hosts: frozenset[str]
    plain_allowed: bool
    access_key_id_env: str = ""
    session_token_env: str = ""


class Acquire(Request["Vault", "Lease"], frozen=True):
    """Lend this key for one request. Raises LeaseRefused."""

    scope: KeyScope
    stream: Ref[Stream]
    site: str
    request_id: str
    ttl_s: float


class Lease(Struct, frozen=True):
    """A key on loan until `expires_at` on the runtime's clock."""

    id: str
    expires_at: float
    handle: KeyHandle


class LeaseRefused(DomainError):
    """The key is not to be had: who, why, what next. Never names its value."""

    def __init__(self, scope: KeyScope, why: str) -> None:
        super().__init__(f"key {scope.provider}/{scope.name}: {why}")
        self.scope = scope
        self.why = why


class Revoke(ControlTell["Vault"], frozen=True):
    """Wipe this key's leases now; with `revoke_open` end the streams begun with it."""

    scope: KeyScope
    revoke_open: bool = False


class SetKeys(Request["Vault", None], frozen=True):
    """After a reload: which environment variable holds which key."""

    sources: tuple[tuple[KeyScope, KeySource], ...]
