"""What the vault needs of the outside: a store for sealed records, and a KMS.

Neither ever sees a secret in plain: the store keeps ciphertext, the KMS wraps the keys
of keys. Types only, no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import attrs
from msgspec import Struct

from actors.vault.locked import LockedBytes

KekState = Literal["active", "decrypt_only", "destroyed"]
SecretState = Literal["staged", "active", "retired", "revoked"]


class KekRow(Struct, frozen=True, tag="kek"):
    """One version of the key of a tenant and environment, wrapped by the KMS."""

    tenant: str
    environment: str
    id: str
    version: int
    state: KekState
    kms: str
    blob: bytes
    created_s: float
    revision: int = 1

    @property
    def key(self) -> str:
        """Its primary key."""
        return f"kek/{self.id}/{self.version}"

    def __repr__(self) -> str:
        return f"<KekRow {self.id}@{self.version} {self.state}>"


class SecretRow(Struct, frozen=True, tag="secret"):
    """One version of one secret. `record` is sealed; the rest tells who and when.

    staged: sealed and not yet in use. active: what leases are made of. retired: an
    older one that may come back until it is deleted. revoked: never again.
    `provider_key_id` is what the provider calls the key, to delete it by.
    """

    tenant: str
    environment: str
    provider: str
    name: str
    version: int
    state: SecretState
    record: bytes
    created_s: float
    created_by: str
    hosts: tuple[str, ...] = ()
    provider_key_id: str = ""
    retired_s: float = 0.0
    revision: int = 1

    @property
    def key(self) -> str:
        """Its primary key. Names hold no slash (the policy's own rule)."""
        return (
            f"secret/{self.tenant}/{self.environment}/{self.provider}/{self.name}"
            f"/{self.version}"
        )

    def __repr__(self) -> str:
        return f"<SecretRow {self.key} {self.state}>"


class RotationRow(Struct, frozen=True, tag="rotation"):
    """Where the rotation of one secret stands; a restart goes on from here."""

    tenant: str
    environment: str
    provider: str
    name: str
    state: str
    new_version: int
    old_version: int
    since_s: float
    minted_id: str = ""
    note: str = ""
    failures: int = 0
    revision: int = 1

    @property
    def key(self) -> str:
        """Its primary key: one rotation a secret."""
        return f"rotation/{self.tenant}/{self.environment}/{self.provider}/{self.name}"


Row: TypeAlias = KekRow | SecretRow | RotationRow


@attrs.frozen
class Put:
    """Write a row; its revision must be the stored one plus one (1: it is new)."""

    row: Row


@attrs.frozen
class Drop:
    """Forget a row, if it still is at this revision."""

    row: Row


class StaleRow(Exception):
    """Somebody else changed the row in between; read again and decide again."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was changed by another writer")
        self.key = key


@attrs.frozen(repr=False)
class Minted:
    """A new key of a provider, in locked memory, and what the provider calls it."""

    key: LockedBytes
    provider_key_id: str
    access_key_id: str = ""

    def __repr__(self) -> str:
        return f"<Minted {self.provider_key_id}>"


class MintFault(Exception):
    """The provider did not do it. `lasting`: asking again will not help."""

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


class Minter(Protocol):
    """Makes and ends keys at a provider. Calls may be repeated; all raise MintFault."""

    async def mint(self, label: str) -> Minted:
        """A new key under this label; what an interrupted call left is ended first."""
        ...

    async def probe(self, minted: Minted) -> None:
        """Return when the provider accepts the key."""
        ...

    async def deactivate(self, provider_key_id: str) -> None:
        """Stop it in a way that can be undone, where the provider has one."""
        ...

    async def reactivate(self, provider_key_id: str) -> None:
        """Undo `deactivate`."""
        ...

    async def delete(self, provider_key_id: str) -> None:
        """End it for good. One that is gone already is fine."""
        ...


@attrs.frozen
class Mark:
    """Which state of a store this is: how many commits made it, and its hash.

    Noted in the audit log, so that a store which went back is told from the newest.
    """

    commits: int = 0
    digest: str = ""  # Empty where there is no file to be put back.


class WentBack(OSError):
    """The store is older than one that was seen: a copy was put in its place."""


class VaultStore(Protocol):
    """Keeps rows, durable and atomic."""

    async def load(self) -> tuple[Row, ...]:
        """Everything there is. Raises OSError, WentBack."""
        ...

    async def commit(self, *changes: Put | Drop) -> None:
        """All of them or none, durable when it returns. Raises StaleRow, OSError."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes write to it too."""
        ...

    @property
    def mark(self) -> Mark:
        """The state that was last read or written here."""
        ...

    def generation(self) -> int:
        """A number that differs once anybody has committed since; cheap to ask."""
        ...


KmsContext: TypeAlias = Mapping[str, str]
"""What a wrapped key is bound to: tenant, env, kek. All of it is authenticated."""


class KmsError(Exception):
    """The KMS did not do it. The text is for operators and names no key material."""

    def __init__(self, kms: str, why: str) -> None:
        super().__init__(f"KMS {kms}: {why}")
        self.kms = kms
        self.why = why


class KmsDenied(KmsError):
    """It knows us and says no: a policy, a disabled key, wrong credentials."""


class ContextMismatch(KmsError):
    """The wrapped key does not belong to this context, or was changed."""


class KmsUnavailable(KmsError):
    """It cannot be asked now. What is cached serves on, until it expires."""


@attrs.frozen(repr=False)
class Wrapped:
    """A fresh key: in locked memory for use, and wrapped for the store."""

    key: LockedBytes
    blob: bytes

    def __repr__(self) -> str:
        return f"<Wrapped {len(self.blob)} bytes>"


class Kms(Protocol):
    """Wraps the keys of tenants. Keys come back in locked memory."""

    @property
    def name(self) -> str:
        """Which one, for rows and errors: `local`, `aws:alias/…`, `transit:…`."""
        ...

    async def generate(self, context: KmsContext) -> Wrapped:
        """A new key bound to the context. Raises KmsError."""
        ...

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """The key of a blob. Raises KmsError."""
        ...

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """The same key under the KMS's newest key and another context.

        Raises KmsError.
        """
        ...

    async def health(self) -> None:
        """Raises KmsError when it would not serve."""
        ...
