"""The first page: what happens now, against the period before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from gateway.console.app import Console, Page
from gateway.console.live import WATCHERS_MAX
from gateway.console.visit import Refused, Shown, Visit

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
STEP_MS: Final = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": 24 * HOUR_MS}
# Name to (length, step of the chart).
SPANS: Final = {
    "1h": (HOUR_MS, "minute"),
    "6h": (6 * HOUR_MS, "minute"),
    "24h": (24 * HOUR_MS, "hour"),
    "7d": (7 * 24 * HOUR_MS, "hour"),
    "30d": (30 * 24 * HOUR_MS, "day"),
}
FILTERS: Final = ("tenant", "site", "model", "provider")
BY_SHOWN: Final = 8  # Rows of the small tables: the most used ones.


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (Page("GET", "", overview), Page("GET", "/live", live))


async def overview(visit: Visit) -> Shown:
    """Figures and charts of a span."""
    span, chosen = _asked(visit)
    return visit.show(
        "overview.html",
        span=span,
        spans=list(SPANS),
        chosen=chosen,
        is_filtered=any(chosen.values()),
        live=urlencode({**{k: v for k, v in chosen.items() if v}, "span": span}),
        figures=await figures(visit, span, chosen),
        groups=await _groups(visit, span, chosen),
    )


async def live(visit: Visit) -> Shown:
    """The figures again and again, as server-sent events."""
    span, chosen = _asked(visit)
    console = visit.console
    if console.live.watchers >= WATCHERS_MAX:
        return Shown(503, b"", (("retry-after", "30"),))
    # Whoever sees the same tenants through the same filters sees the same.
    key = (visit.who.principal.tenants, span, *chosen.values())
    gate = console.office.gate
    events = console.live.watch(
        key, lambda: figures(visit, span, chosen), ended=lambda: gate.draining
    )
    headers = (("content-type", "text/event-stream"), ("x-accel-buffering", "no"))
    return Shown(200, b"", headers, events)


async def figures(visit: Visit, span: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Totals of the span and of the one before, and columns for the charts."""
    length_ms, step = SPANS[span]
    now_ms = visit.now_ms
    asked = {**chosen, "since_ms": now_ms - length_ms, "until_ms": now_ms}
    before = {
        **chosen, "since_ms": now_ms - 2 * length_ms, "until_ms": now_ms - length_ms
    }  # fmt: skip
    now = await visit.ask("GET", "/usage", query={**asked, "step": step})
    then = await visit.ask("GET", "/usage", query=before)
    speed = await _speed(visit, {**asked, "step": step})
    return {
        "at_ms": now_ms,
        "now": {**now["total"], **await _quantiles(visit, asked)},
        "then": {**then["total"], **await _quantiles(visit, before)},
        "series": series(now["rows"], speed, (now_ms - length_ms, now_ms), step),
    }


async def _speed(visit: Visit, query: Mapping[str, Any]) -> list[Any]:
    rows: list[Any] = (await visit.ask("GET", "/usage/latency", query=query))["rows"]
    return rows


async def _quantiles(visit: Visit, query: Mapping[str, Any]) -> dict[str, Any]:
    rows = await _speed(visit, query)
    names = ("first_p50_ms", "first_p95_ms", "total_p50_ms", "total_p95_ms")
    return {name: rows[0][name] if rows else None for name in names}


def series(
    sums: Sequence[Mapping[str, Any]],
    speed: Sequence[Mapping[str, Any]],
    span_ms: tuple[int, int],
    step: str,
) -> dict[str, list[Any]]:
    """Columns of the charts, a value for each step; per minute, whatever the step is.

    Steps in which nothing happened are there too: a gap is news.
    """
    step_ms = STEP_MS[step]
    minutes = step_ms / MINUTE_MS
    by_step = {row["at_ms"]: row["sums"] for row in sums}
    speeds = {row["at_ms"]: row for row in speed}
    first = span_ms[0] // step_ms * step_ms
    steps = range(first, span_ms[1], step_ms)

    def rate(name: str, scale: float = 1.0) -> list[float]:
        return [
            round(by_step[at][name] * scale / minutes, 6) if at in by_step else 0
            for at in steps
        ]

    def quantile(name: str) -> list[int | None]:
        return [speeds[at][name] if at in speeds else None for at in steps]

    return {
        "at_s": [at / 1000 for at in steps],
        "requests": rate("requests"),
        "errors": rate("errors"),
        "tokens_in": rate("prompt_tokens"),
        "tokens_out": rate("output_tokens"),
        "usd": rate("cost_nanousd", 1e-9),
        "first_p50_ms": quantile("first_p50_ms"),
        "first_p95_ms": quantile("first_p95_ms"),
    }


async def _groups(
    visit: Visit, span: str, chosen: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Who used most, by site, model and provider."""
    asked = {**chosen, "since_ms": visit.now_ms - SPANS[span][0]}
    found: list[dict[str, Any]] = []
    for name, title in (
        ("site", "Sites"), ("model", "Models"), ("provider", "Providers")
    ):  # fmt: skip
        try:
            usage = await visit.ask("GET", "/usage", query={**asked, "by": name})
        except Refused:
            continue
        rows = sorted(
            usage["rows"],
            key=lambda row: (row["sums"]["cost_nanousd"], row["sums"]["requests"]),
            reverse=True,
        )
        rows = [row for row in rows if row["group"][name]]
        found.append({"name": name, "title": title, "rows": rows[:BY_SHOWN]})
    return found


def _asked(visit: Visit) -> tuple[str, dict[str, str]]:
    query = visit.query
    span = query.get("span", "1h")
    chosen = {name: query.get(name, "") for name in FILTERS}
    return span if span in SPANS else "1h", chosen
