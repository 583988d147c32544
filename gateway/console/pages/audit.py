"""The audit log: what was done by whom, a proof of it, and a check of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from gateway.console.app import Console, Page
from gateway.console.pages.requests import SPANS
from gateway.console.visit import Shown, Visit, at

FILTERS: Final = ("act", "actor", "name", "tenant", "provider", "out", "request", "log")
ROWS: Final = 50
# What is asked for most, for the list below the field; any other word works too.
ACTS: Final = (
    "admin", "audit", "cap", "config", "console", "key", "lease", "person", "provider",
    "site", "token", "vault", "webhook",
)  # fmt: skip
OUTS: Final = ("ok", "denied")


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    entry = "/audit/{log}/{seq}"
    return (
        Page("GET", "/audit", browse, operator=True),
        Page("POST", "/audit/verify", verify, role="admin", operator=True),
        Page("GET", "/audit/export", export, role="admin", operator=True),
        Page("GET", entry, detail, operator=True),
        Page("GET", f"{entry}/proof", proof, operator=True),
    )


async def browse(visit: Visit) -> Shown:
    """The newest entries first, a page at a time."""
    return await _browse(visit, None)


async def verify(visit: Visit) -> Shown:
    """Check everything now, and show what was found above the entries."""
    verdict = await visit.ask("POST", "/audit/verifications", once=visit.field("once"))
    return await _browse(visit, verdict)


async def export(visit: Visit) -> Shown:
    """All logs as a file, to be checked elsewhere."""
    return await visit.file("/audit/export")


async def detail(visit: Visit) -> Shown:
    """One entry, as it is hashed, and its proof."""
    found = await _proved(visit)
    entry = found["entry"]
    return visit.show("audit_entry.html", found=found, entry=entry, label=label(entry))


async def proof(visit: Visit) -> Shown:
    """The proof as a file, for any tool that reads C2SP's."""
    found = await _proved(visit)
    entry = found["entry"]
    name = f"stagedoor-audit-{entry['log']}-{entry['seq']}.tlog-proof"
    headers = (
        ("content-type", "text/plain; charset=utf-8"),
        ("content-disposition", f'attachment; filename="{name}"'),
    )
    return Shown(200, found["proof"].encode(), headers)


async def _proved(visit: Visit) -> Any:
    log, seq = visit.params["log"], visit.params["seq"]
    return await visit.ask("GET", at("audit", "logs", log, "entries", seq))


async def _browse(visit: Visit, verdict: Any) -> Shown:
    query = visit.query
    span = query.get("span", "all")
    chosen = {name: query.get(name, "").strip() for name in FILTERS}
    whole = query.get("bookkeeping", "") == "1"
    asked = {
        **chosen,
        "bookkeeping": str(whole or bool(chosen["act"])).lower(),
        "limit": ROWS,
        "cursor": query.get("cursor", ""),
    }
    if span != "all" and span in SPANS:
        asked["since_ms"] = max(0, visit.now_ms - SPANS[span])
    found = await visit.ask("GET", "/audit/entries", query=asked)
    following = found.get("next_cursor") or ""
    kept = {**{k: v for k, v in chosen.items() if v}, "span": span}
    if whole:
        kept["bookkeeping"] = "1"
    rows = [{**one, "label": label(one)} for one in found["items"]]
    shown: dict[str, Any] = {
        "rows": rows,
        "more": urlencode({**kept, "cursor": following}) if following else "",
    }
    if visit.is_part:
        return visit.show(
            "_audit_rows.html",
            **shown,
            several=len(await visit.every("/audit/logs")) > 1,
        )
    logs = await visit.every("/audit/logs")
    return visit.show(
        "audit.html",
        **shown,
        logs=logs,
        several=len(logs) > 1,
        chosen=chosen,
        span=span if span in SPANS else "all",
        spans=list(SPANS),
        acts=ACTS,
        outs=OUTS,
        whole=whole,
        is_filtered=any(chosen.values()) or span != "all" or whole,
        verdict=verdict,
    )


def label(entry: Mapping[str, Any]) -> str:
    """What it was done to, in a few words: its name, and where that is."""
    place = "/".join(filter(None, (entry["tenant"], entry["env"])))
    named = [entry["name"], entry["provider"]]
    if entry["version"]:
        named.append(f"v{entry['version']}")
    text = " ".join(dict.fromkeys(filter(None, named)))
    return f"{text} of {place}" if text and place else text or place
