"""`stagedoor allow`: which models a site may ask for."""

from __future__ import annotations

import argparse
from typing import Any

from gateway.cli.declared import action
from gateway.cli.remote import Remote, part, run_with, show


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _of(action(actions, "show", "what a site may ask for"))
    for name, what in (
        ("add", "let a site ask for models"),
        ("deny", "keep a site from models, whatever else is allowed"),
        ("remove", "take names or patterns out of both lists"),
    ):
        one = _of(action(actions, name, what))
        one.add_argument(
            "patterns",
            nargs="+",
            metavar="MODEL",
            help="a name, or a pattern with * and ?",
        )


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return run_with(args, _do)


def _of(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("site", metavar="SITE")
    return parser


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    path = f"/sites/{part(args.site)}"
    old = gateway.call("GET", path)
    settings: dict[str, Any] = old.value["settings"]
    allowed = list(settings.get("models", ["*"]))
    denied = list(settings.get("models_denied", []))
    if args.action != "show":
        allowed, denied = changed(args.action, args.patterns, allowed, denied)
        body = {"settings": {"models": allowed, "models_denied": denied or None}}
        gateway.call("PATCH", path, body, etag=old.etag)
    value = {"site": args.site, "models": allowed, "models_denied": denied}
    lines = iter(
        [
            f"allowed: {', '.join(allowed) or 'none'}",
            f"denied: {', '.join(denied) or 'none'}",
        ]
    )
    return show(args, value, lines)


def changed(
    what: str, patterns: list[str], allowed: list[str], denied: list[str]
) -> tuple[list[str], list[str]]:
    """The lists after it. Allowing a first name ends allowing everything."""
    rest = [one for one in allowed if one not in patterns]
    kept = [one for one in denied if one not in patterns]
    match what:
        case "add":
            if "*" not in patterns:
                rest = [one for one in rest if one != "*"]
            return [*rest, *patterns], kept
        case "deny":
            return rest or ["*"], [*kept, *patterns]
        case _:
            return rest, kept
