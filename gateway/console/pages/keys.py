"""A site's API keys: made and rotated (shown once), changed, revoked; and WordPress.

A key's secret is in the answer to the form that made it, and in no page after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.console import forms
from gateway.console.app import Console, Page
from gateway.console.forms import Field
from gateway.console.pages.sites import TABS, site_of
from gateway.console.visit import Refused, Shown, Visit, at

DAY_MS: Final = 86_400_000
SCOPES: Final = (
    ("inference", "ask models"),
    ("models", "list models"),
    ("usage", "see the site's usage"),
    ("grants", "hand out stream grants to browsers"),
)
OVERLAPS: Final = (
    (0, "at once"),
    (3600, "an hour"),
    (86_400, "a day"),
    (604_800, "a week"),
)
TERMS: Final = (
    Field("label", "Label", hint="What it is for, as: shop, production."),
    Field("models", "Only these models", "lines", hint="Of those its site may."),
    Field("models_denied", "Never these", "lines"),
    Field("origins", "From these web pages", "lines",
          hint="As https://www.example.org. Empty: from no browser."),
    Field("audiences", "Grants for", "lines"),
    Field("requests_per_minute_max", "Requests a minute", "whole"),
    Field("tokens_per_minute_max", "Tokens a minute", "whole"),
    Field("in_flight_max", "At once", "whole"),
)  # fmt: skip


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    path, key = "/sites/{site}/keys", "/sites/{site}/keys/{key}"
    return (
        Page("GET", path, keys),
        Page("POST", path, create, role="admin"),
        Page("GET", key, one_key),
        Page("POST", key, change, role="admin"),
        Page("POST", f"{key}/rotate", rotate, role="admin"),
        Page("POST", f"{key}/revoke", revoke, role="admin"),
        Page("GET", "/sites/{site}/wordpress", wordpress),
        Page("POST", "/sites/{site}/wordpress", connect, role="admin"),
    )


async def keys(visit: Visit) -> Shown:
    """All of a site's."""
    return await _keys(visit, 200)


async def create(visit: Visit) -> Shown:
    """A new one, shown this once."""
    path = at("sites", visit.params["site"], "keys")
    body = {"terms": _terms(visit)}
    try:
        made = await visit.ask("POST", path, body=body, once=visit.field("once"))
    except Refused as refused:
        return await _keys(visit, refused.status, refused=refused)
    return await _keys(visit, 201, made=made)


async def _keys(
    visit: Visit, status: int, *, made: Any = None, refused: Refused | None = None
) -> Shown:
    one, version = await site_of(visit)
    found = await visit.every(at("sites", one["name"], "keys"))
    found.sort(key=lambda key: (key["revoked_ms"] is not None, -key["created_ms"]))
    return visit.show(
        "keys.html",
        status,
        one=one,
        version=version,
        tabs=TABS,
        tab="/keys",
        keys=found,
        made=made,
        refused=refused,
        fields=forms.shown(TERMS, {}, typed=visit.form, problems=_problems(refused))
        if refused is not None
        else forms.shown(TERMS, {}),
        scopes=SCOPES,
        chosen=visit.fields("scopes"),
        overlaps=OVERLAPS,
    )


async def one_key(visit: Visit) -> Shown:
    """One, with its terms to change."""
    return await _one_key(visit, 200)


async def _one_key(visit: Visit, status: int, refused: Refused | None = None) -> Shown:
    one, _ = await site_of(visit)
    key, version = await visit.ask_versioned("GET", _path(visit))
    terms: Mapping[str, Any] = key["terms"]
    stale = refused is not None and refused.code == "stale"
    used = {"key": key["key_id"], "since_ms": visit.now_ms - 30 * DAY_MS}
    try:
        total = (await visit.ask("GET", "/usage", query=used))["total"]
    except Refused:
        total = None
    return visit.show(
        "key.html",
        status,
        one=one,
        key=key,
        version=version,
        total=total,
        tabs=TABS,
        tab="/keys",
        refused=refused,
        stale=stale,
        fields=forms.shown(TERMS, terms)
        if refused is None
        else forms.shown(
            TERMS,
            terms,
            typed=visit.form,
            problems=_problems(refused),
            told=refused.shows_stored,
        ),
        scopes=SCOPES,
        chosen=terms.get("scopes", ()),
        overlaps=OVERLAPS,
    )


