"""The vault: which provider keys there are, new ones, and their ends.

A key is sealed in the browser for this vault alone (static/vault.js, HPKE): the form
that arrives here holds no key, and neither does any page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.visit import Refused, Shown, Visit

DAY_MS: Final = 86_400_000


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (
        Page("GET", "/vault", vault, operator=True),
        Page("GET", "/vault/add", add_form, role="admin", operator=True),
        Page("POST", "/vault/add", add, role="admin", operator=True, sure=True),
        Page("POST", "/vault/rotate", rotate, role="admin", operator=True, sure=True),
        Page("POST", "/vault/revoke", revoke, role="admin", operator=True, sure=True),
        Page("POST", "/vault/rewrap", rewrap, role="admin", operator=True, sure=True),
        Page("GET", "/vault/shred", shred_form, role="owner", operator=True),
        Page("POST", "/vault/shred", shred, role="owner", operator=True, sure=True),
    )


async def vault(visit: Visit) -> Shown:
    """Metadata of every version, and how the vault is."""
    return await _vault(visit, 200)


async def _vault(visit: Visit, status: int, problem: str = "") -> Shown:
    config = visit.console.office.config
    secrets = await visit.every("/secrets")
    secrets.sort(
        key=lambda one: (
            one["tenant"],
            one["environment"],
            one["provider"],
            one["name"],
            -one["version"],
        )
    )
    since = {"since_ms": visit.now_ms - 30 * DAY_MS, "by": "provider,site"}
    try:
        used = (await visit.ask("GET", "/usage", query=since))["rows"]
    except Refused:
        used = []
    return visit.show(
        "vault.html",
        status,
        secrets=secrets,
        homes=homes_of(secrets),
        report=await visit.ask("GET", "/secrets/report"),
        rules=config.vault.policy,
        rotate_days=config.vault.rotate_days,
        used=sorted(used, key=lambda row: -row["sums"]["calls"]),
        problem=problem,
    )


async def add_form(visit: Visit) -> Shown:
    """A key to be sealed."""
    return await _add(visit, 200)


async def _add(visit: Visit, status: int, problem: str = "") -> Shown:
    config = visit.console.office.config
    typed = {
        name: visit.field(name) or visit.query.get(name, "")
        for name in ("provider", "name", "tenant", "environment", "hosts", "access")
    }
    return visit.show(
        "vault_add.html",
        status,
        box=await visit.ask("GET", "/secrets/delivery-key"),
        providers=[one.name for one in config.providers],
        tenants=[one.name for one in config.tenants],
        typed=typed,
        replace=bool(visit.field("replace") or visit.query.get("replace")),
        problem=problem,
    )


async def add(visit: Visit) -> Shown:
    """Hand it over, as it is."""
    body = {
        **_named(visit),
        "delivery": visit.field("delivery"),
        "hosts": visit.field("hosts").replace(",", " ").split(),
        "access_key_id": visit.field("access"),
        "replace": visit.field("replace") == "yes",
    }
    if not body["delivery"]:
        return await _add(visit, 422, "No key came along, for it was not sealed.")
    try:
        await visit.ask("POST", "/secrets", body=body, once=visit.field("once"))
    except Refused as refused:
        return await _add(visit, refused.status, refused.told)
    return visit.go("/console/vault", done="rotated" if body["replace"] else "added")


async def rotate(visit: Visit) -> Shown:
    """Let the provider make a new one."""
    return await _done(visit, "/secrets/rotate", _named(visit), "rotated")


async def revoke(visit: Visit) -> Shown:
    """Never again."""
    body = {**_named(visit), "end_requests": visit.field("end_requests") == "yes"}
    return await _done(visit, "/secrets/revoke", body, "revoked")


async def rewrap(visit: Visit) -> Shown:
    """A new key for a tenant; its secrets are sealed under it."""
    return await _done(visit, "/secrets/rewrap", _home(visit), "rewrapped")


async def shred_form(visit: Visit) -> Shown:
    """What would be lost, before it is."""
    return await _shred(visit, 200)


async def _shred(visit: Visit, status: int, problem: str = "") -> Shown:
    query = visit.query
    tenant = visit.field("tenant") or query.get("tenant", "")
    environment = visit.field("environment") or query.get("environment", "")
    secrets = await visit.every("/secrets")
    return visit.show(
        "vault_shred.html",
        status,
        tenant=tenant,
        environment=environment,
        lost=[
            one
            for one in secrets
            if (one["tenant"], one["environment"]) == (tenant, environment)
            and one["state"] != "revoked"
        ],
        problem=problem,
    )


async def shred(visit: Visit) -> Shown:
    """Destroy a tenant's key."""
    body = {**_home(visit), "confirm": visit.field("confirm")}
    try:
        made = await visit.ask(
            "POST", "/secrets/shred", body=body, once=visit.field("once")
        )
    except Refused as refused:
        return await _shred(visit, refused.status, refused.told)
    if not made["destroyed"]:
        told = f"Nothing was destroyed: {body['confirm']} has no key that is left."
        return await _shred(visit, 404, told)
    return visit.go("/console/vault", done="shredded")


def homes_of(secrets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tenants and environments that have a key of their own, with what it seals."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in secrets:
        place = (one["tenant"], one["environment"])
        home = found.setdefault(
            place,
            {"tenant": place[0], "environment": place[1], "secrets": 0, "keks": set()},
        )
        home["secrets"] += one["state"] != "revoked" and one["kek"] != "destroyed"
        if "@" in one["kek"]:
            home["keks"].add(int(one["kek"].rpartition("@")[2]))
    return [{**home, "keks": sorted(home["keks"])} for _, home in sorted(found.items())]


async def _done(visit: Visit, path: str, body: dict[str, Any], done: str) -> Shown:
    try:
        await visit.ask("POST", path, body=body, once=visit.field("once"))
    except Refused as refused:
        return await _vault(visit, refused.status, refused.told)
    return visit.go("/console/vault", done=done)


def _home(visit: Visit) -> dict[str, str]:
    return {
        "tenant": visit.field("tenant"),
        "environment": visit.field("environment"),
    }


def _named(visit: Visit) -> dict[str, str]:
    return {
        "provider": visit.field("provider"),
        "name": visit.field("name") or "default",
        "tenant": visit.field("tenant"),
        "environment": visit.field("environment"),
    }
