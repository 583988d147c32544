"""Requests: a search, and one of them as a waterfall. Facts only, never content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from gateway.console.app import Console, Page
from gateway.console.visit import Shown, Visit, at

FILTERS: Final = (
    "tenant", "site", "environment", "key", "model", "provider", "feature", "outcome",
    "code",
)  # fmt: skip
OUTCOMES: Final = ("ok", "error", "aborted", "cut", "crashed")
SPANS: Final = {
    "1h": 3_600_000,
    "24h": 86_400_000,
    "7d": 7 * 86_400_000,
    "30d": 30 * 86_400_000,
    "all": 10 * 365 * 86_400_000,
}
ROWS: Final = 50
SHARE_MIN: Final = 1  # Of a hundred: what took no time is still to be seen.


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (
        Page("GET", "/requests", search),
        Page("GET", "/requests/{request}", detail),
    )


async def search(visit: Visit) -> Shown:
    """The newest first, a page at a time."""
    query = visit.query
    wanted = query.get("id", "").strip()
    if wanted:
        return visit.go(f"/console/requests{at(wanted)}")
    span = query.get("span", "24h")
    chosen = {name: query.get(name, "") for name in FILTERS}
    asked = {
        **chosen,
        "since_ms": max(0, visit.now_ms - SPANS.get(span, SPANS["24h"])),
        "limit": ROWS,
        "cursor": query.get("cursor", ""),
    }
    found = await visit.ask("GET", "/records", query=asked)
    following = found.get("next_cursor") or ""
    kept = {**{k: v for k, v in chosen.items() if v}, "span": span}
    return visit.show(
        "_request_rows.html" if visit.is_part else "requests.html",
        rows=found["items"],
        chosen=chosen,
        span=span,
        spans=list(SPANS),
        outcomes=OUTCOMES,
        more=urlencode({**kept, "cursor": following}) if following else "",
        is_filtered=any(chosen.values()),
    )


async def detail(visit: Visit) -> Shown:
    """Everything that is known of one request."""
    found = await visit.ask("GET", at("records", visit.params["request"]))
    record = found["record"]
    return visit.show(
        "request.html",
        record=record,
        journal=found["journal"],
        bars=waterfall(record),
        total_ms=max(1, record.get("duration_ms", 0)),
    )


def waterfall(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What happened when, as bars: where each begins and ends, in hundredths.

    Times of an attempt are counted from its beginning, that of the plan from the
    request's.
    """
    total_ms = max(1, record.get("duration_ms", 0))
    bars: list[dict[str, Any]] = []

    def add(kind: str, what: str, from_ms: float, to_ms: float, note: str = "") -> None:
        start = min(100, max(0, round(100 * from_ms / total_ms)))
        share = max(SHARE_MIN, round(100 * (to_ms - from_ms) / total_ms))
        bars.append(
            {
                "kind": kind,
                "what": what,
                "start": min(start, 100 - SHARE_MIN),
                "share": min(share, 100 - min(start, 100 - SHARE_MIN)),
                "from_ms": from_ms,
                "ms": max(0, to_ms - from_ms),
                "note": note,
            }
        )

    planned = record.get("planned_ms", 0)
    add("plan", "Plan", 0, planned, "counted, entered at the ledger, routed")
    for number, attempt in enumerate(record.get("attempts", ()), 1):
        began = attempt.get("began_ms", 0)
        ended = began + attempt.get("total_ms", 0)
        name = f"{attempt['provider']}/{attempt['model']}"
        outcome = attempt["outcome"]
        add(
            "good" if outcome == "ok" else "bad",
            f"{number}. {name}",
            began,
            ended,
            outcome if outcome == "ok" else f"{outcome} {attempt.get('code', '')}",
        )
        steps = (
            ("wait", "Permit and hold", 0, attempt.get("queued_ms", 0)),
            (
                "lease",
                "Lease",
                attempt.get("queued_ms", 0),
                attempt.get("leased_ms", 0),
            ),
            ("head", "Head", attempt.get("leased_ms", 0), attempt.get("head_ms", 0)),
            (
                "first",
                "First content",
                attempt.get("head_ms", 0),
                attempt.get("first_content_ms", 0),
            ),
            (
                "stream",
                "Stream",
                attempt.get("first_content_ms", 0),
                # Without any content nothing was streamed.
                attempt.get("total_ms", 0) if "first_content_ms" in attempt else 0,
            ),
        )
        for kind, what, from_ms, to_ms in steps:
            if to_ms > from_ms:
                add(kind, what, began + from_ms, began + to_ms)
    return bars