async def change(visit: Visit) -> Shown:
    """Its terms."""
    try:
        await visit.ask(
            "PUT",
            _path(visit),
            body={"terms": _terms(visit)},
            if_match=visit.field("version"),
            once=visit.field("once"),
        )
    except Refused as refused:
        return await _one_key(visit, refused.status, refused)
    return visit.go(f"/console{_path(visit)}", done="saved")


async def rotate(visit: Visit) -> Shown:
    """A new secret, shown this once; the earlier ones go on for a while."""
    overlap = visit.field("overlap_s")
    body = {"overlap_s": int(overlap)} if overlap.isdecimal() else {}
    try:
        made = await visit.ask(
            "POST", f"{_path(visit)}/rotate", body=body, once=visit.field("once")
        )
    except Refused as refused:
        return await _keys(visit, refused.status, refused=refused)
    return await _keys(visit, 200, made=made)


async def revoke(visit: Visit) -> Shown:
    """It opens nothing from now on."""
    await visit.ask("POST", f"{_path(visit)}/revoke", once=visit.field("once"))
    path = at("sites", visit.params["site"], "keys")
    return visit.go(f"/console{path}", done="revoked")


# -- WordPress -------------------------------------------------------------------------


async def wordpress(visit: Visit) -> Shown:
    """What it takes to connect a WordPress site."""
    return await _wordpress(visit, 200)


async def connect(visit: Visit) -> Shown:
    """Let its pages call, and make a key for it, shown this once."""
    one, version = await site_of(visit)
    origin = _origin(visit.field("address"))
    allowed = [*one["settings"].get("allowed_origins", ())]
    try:
        if one["origin"] == "database" and origin and origin not in allowed:
            patch = {"settings": {"allowed_origins": [*allowed, origin]}}
            await visit.ask(
                "PATCH", at("sites", one["name"]), body=patch, if_match=version
            )
        terms = {
            "label": f"WordPress {origin}".strip()[:200],
            "scopes": ["inference", "models", "usage", "grants"],
            "origins": [origin] if origin else [],
        }
        made = await visit.ask(
            "POST",
            at("sites", one["name"], "keys"),
            body={"terms": terms},
            once=visit.field("once"),
        )
    except Refused as refused:
        return await _wordpress(visit, refused.status, refused=refused)
    return await _wordpress(visit, 201, made=made)


async def _wordpress(
    visit: Visit, status: int, *, made: Any = None, refused: Refused | None = None
) -> Shown:
    one, version = await site_of(visit)
    host = visit.request.headers.get("host", "")
    secure = visit.request.headers.get("origin", "").startswith("https://")
    scheme = "https" if secure else str(visit.request.scope.get("scheme", "http"))
    server = visit.console.office.config.server
    return visit.show(
        "wordpress.html",
        status,
        one=one,
        version=version,
        tabs=TABS,
        tab="/wordpress",
        made=made,
        refused=refused,
        address=visit.field("address"),
        # With an address of its own for operators, this page is not at the clients'.
        base_url=f"{scheme}://{host}" if server.admin_bind is None else "",
    )


def _origin(address: str) -> str:
    """A web address as the origin that browsers send."""
    scheme, found, rest = address.strip().partition("://")
    if not found:
        scheme, rest = "https", address.strip()
    host = rest.partition("/")[0].lower()
    return f"{scheme.lower()}://{host}" if host else ""


def _path(visit: Visit) -> str:
    return at("sites", visit.params["site"], "keys", visit.params["key"])


def _problems(refused: Refused | None) -> dict[str, str]:
    if refused is None:
        return {}
    found = forms.problems_of(refused.problem)
    return {path.removeprefix("$.terms."): told for path, told in found.items()}


def _terms(visit: Visit) -> dict[str, Any]:
    made = forms.without_nothing(forms.patch_of(TERMS, visit.form))
    scopes = visit.fields("scopes")
    if scopes:
        made["scopes"] = scopes
    days = visit.field("expires_days")
    kept = visit.field("expires_ms")
    if days.isdecimal():
        made["expires_ms"] = visit.now_ms + int(days) * DAY_MS
    elif kept.isdecimal() and visit.field("expires") != "never":
        made["expires_ms"] = int(kept)
    return made
