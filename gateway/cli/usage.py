"""`stagedoor usage`: requests, tokens and money, summed up."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from gateway.cli import OK, USAGE, complain
from gateway.cli.remote import Remote, add_remote, run_with, show, table, usd

UNITS_S: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
FILTERS: Final = (
    "tenant",
    "site",
    "environment",
    "key",
    "model",
    "provider",
    "feature",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What of it."""
    add_remote(parser)
    parser.add_argument(
        "--since",
        default="1d",
        metavar="AGE",
        help="how far back: 90m, 24h, 7d, 4w (default: 1d)",
    )
    parser.add_argument(
        "--until", default="0m", metavar="AGE", help="until how long ago (default: now)"
    )
    parser.add_argument(
        "--by",
        default="site",
        metavar="WHAT,…",
        help=f"of {', '.join(FILTERS)}, upstream_model (default: site)",
    )
    parser.add_argument(
        "--step",
        default="total",
        choices=("minute", "hour", "day", "total"),
        help="a row a minute, hour or day; total is one for all (the default)",
    )
    parser.add_argument("--zone", default="UTC", help="whose midnight a day begins at")
    for name in FILTERS:
        parser.add_argument(
            f"--{name}", default="", metavar="NAME", help=f"only this {name}'s"
        )
    parser.add_argument("--csv", action="store_true", help="print CSV")


def run(args: argparse.Namespace) -> int:
    """Show it."""
    return run_with(args, _do)


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    now_s = time.time()
    try:
        since_ms, until_ms = (
            int((now_s - age_s(one)) * 1000) for one in (args.since, args.until)
        )
    except ValueError as error:
        complain(error)
        return USAGE
    query: dict[str, Any] = {name: getattr(args, name) for name in FILTERS}
    query |= {
        "since_ms": since_ms,
        "until_ms": until_ms + 1,
        "by": args.by,
        "step": args.step,
        "zone": args.zone,
    }
    if args.csv:
        query["format"] = "csv"
        body = gateway.call("GET", "/usage/export", query=query).body
        sys.stdout.write(body.decode("utf-8", "replace"))
        return OK
    found = gateway.get("/usage", **query)
    return show(args, found, _lines(found))


def age_s(text: str) -> int:
    """Seconds in `7d`. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if found is None:
        raise ValueError(f"{text[:20]!r} is no age; write 90m, 24h, 7d or 4w")
    return int(found[1]) * UNITS_S[found[2]]


def _lines(found: Any) -> Iterator[str]:
    by = found["by"]
    stepped = found["step"] != "total"
    head = [*(["at"] if stepped else []), *by, "requests", "errors", "refused",
            "prompt", "cached", "output", "cost"]  # fmt: skip
    rows = [
        [*([_at(row["at_ms"])] if stepped else []), *(row["group"][one] or "-" for one
         in by), *_numbers(row["sums"])]
        for row in found["rows"]
    ]  # fmt: skip
    if len(rows) != 1:
        blank = [""] * (len(by) + stepped - 1) if by or stepped else []
        total = ["total"] if by or stepped else []
        rows.append([*total, *blank, *_numbers(found["total"])])
    yield from table(head, rows)
    if found["truncated"]:
        yield "… and more: narrow it down, or use --csv"


def _numbers(sums: Any) -> list[Any]:
    return [
        sums["requests"],
        sums["errors"],
        sums["refused"],
        sums["prompt_tokens"],
        sums["cached_tokens"],
        sums["output_tokens"],
        usd(sums["cost_nanousd"]),
    ]


def _at(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
