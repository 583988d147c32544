"""Admin tokens, for programs that do what people do here: made (once), revoked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.forms import names_in
from gateway.console.visit import Refused, Shown, Visit, at

DAY_MS: Final = 86_400_000
TOKENS: Final = "/console/settings/tokens"


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    owners = partial(Page, role="owner")
    return (
        owners("GET", "/settings/tokens", tokens),
        owners("POST", "/settings/tokens", create, sure=True),
        owners("POST", "/settings/tokens/{token}/revoke", revoke),
    )


async def tokens(visit: Visit) -> Shown:
    """All that one may see."""
    return await _tokens(visit, 200)


async def _tokens(visit: Visit, status: int, made: Any = None, told: str = "") -> Shown:
    found = await visit.every("/tokens")
    found.sort(key=lambda one: (one["revoked_ms"] is not None, -one["created_ms"]))
    return visit.show(
        "tokens.html",
        status,
        tokens=found,
        of_file=visit.console.office.config.admin.tokens
        if visit.who.principal.is_operator
        else (),
        made=made,
        problem=told,
        typed={name: visit.field(name) for name in ("name", "role", "tenants")},
    )


async def create(visit: Visit) -> Shown:
    """A new one, shown this once."""
    days = visit.field("expires_days")
    body: dict[str, Any] = {
        "name": visit.field("name"),
        "role": visit.field("role"),
        "tenants": names_in(visit.field("tenants")),
    }
    if days.isdecimal():
        body["expires_ms"] = visit.now_ms + int(days) * DAY_MS
    try:
        made = await visit.ask("POST", "/tokens", body=body, once=visit.field("once"))
    except Refused as refused:
        return await _tokens(visit, refused.status, told=refused.told)
    return await _tokens(visit, 201, made)


async def revoke(visit: Visit) -> Shown:
    """It opens nothing from now on."""
    path = at("tokens", visit.params["token"], "revoke")
    await visit.ask("POST", path, once=visit.field("once"))
    return visit.go(TOKENS, done="revoked")
