"""Sites: who spends how much of what they may, and one site whole.

Its settings are in site_settings.py, its keys in keys.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.forms import problems_of
from gateway.console.visit import Refused, Shown, Visit, at

DAY_MS: Final = 86_400_000
DAYS_SHOWN: Final = 30
REQUESTS_SHOWN: Final = 10
ALERTS_LOOKED_AT: Final = 100  # The newest, of all caps the visitor may know.
TABS: Final = (
    ("", "Spending"),
    ("/keys", "Keys"),
    ("/settings", "Limits and routes"),
    ("/wordpress", "WordPress"),
)


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (
        Page("GET", "/sites", every),
        Page("POST", "/sites", create, role="admin"),
        Page("GET", "/sites/{site}", detail),
        Page("POST", "/sites/{site}/remove", remove, role="admin", sure=True),
    )


async def every(visit: Visit) -> Shown:
    """All of them, with what they spent of their caps."""
    return await _every(visit, 200, "", {})


async def _every(
    visit: Visit, status: int, problem: str, typed: dict[str, str]
) -> Shown:
    sites = await visit.every("/sites")
    spending = await _by_name(visit, "/site-spending", "site")
    asked = {"since_ms": visit.now_ms - DAY_MS, "by": "site"}
    try:
        used = await visit.ask("GET", "/usage", query=asked)
    except Refused:
        used = {"rows": []}
    return visit.show(
        "sites.html",
        status,
        sites=sites,
        spending=spending,
        used={row["group"]["site"]: row["sums"] for row in used["rows"]},
        tenants=[one["name"] for one in await visit.every("/tenants")],
        problem=problem,
        typed=typed,
    )


async def create(visit: Visit) -> Shown:
    """A new one, with the little that it takes to begin."""
    name, tenant = visit.field("name"), visit.field("tenant")
    settings = {"tenant": tenant} if tenant else {}
    body = {"name": name, "settings": settings}
    try:
        await visit.ask("POST", "/sites", body=body, once=visit.field("once"))
    except Refused as refused:
        found = problems_of(refused.problem)
        told = "; ".join(found.values()) if "$.name" in found else refused.told
        typed = {"name": name, "tenant": tenant}
        return await _every(visit, refused.status, told, typed)
    return visit.go(f"/console{at('sites', name)}/keys", done="added")


async def detail(visit: Visit) -> Shown:
    """One: caps, pace, and its last days; as a part, caps and pace as they are now."""
    one, version = await site_of(visit)
    name = one["name"]
    spending = await _spending(visit, name)
    if visit.is_part:
        return visit.show(
            "_site_spending.html",
            one=one,
            caps=spending["caps"],
            ladder=spending["ladder"],
        )
    since_ms = visit.now_ms - DAYS_SHOWN * DAY_MS
    days, models, features = [
        await _used(visit, {"site": name, "since_ms": since_ms, **more})
        for more in ({"step": "day"}, {"by": "model"}, {"by": "feature"})
    ]
    records = await visit.ask(
        "GET",
        "/records",
        query={
            "site": name,
            "since_ms": since_ms,
            "limit": REQUESTS_SHOWN,
        },
    )
    return visit.show(
        "site.html",
        one=one,
        version=version,
        tabs=TABS,
        tab="",
        caps=spending["caps"],
        ladder=spending["ladder"],
        bars=bars(days["rows"], visit.now_ms),
        total=days.get("total"),
        tables=(
            ("Model", "model", models["rows"]),
            ("Use", "feature", features["rows"]),
        ),
        rows=records["items"],
        more="",
    )


async def _spending(visit: Visit, name: str) -> Any:
    """Its caps, each with when it began to refuse in its window, if it did."""
    try:
        spending = await visit.ask("GET", at("sites", name, "spending"))
        told = await visit.ask(
            "GET", "/alerts", query={"kind": "cap.hard", "limit": ALERTS_LOOKED_AT}
        )
    except Refused:  # It was just added, and is not served yet.
        return {"caps": [], "ladder": []}
    for cap in spending["caps"]:
        subject = f"{name}:spend" if cap["name"] == "spend" else cap["name"]
        cap["refused_ms"] = min(
            (
                one["at_ms"]
                for one in told["items"]
                if one["subject"] == subject and one["at_ms"] >= (cap["began_ms"] or 0)
            ),
            default=None,
        )
    return spending


async def remove(visit: Visit) -> Shown:
    """For good, with its keys."""
    path = at("sites", visit.params["site"])
    if visit.field("typed") != visit.params["site"]:
        return visit.go(f"/console{path}/settings?unsure=1")
    await visit.ask(
        "DELETE", path, if_match=visit.field("version"), once=visit.field("once")
    )
    return visit.go("/console/sites", done="removed")


async def site_of(visit: Visit) -> tuple[dict[str, Any], str]:
    """The site in the path, and its version. Raises Refused."""
    return await visit.ask_versioned("GET", at("sites", visit.params["site"]))


def bars(rows: Sequence[Any], now_ms: int) -> list[dict[str, Any]]:
    """A column for each of the last days, those without anything too."""
    spent = {row["at_ms"]: row["sums"] for row in rows}
    today = now_ms - now_ms % DAY_MS
    days = [today - back * DAY_MS for back in range(DAYS_SHOWN - 1, -1, -1)]
    most = max((spent[d]["cost_nanousd"] for d in days if d in spent), default=0)
    return [
        {
            "at_ms": day,
            "x": place,
            "cost": sums["cost_nanousd"] if sums else 0,
            "requests": sums["requests"] if sums else 0,
            "height": round(sums["cost_nanousd"] * 100 / most, 2)
            if sums and most
            else 0,
        }
        for place, day in enumerate(days)
        for sums in (spent.get(day),)
    ]


async def _used(visit: Visit, query: dict[str, Any]) -> Any:
    try:
        return await visit.ask("GET", "/usage", query=query)
    except Refused:
        return {"rows": [], "total": None}


async def _by_name(visit: Visit, path: str, name: str) -> dict[str, Any]:
    return {one[name]: one for one in await visit.every(path)}
