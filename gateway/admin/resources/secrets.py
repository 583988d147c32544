"""Provider keys in the vault: what is known of them, taken in sealed, ended.

For people at the Console and the gateway's own user. A bearer token is not enough to
hand over a key: programs sign their requests to `/admin/v1/vault/…` (docs/security.md),
and end up at the same desk. Nothing here ever gives a key out.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from actors.vault.messages import SecretFacts, VaultReport
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.paging import Page, Paged, page_of
from gateway.admin.problems import FieldError, Problem
from gateway.vaultdesk import REVOKE, VaultDesk

# Whom the vault's own policy knows; see docs/security.md.
KNOWN: Final = ("user:", "operator:")
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Place = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")]
Host = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:\[\]-]{1,255}$")]
_CODES: Final = {400: "bad-request", 404: "not-found", 409: "conflict"}


class DeliveryKey(msgspec.Struct, frozen=True):
    """What a key is sealed for, with HPKE (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM).

    It is another one after each start.
    """

    public_key: str
    """Base64."""
    tenant: str
    """What holds where nothing is said."""
    environment: str


class SecretNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret; what is left out is the configuration's own."""

    provider: Name
    name: Name = "default"
    tenant: Place = ""
    environment: Place = ""


class SecretWanted(SecretNamed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key, sealed for the delivery key; bound to tenant, environment and names."""

    delivery: Annotated[str, msgspec.Meta(min_length=1, max_length=48_000)]
    """Base64."""
    hosts: Annotated[tuple[Host, ...], msgspec.Meta(max_length=20)] = ()
    """Where it may be sent; empty is where the provider is configured to be."""
    access_key_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{0,128}$")] = ""
    """The public half of AWS's."""
    replace: bool = False
    """Whether it takes the place of an earlier version."""


class SecretEnd(SecretNamed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that is to be lent no more."""

    end_requests: bool = False
    """Whether the requests that were begun with it end too."""


class TenantNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys of a tenant and environment."""

    tenant: Name
    environment: Name


class ShredWanted(TenantNamed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant's and environment's keys that are never to open again."""

    confirm: Annotated[
        str,
        msgspec.Meta(
            max_length=128, description="TENANT/ENVIRONMENT, typed by whoever asks."
        ),
    ]


class Rewrapped(msgspec.Struct, frozen=True):
    """How many secrets are sealed under the new key."""

    rewrapped: int


class Shredded(msgspec.Struct, frozen=True):
    """How many keys of the tenant were destroyed."""

    destroyed: int


class Ended(msgspec.Struct, frozen=True):
    """How many versions were ended."""

    revoked: int


class Begun(msgspec.Struct, frozen=True):
    """A rotation by the provider itself has begun; the list tells how it goes."""

    begun: bool


def operations(office: Office) -> tuple[Operation, ...]:
    """All about secrets."""

    async def told(call: Call, method: str, path: str, body: Any = None) -> Any:
        """What the desk answers. Raises Problem."""
        who = call.principal.name
        if not who.startswith(KNOWN):
            raise Problem(
                "forbidden",
                "keys are handed over by people or by signed requests, not by tokens; "
                "see docs/security.md",
            )
        vault: Any = office.gate.lookup("vault")
        if vault is None:
            raise Problem("unavailable", "the vault is down")
        desk = VaultDesk(vault, office.config, peers=office.gate.peers)
        sent = b"" if body is None else msgspec.json.encode(body)
        status, value = await desk.answer(method, path, sent, who)
        if status != 200:
            code = _CODES.get(status, "unavailable")
            raise Problem(code, str(value["error"]["message"]))
        return value

    async def every(call: Call) -> Page[SecretFacts]:
        found = await told(call, "GET", "/vault/secrets")
        secrets = msgspec.convert(found["secrets"], type=list[SecretFacts])
        return page_of("secrets", secrets, call.query, _place)

    async def delivery_key(call: Call) -> DeliveryKey:
        found = await told(call, "GET", "/vault/delivery-key")
        return msgspec.convert(found, type=DeliveryKey)

    async def report(call: Call) -> VaultReport:
        found = await told(call, "GET", "/vault")
        return msgspec.convert(found, type=VaultReport)

    async def add(call: Call) -> SecretFacts:
        asked: SecretWanted = call.body
        await record(call, asked)
        found = await told(call, "POST", "/vault/secrets", asked)
        return msgspec.convert(found, type=SecretFacts)

    async def revoke(call: Call) -> Ended:
        asked: SecretEnd = call.body
        await record(call, asked)
        body = _named(asked) | {"revoke_open": asked.end_requests}
        return msgspec.convert(await told(call, "POST", REVOKE, body), type=Ended)

    async def rotate(call: Call) -> Begun:
        asked: SecretNamed = call.body
        await record(call, asked)
        found = await told(call, "POST", "/vault/secrets/rotate", _named(asked))
        return msgspec.convert(found, type=Begun)

    async def rewrap(call: Call) -> Rewrapped:
        asked: TenantNamed = call.body
        await call.record(tenant=asked.tenant, env=asked.environment)
        body = {"tenant": asked.tenant, "environment": asked.environment}
        found = await told(call, "POST", "/vault/keks/rotate", body)
        return msgspec.convert(found, type=Rewrapped)

    async def shred(call: Call) -> Shredded:
        asked: ShredWanted = call.body
        wanted = f"{asked.tenant}/{asked.environment}"
        if asked.confirm != wanted:
            told_so = f"must be {wanted}: nothing of it will ever open again"
            raise Problem(
                "invalid",
                f"$.confirm: {told_so}",
                errors=(FieldError("$.confirm", told_so),),
            )
        await call.record(tenant=asked.tenant, env=asked.environment)
        body = {"tenant": asked.tenant, "environment": asked.environment}
        found = await told(call, "POST", "/vault/shred", body)
        return msgspec.convert(found, type=Shredded)

    async def record(call: Call, asked: SecretNamed) -> None:
        await call.record(
            asked.name,
            tenant=asked.tenant,
            env=asked.environment,
            provider=asked.provider,
        )

    return (
        Operation(
            "listSecrets", "GET", "/secrets", "vault",
            "Provider keys in the vault, never a key", every,
            doc="For people; programs sign requests to `/vault/…`.",
            reach="operator", query=Paged, gives=Page[SecretFacts],
        ),
        Operation(
            "getDeliveryKey", "GET", "/secrets/delivery-key", "vault",
            "What a key is sealed for", delivery_key, role="admin", reach="operator",
            gives=DeliveryKey,
        ),
        Operation(
            "getVault", "GET", "/secrets/report", "vault",
            "How the vault and its KMS are", report, reach="operator",
            gives=VaultReport,
        ),
        Operation(
            "addSecret", "POST", "/secrets", "vault", "Take in a sealed key", add,
            role="admin", reach="operator", body=SecretWanted, gives=SecretFacts,
            status=201, act="secret.add", conflicts=True,
        ),
        Operation(
            "rotateSecret", "POST", "/secrets/rotate", "vault",
            "Let a provider make a new key, where it can", rotate,
            role="admin", reach="operator", body=SecretNamed, gives=Begun,
            act="secret.rotate", conflicts=True,
        ),
        Operation(
            "revokeSecret", "POST", "/secrets/revoke", "vault",
            "Never lend a key again, from this moment", revoke,
            role="admin", reach="operator", body=SecretEnd, gives=Ended,
            act="secret.revoke", conflicts=True,
        ),
        Operation(
            "rewrapSecrets", "POST", "/secrets/rewrap", "vault",
            "Give a tenant a new key, and seal its secrets under it", rewrap,
            doc="Nothing else changes: requests go on, keys stay as they are. What was "
            "done stays done if it is interrupted; ask again.",
            role="admin", reach="operator", body=TenantNamed, gives=Rewrapped,
            act="secret.rewrap", conflicts=True,
        ),
        Operation(
            "shredSecrets", "POST", "/secrets/shred", "vault",
            "Destroy a tenant's key: its secrets never open again", shred,
            doc="Nor does any backup of them without that key. Leases of them end.",
            role="owner", reach="operator", body=ShredWanted, gives=Shredded,
            act="secret.shred", conflicts=True,
        ),
    )  # fmt: skip


def _place(one: SecretFacts) -> str:
    where = (one.tenant, one.environment, one.provider, one.name)
    return "\0".join((*where, f"{one.version:09}"))


def _named(asked: SecretNamed) -> dict[str, Any]:
    return {
        "provider": asked.provider,
        "name": asked.name,
        "tenant": asked.tenant,
        "environment": asked.environment,
    }
