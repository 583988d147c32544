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
FILTERS: Final = ("tenant", "site", "model", "route", "provider")
NAMES_MAX: Final = 200  # To choose from: more is no choice, and a long page.
BY_SHOWN: Final = 8  # Rows of the small tables: the most used ones.


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (Page("GET", "", overview), Page("GET", "/live", live))


async def overview(visit: Visit) -> Shown:
    """Figures and charts of a span, beside the one before."""
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
        known=_known(visit),
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
    """Totals of the span and of the one before, and columns of both for the charts."""
    length_ms, step = SPANS[span]
    now_ms = visit.now_ms
    since_ms, first_ms = now_ms - length_ms, now_ms - 2 * length_ms
    narrowed = narrowing(chosen)
    now = {**narrowed, "since_ms": since_ms, "until_ms": now_ms}
    before = {**narrowed, "since_ms": first_ms, "until_ms": since_ms}
    both = {**narrowed, "since_ms": first_ms, "until_ms": now_ms, "step": step}
    sums = (await visit.ask("GET", "/usage", query=both))["rows"]
    speed = await _speed(visit, both)
    return {
        "at_ms": now_ms,
        "now": await _totals(visit, now),
        "then": await _totals(visit, before),
        "series": series(sums, speed, (since_ms, now_ms), step),
        "before": series(sums, speed, (first_ms, since_ms), step),
    }


def narrowing(chosen: Mapping[str, str]) -> dict[str, str]:
    """The chosen filters as the admin API takes them.

    A route is a deployment, as PROVIDER/MODEL; one without a slash is a provider.
    """
    asked = {name: value for name, value in chosen.items() if name != "route"}
    if route := chosen.get("route", ""):
        provider, _, model = route.partition("/")
        if asked.get("provider") not in {"", None, provider}:
            # Both cannot be: whoever asks for two providers gets nothing of either.
            provider = route
        asked |= {"provider": provider, "upstream_model": model}
    return asked


async def _totals(visit: Visit, query: Mapping[str, Any]) -> dict[str, Any]:
    usage = await visit.ask("GET", "/usage", query=query)
    return {**usage["total"], **await _quantiles(visit, query)}


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
    # Two spans that follow each other have no step in common.
    first = -(-span_ms[0] // step_ms) * step_ms
    steps = range(first, max(span_ms[1], first + step_ms), step_ms)

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
        "error_share": [
            round(by_step[at]["errors"] / by_step[at]["requests"], 6)
            if at in by_step and by_step[at]["requests"]
            else None
            for at in steps
        ],
        "tokens_in": rate("prompt_tokens"),
        "tokens_out": rate("output_tokens"),
        "usd": rate("cost_nanousd", 1e-9),
        "first_p50_ms": quantile("first_p50_ms"),
        "first_p95_ms": quantile("first_p95_ms"),
        "total_p50_ms": quantile("total_p50_ms"),
        "total_p95_ms": quantile("total_p95_ms"),
    }


async def _groups(
    visit: Visit, span: str, chosen: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Who used most, by site, model, route and provider; and how much before."""
    length_ms = SPANS[span][0]
    since_ms = visit.now_ms - length_ms
    asked = {**narrowing(chosen), "since_ms": since_ms}
    before = {**asked, "since_ms": since_ms - length_ms, "until_ms": since_ms}
    found: list[dict[str, Any]] = []
    for name, title in (
        ("site", "Sites"), ("model", "Models"), ("route", "Routes"),
        ("provider", "Providers"),
    ):  # fmt: skip
        by = "provider,upstream_model" if name == "route" else name
        try:
            now = await _by_name(visit, {**asked, "by": by})
            then = await _by_name(visit, {**before, "by": by})
        except Refused:
            continue
        rows: list[dict[str, Any]] = [
            {"name": one, "sums": sums, "before": then.get(one, {}).get("requests", 0)}
            for one, sums in now.items()
        ]
        rows.sort(
            key=lambda row: (row["sums"]["cost_nanousd"], row["sums"]["requests"]),
            reverse=True,
        )
        found.append({"name": name, "title": title, "rows": rows[:BY_SHOWN]})
    return found


async def _by_name(visit: Visit, query: Mapping[str, Any]) -> dict[str, Any]:
    """Sums by what they are grouped by; those of nothing are left out."""
    usage = await visit.ask("GET", "/usage", query=query)
    found = {"/".join(row["group"].values()): row["sums"] for row in usage["rows"]}
    return {name: sums for name, sums in found.items() if name.strip("/")}


def _known(visit: Visit) -> dict[str, list[str]]:
    """Names to choose from, of what the visitor may know."""
    config = visit.console.office.config
    tenants = visit.who.principal.tenants
    sites = [
        one.name
        for one in config.sites
        if tenants is None or config.home_of(one)[0] in tenants
    ]
    found = {
        "site": sites[:NAMES_MAX],
        "tenant": sorted(tenants) if tenants else [one.name for one in config.tenants],
    }
    if tenants is None:
        found["model"] = [one.name for one in config.models][:NAMES_MAX]
        found["provider"] = [one.name for one in config.providers]
        found["route"] = [
            f"{one.name}/{model}" for one in config.providers for model in one.models
        ][:NAMES_MAX]
    return found


def _asked(visit: Visit) -> tuple[str, dict[str, str]]:
    query = visit.query
    span = query.get("span", "1h")
    chosen = {name: query.get(name, "") for name in FILTERS}
    return span if span in SPANS else "1h", chosen
