"""`stagedoor key`: keys of sites. A secret is printed once, on standard output."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from gateway.cli.declared import action
from gateway.cli.remote import Remote, part, run_with, show, table

DAY_S: Final = 86_400


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _of(action(actions, "list", "a site's keys, revoked ones too"))
    add = _of(action(actions, "add", "make a key; its secret is printed this once"))
    add.add_argument("--label", default="", help="what people call it")
    add.add_argument("--expires-days", type=int, metavar="N", help="how long it serves")
    add.add_argument(
        "--scope",
        action="append",
        default=[],
        help="inference, models, usage, grants (repeat; none is all)",
    )
    add.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="PATTERN",
        help="a model that it may ask for (repeat; none is all)",
    )
    add.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web origin that may use it (repeat)",
    )
    rotate = _named(action(actions, "rotate", "give a key a new secret"))
    rotate.add_argument(
        "--overlap-s",
        type=int,
        default=DAY_S,
        metavar="SECONDS",
        help="how long the old one goes on serving (default: a day)",
    )
    _named(action(actions, "revoke", "end a key, and the streams begun with it"))
    _named(action(actions, "show", "one key"))


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return run_with(args, _do)


def _of(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("site", metavar="SITE")
    return parser


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _of(parser).add_argument("key", metavar="KEY", help="its id, as lists show it")
    return parser


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    base = f"/sites/{part(args.site)}/keys"
    match args.action:
        case "list":
            found = list(gateway.every(base))
            return show(args, found, _listed(found))
        case "add":
            made = gateway.post(base, {"terms": _terms(args)})
            return show(args, made, made["secret"])
        case "rotate":
            path = f"{base}/{part(args.key)}/rotate"
            made = gateway.post(path, {"overlap_s": args.overlap_s})
            return show(args, made, made["secret"])
        case "revoke":
            ended = gateway.post(f"{base}/{part(args.key)}/revoke")
            return show(args, ended, f"revoked {ended['key_id']}")
        case _:
            found = gateway.get(f"{base}/{part(args.key)}")
            return show(args, found, _listed([found]))


def _terms(args: argparse.Namespace) -> dict[str, Any]:
    terms: dict[str, Any] = {
        "label": args.label,
        "scopes": args.scope,
        "models": args.model,
        "origins": args.origin,
    }
    if args.expires_days is not None:
        terms["expires_ms"] = int((time.time() + args.expires_days * DAY_S) * 1000)
    return terms


def _listed(found: list[Any]) -> Iterator[str]:
    return table(
        ("key", "prefix", "label", "state", "secrets", "made", "by"),
        [
            (
                one["id"],
                f"{one['prefix']}…",
                one["terms"].get("label", ""),
                _state(one),
                len(one["secrets"]),
                datetime.fromtimestamp(one["created_ms"] / 1000, UTC).date(),
                one["created_by"],
            )
            for one in found
        ],
    )


def _state(one: Any) -> str:
    if one["revoked_ms"] is not None:
        return "revoked"
    ends_ms = one["terms"].get("expires_ms")
    if ends_ms is None:
        return "live"
    days = (ends_ms / 1000 - time.time()) / DAY_S
    return f"live, {days:.0f} d left" if days > 0 else "expired"
