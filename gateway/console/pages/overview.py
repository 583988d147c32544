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
# Tables: what they are called, and what makes up a name in them.
GROUPS: Final = (
    ("site", "Sites", ("site",)),
    ("model", "Models", ("model",)),
    ("route", "Routes", ("provider", "upstream_model")),
    ("provider", "Providers", ("provider",)),
)
ALL: Final = ("site", "model", "provider", "upstream_model")
NOTHING: Final = {"requests": 0, "errors": 0, "cost_nanousd": 0}
TOTALS: Final = (*NOTHING, "prompt_tokens", "output_tokens")
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
    """Totals of the span and of the one before, and columns of both for the charts.

    A total is the sum of its chart's steps, so that both tell the same.
    """
    step = SPANS[span][1]
    this, before = spans_of(visit.now_ms, span)
    (since_ms, now_ms), first_ms = this, before[0]
    narrowed = narrowing(chosen)
    asked = {**narrowed, "since_ms": first_ms, "until_ms": now_ms, "step": step}
    sums = (await visit.ask("GET", "/usage", query=asked))["rows"]
    speed = await _speed(visit, asked)
    then = {**narrowed, "since_ms": first_ms, "until_ms": since_ms}
    now = {**narrowed, "since_ms": since_ms, "until_ms": now_ms}
    return {
        "at_ms": visit.now_ms,
        "now": {**total(sums, this), **await _quantiles(visit, now)},
        "then": {**total(sums, before), **await _quantiles(visit, then)},
        "series": series(sums, speed, this, step),
        "before": series(sums, speed, before, step),
    }


def spans_of(now_ms: int, span: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The span until now and the one before: as many whole steps each.

    The last step of this one is still going on.
    """
    length_ms, step = SPANS[span]
    since_ms = now_ms // STEP_MS[step] * STEP_MS[step] + STEP_MS[step] - length_ms
    return (since_ms, now_ms + 1), (since_ms - length_ms, since_ms)


def total(
    rows: Sequence[Mapping[str, Any]], span_ms: tuple[int, int]
) -> dict[str, int]:
    """The sum of a span's steps."""
    found = dict.fromkeys(TOTALS, 0)
    for row in rows:
        if span_ms[0] <= row["at_ms"] < span_ms[1]:
            for name in TOTALS:
                found[name] += row["sums"][name]
    return found


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
    this, before = spans_of(visit.now_ms, span)
    narrowed = narrowing(chosen)
    found: list[dict[str, Any]] = []
    try:
        # Asked once for all tables, where that is not too much.
        both = await _rows(visit, narrowed, (this, before), ALL)
        for name, title, parts in GROUPS:
            now, then = (
                both or await _rows(visit, narrowed, (this, before), parts) or ([], [])
            )
            found.append(
                {"name": name, "title": title, "rows": table(now, then, parts)}
            )
    except Refused:
        return []
    return found


async def _rows(
    visit: Visit,
    narrowed: Mapping[str, str],
    spans_ms: tuple[tuple[int, int], tuple[int, int]],
    by: Sequence[str],
) -> tuple[list[Any], list[Any]] | None:
    """Sums of both spans by all of these; None where there are too many rows."""
    found: list[list[Any]] = []
    for since_ms, until_ms in spans_ms:
        asked = {**narrowed, "since_ms": since_ms, "until_ms": until_ms}
        usage = await visit.ask("GET", "/usage", query={**asked, "by": ",".join(by)})
        if usage["truncated"] and by == ALL:
            return None
        found.append(usage["rows"])
    return found[0], found[1]


def table(
    now: Sequence[Mapping[str, Any]],
    then: Sequence[Mapping[str, Any]],
    parts: Sequence[str],
) -> list[dict[str, Any]]:
    """The rows of one table, the dearest first, with the requests of before."""
    earlier = grouped(then, parts)
    rows: list[dict[str, Any]] = [
        {"name": one, "sums": sums, "before": earlier.get(one, NOTHING)["requests"]}
        for one, sums in grouped(now, parts).items()
    ]
    rows.sort(
        key=lambda row: (row["sums"]["cost_nanousd"], row["sums"]["requests"]),
        reverse=True,
    )
    return rows[:BY_SHOWN]


def grouped(
    rows: Sequence[Mapping[str, Any]], parts: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Sums by these parts of their names; those of nothing are left out."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        names = [row["group"][part] for part in parts]
        if not all(names):
            continue
        sums = found.setdefault("/".join(names), dict(NOTHING))
        for field in NOTHING:
            sums[field] += row["sums"][field]
    return found


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
