"""Providers: how each is now, and what can be done about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.visit import Refused, Shown, Visit, at

HOUR_MS: Final = 3_600_000
REQUESTS_SHOWN: Final = 15
REQUESTS_JUDGED: Final = 500  # Enough for a 95th percentile of a few sizes; one page.
ALERTS_LOOKED_AT: Final = 200  # Of each kind, of all providers.
HISTORY_SHOWN: Final = 20
# Of prompts, in tokens: below which, and what to call it.
SIZES: Final = (
    (1_000, "up to 1k"), (4_000, "1k to 4k"), (16_000, "4k to 16k"),
    (64_000, "16k to 64k"), (1 << 62, "over 64k"),
)  # fmt: skip
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
    return await show_provider(visit, None)


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
    tried = await tried_of(visit, name, visit.field("model"))
    return await show_provider(visit, tried)


async def tried_of(visit: Visit, name: str, model: str) -> Any:
    """How a test call went; one that was refused is one that did not go well."""
    try:
        return await visit.ask(
            "POST",
            at("providers", name, "test"),
            body={"model": model, "site": visit.field("site")},
            once=visit.once_for("test"),
        )
    except Refused as refused:
        return {"ok": False, "error": refused.told, "elapsed_ms": None, "status": 0}


async def show_provider(visit: Visit, tried: Any) -> Shown:
    """One, with how a test call went if there was one."""
    name = visit.params["provider"]
    state = await visit.ask("GET", at("providers", name, "state"))
    declared = await visit.ask("GET", at("providers", name))
    records = await visit.ask(
        "GET",
        "/records",
        query={
            "provider": name,
            "since_ms": visit.now_ms - 24 * HOUR_MS,
            "limit": REQUESTS_JUDGED,
        },
    )
    tree = await visit.ask("GET", "/tree")
    crashes = [
        one for one in tree["crashes"] if one["actor"].endswith(f"providers/{name}")
    ]
    return visit.show(
        "provider.html",
        one=state,
        declared=declared,
        serves=await _serves(visit, name),
        sites=sorted(one.name for one in visit.console.office.config.sites),
        states=STATES,
        tried=tried,
        rows=records["items"][:REQUESTS_SHOWN],
        more="",
        sizes=by_size(records["items"]),
        judged=len(records["items"]),
        history=await _history(visit, name),
        crashes=crashes[::-1],
        secret=await _secret(visit, name, state["key"]),
    )


async def _serves(visit: Visit, name: str) -> list[str]:
    """The models that clients ask for and that it is a candidate of."""
    return [
        one["name"]
        for one in await visit.every("/model-states")
        if any(step["provider"] == name for step in one["route"])
    ]


def by_size(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How long answers took, by the length of the prompt; only what went well."""
    found: list[dict[str, Any]] = []
    least = 0
    for most, label in SIZES:
        own = [
            row
            for row in rows
            if row["outcome"] == "ok" and least <= row["prompt_tokens"] < most
        ]
        least = most
        if not own:
            continue
        # Without streaming there is no first content: the whole answer is.
        first = [row["first_content_ms"] or row["duration_ms"] for row in own]
        total = [row["duration_ms"] for row in own]
        made = {"label": label, "requests": len(own)}
        for name, times in (("first", first), ("total", total)):
            made[f"{name}_p50_ms"] = quantile(times, 0.5)
            made[f"{name}_p95_ms"] = quantile(times, 0.95)
        found.append(made)
    slowest = max((one["total_p95_ms"] for one in found), default=0) or 1
    for one in found:
        one["share"] = max(1, round(100 * one["total_p95_ms"] / slowest))
        one["first_share"] = max(1, round(100 * one["first_p95_ms"] / slowest))
    return found


def quantile(times: Sequence[int], share: float) -> int:
    """The nearest rank: a time that was measured, not one between two."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def _history(visit: Visit, name: str) -> list[Any]:
    """When its breaker opened and closed, the newest first; over restarts too."""
    found: list[Any] = []
    for kind in ("provider.down", "provider.up"):
        try:
            told = await visit.ask(
                "GET", "/alerts", query={"kind": kind, "limit": ALERTS_LOOKED_AT}
            )
        except Refused:
            return []
        found += [one for one in told["items"] if one["subject"] == name]
    found.sort(key=lambda one: one["at_ms"], reverse=True)
    return found[:HISTORY_SHOWN]


async def _secret(visit: Visit, name: str, key: str) -> Any:
    """What is known of the key in the vault that it is called with, if it is there."""
    if not key.startswith("vault:"):
        return None
    try:
        every_one = await visit.every("/secrets")
    except Refused:
        return None
    wanted = key.removeprefix("vault:")
    own = [
        one for one in every_one if one["provider"] == name and one["name"] == wanted
    ]
    return max(own, key=lambda one: one["version"], default=None)


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
