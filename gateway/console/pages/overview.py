"""The first page: what happens now, against the period before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.visit import Shown, Visit

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
# Name to (length, step of the chart).
SPANS: Final = {
    "1h": (HOUR_MS, "minute"),
    "6h": (6 * HOUR_MS, "minute"),
    "24h": (24 * HOUR_MS, "hour"),
    "7d": (7 * 24 * HOUR_MS, "hour"),
    "30d": (30 * 24 * HOUR_MS, "day"),
}
FILTERS: Final = ("tenant", "site", "model", "provider")


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (Page("GET", "", overview),)


async def overview(visit: Visit) -> Shown:
    """Figures and charts of a span."""
    span = visit.query.get("span", "1h")
    length_ms, step = SPANS.get(span, SPANS["1h"])
    now_ms = visit.now_ms
    chosen = {name: visit.query.get(name, "") for name in FILTERS}
    asked = {**chosen, "since_ms": now_ms - length_ms, "until_ms": now_ms}
    before = {
        **chosen, "since_ms": now_ms - 2 * length_ms, "until_ms": now_ms - length_ms
    }  # fmt: skip
    now = await visit.ask("GET", "/usage", query={**asked, "step": step})
    then = await visit.ask("GET", "/usage", query=before)
    return visit.show(
        "overview.html",
        span=span,
        spans=list(SPANS),
        chosen=chosen,
        now=now["total"],
        then=then["total"],
        series=series(now["rows"]),
    )


def series(rows: list[Any]) -> dict[str, list[float]]:
    """Columns of a chart."""
    return {
        "at_s": [row["at_ms"] / 1000 for row in rows],
        "requests": [row["sums"]["requests"] for row in rows],
        "errors": [row["sums"]["errors"] for row in rows],
        "usd": [row["sums"]["cost_nanousd"] / 1e9 for row in rows],
    }
