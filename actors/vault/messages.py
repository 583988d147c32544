"""What the vault can be asked and told. No message ever holds a key's bytes.

Keys come in sealed (`Deliver`, see delivery.py) and never out. A `Lease` carries a
handle that can write the key into one request's head and nothing else. Leases end at
their deadline, when spent, when their stream ends, or when revoked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actors.vault.keyuse import KeyHandle
from actors.vault.policy import Rule
from actors.vault.signatures import SignedHeaders, SignedRequest
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


class Federation(Struct, frozen=True):
    """How one provider's short-lived credentials are got; see federation.py.

    `fields` is what a provider wants in the form besides.
    """

    exchange: Literal["token-exchange", "jwt-bearer", "aws"]
    url: str
    identity_file: str
    audience: str = ""
    scope: str = ""
    role_arn: str = ""
    fields: tuple[tuple[str, str], ...] = ()


class KeySource(Struct, frozen=True):
    """Where a key is found, and where it may be sent.

    With an empty `env` it is in the vault, sealed with a list of hosts of its own:
    then both lists must name the host. `access_key_id_env` names AWS's public half:
    then the key signs and is not sent.
    """

    env: str
    hosts: frozenset[str]
    plain_allowed: bool
    access_key_id_env: str = ""
    session_token_env: str = ""
    federation: Federation | None = None  # Then there is no key, only credentials.


class Acquire(Request["Vault", "Lease"], frozen=True):
    """Lend this key for one request. Raises LeaseRefused."""

    scope: KeyScope
    stream: Ref[Stream]
    site: str
    request_id: str
    ttl_s: float
    route: str = ""  # The model as the client named it; what the policy calls a route.


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


class VaultRefused(DomainError):
    """What was asked of the vault cannot be: who, why, what next. Names no value."""

    def __init__(self, scope: KeyScope, why: str) -> None:
        super().__init__(f"key {scope.provider}/{scope.name}: {why}")
        self.scope = scope
        self.why = why


class DeliveryKey(Request["Vault", bytes], frozen=True):
    """The public key that a new secret is sealed for; another after each start."""


class SecretFacts(Struct, frozen=True):
    """What may be known of one version of a secret."""

    tenant: str
    environment: str
    provider: str
    name: str
    version: int
    state: str
    hosts: tuple[str, ...]
    created_s: float
    created_by: str
    kek: str
    rotation: str = ""


class Deliver(Request["Vault", SecretFacts], frozen=True):
    """Take in a key, sealed for `DeliveryKey`, as the next version of this name.

    Raises VaultRefused.
    """

    scope: KeyScope
    delivery: bytes
    hosts: tuple[str, ...]
    principal: str
    access_key_id: str = ""
    replace: bool = False

    def __repr__(self) -> str:
        return f"<Deliver {self.scope.provider}/{self.scope.name}>"


class ListSecrets(Request["Vault", tuple[SecretFacts, ...]], frozen=True):
    """Every version that this principal may describe."""

    principal: str


class RevokeSecret(Request["Vault", int], frozen=True):
    """Wipe its leases now, then never lend it again; how many versions it had.

    Raises VaultRefused.
    """

    scope: KeyScope
    principal: str
    revoke_open: bool = False


class RotateSecret(Request["Vault", None], frozen=True):
    """Begin a rotation now, where new keys can be minted. Raises VaultRefused."""

    scope: KeyScope
    principal: str


class KeyRefused(ControlTell["Vault"], frozen=True):
    """A provider answered that this key is not good: a rotation may have to go back."""

    scope: KeyScope


class Signer(Struct, frozen=True):
    """Who signed a request, and for which tenant and environment."""

    principal: str
    tenant: str
    environment: str
    base_hash: str


class VerifySigned(Request["Vault", Signer], frozen=True):
    """Say who signed this request. Raises VaultRefused; a request serves once."""

    request: SignedRequest
    headers: SignedHeaders
    authorities: frozenset[str]


class RotateKek(Request["Vault", int], frozen=True):
    """A new KEK for a tenant and environment; how many records were re-wrapped.

    Raises VaultRefused.
    """

    tenant: str
    environment: str
    principal: str


class Shred(Request["Vault", int], frozen=True):
    """Destroy a tenant's KEKs: nothing sealed under them opens again.

    Raises VaultRefused.
    """

    tenant: str
    environment: str
    principal: str


class Follow(Request["Vault", bool], frozen=True):
    """Another worker has changed the rows: read them now, and wipe what was revoked.

    The reply comes when that is done; false when the rows could not be read.
    """

    revoke_open: bool = False  # The streams that used a revoked key end as well.


class KeepPeppers(Request["Vault", bool], frozen=True):
    """Have this epoch's peppers at hand, and destroy those before the `oldest`.

    The reply says whether all are there: another process may be about to make one.
    Raises VaultRefused.
    """

    homes: frozenset[tuple[str, str]]
    epoch: int
    oldest: int
    make: bool  # One process of a gateway makes those that are missing.
    # Of these, earlier epochs' too: whoever reads the audit log is told who is meant.
    reads: frozenset[tuple[str, str]] = frozenset()


class ReportVault(Request["Vault", "VaultReport"], frozen=True):
    """How the vault stands, for `doctor` and the Console."""


class VaultReport(Struct, frozen=True):
    """The vault, for operators."""

    memory: str
    seals_with: str
    kms_fault: str
    secrets: int
    leases: int
    grants: int


class CountVault(Request["Vault", "VaultCounts"], frozen=True):
    """The vault's numbers, from memory; no KMS is asked. For a scrape."""


class VaultCounts(Struct, frozen=True):
    """How much there is; the last two count since the process began."""

    secrets: int
    leases: int
    grants: int
    keks_cached: int
    rotation_overdue: int
    rotation_failing: int
    locked_bytes: int
    leases_granted: int
    leases_refused: int


class SetKeys(Request["Vault", None], frozen=True):
    """After a reload: where each key is, and who may borrow them (None: as before).

    `homes` are the tenants and environments of sites that have another than the keys'.
    """

    sources: tuple[tuple[KeyScope, KeySource], ...]
    rules: tuple[Rule, ...] | None = None
    strict_sites: frozenset[str] | None = None
    homes: Mapping[str, tuple[str, str]] | None = None
