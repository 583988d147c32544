"""Providers: how each is now, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.visit import Refused, Shown, Visit, at

HOUR_MS: Final = 3_600_000
REQUESTS_SHOWN: Final = 15
STATES: Final = {
    "closed": ("good", "in use"),
    "probation": ("warn", "on probation"),
    "open": ("bad", "out"),
    "paused": ("info", "paused"),
}


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    act = "/providers/{provider}"
    return (
        Page("GET", "/providers", every, operator=True),
        Page("GET", act, detail, operator=True),
        Page("POST", f"{act}/pause", pause, role="admin", operator=True),
        Page("POST", f"{act}/resume", resume, role="admin", operator=True),
        Page("POST", f"{act}/test", test, role="admin", operator=True),
    )


async def every(visit: Visit) -> Shown:
    """All of them, with their last hour; as a part, for what looks again."""
    states = await visit.every("/provider-states")
    since = {"since_ms": visit.now_ms - HOUR_MS, "by": "provider"}
    sums = await _by_provider(visit, "/usage", since)
    speeds = await _by_provider(visit, "/usage/latency", since)
    return visit.show(
        "_providers.html" if visit.is_part else "providers.html",
        rows=states,
        sums=sums,
        speeds=speeds,
        states=STATES,
    )


async def detail(visit: Visit) -> Shown:
    """One of them."""
    return await _detail(visit, None)


async def pause(visit: Visit) -> Shown:
    """Take it out of use."""
    name = visit.params["provider"]
    body = {"reason": visit.field("reason") or "paused at the Console"}
    await visit.ask(
        "POST", at("providers", name, "pause"), body=body, once=visit.field("once")
    )
    return visit.go(f"/console{at('providers', name)}", done="paused")


async def resume(visit: Visit) -> Shown:
    """Put it back."""
    name = visit.params["provider"]
    await visit.ask("POST", at("providers", name, "resume"), once=visit.field("once"))
    return visit.go(f"/console{at('providers', name)}", done="resumed")


async def test(visit: Visit) -> Shown:
    """Send it one short question, and say how it went."""
    name = visit.params["provider"]
    try:
        tried = await visit.ask(
            "POST",
            at("providers", name, "test"),
            body={"model": visit.field("model"), "site": visit.field("site")},
            once=visit.field("once"),
        )
    except Refused as refused:
        tried = {"ok": False, "error": refused.told, "elapsed_ms": None, "status": 0}
    return await _detail(visit, tried)


async def _detail(visit: Visit, tried: Any) -> Shown:
    name = visit.params["provider"]
    state = await visit.ask("GET", at("providers", name, "state"))
    records = await visit.ask(
        "GET",
        "/records",
        query={
            "provider": name,
            "since_ms": visit.now_ms - 24 * HOUR_MS,
            "limit": REQUESTS_SHOWN,
        },
    )
    return visit.show(
        "provider.html",
        one=state,
        states=STATES,
        tried=tried,
        rows=records["items"],
        more="",
    )


async def _by_provider(
    visit: Visit, path: str, query: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Rows by their provider; none where sums cannot be had now."""
    try:
        found = await visit.ask("GET", path, query=query)
    except Refused:
        return {}
    rows: dict[str, dict[str, Any]] = {}
    for row in found["rows"]:
        group = row["group"]
        name = group["provider"] if isinstance(group, dict) else group
        rows[name] = row.get("sums", row)
    return rows
