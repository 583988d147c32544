"""`stagedoor provider`: how providers are, and what can be done about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from gateway.cli import OK, REFUSED
from gateway.cli.declared import Commands, action, named
from gateway.cli.remote import Remote, part, run_with, show, table

_commands = Commands("providers", "provider")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _commands.add_to(actions)
    action(actions, "status", "how each of them is")
    pause = named(action(actions, "pause", "take one out of use"), "provider")
    pause.add_argument("reason", metavar="REASON", help="for other operators")
    pause.add_argument(
        "--drain-s",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for its calls to end",
    )
    named(action(actions, "resume", "put one back into use"), "provider")
    test = named(action(actions, "test", "send one short question"), "provider")
    test.add_argument("--model", default="", help="which (default: its first)")
    test.add_argument("--site", default="", help="who is charged for it")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return run_with(args, _do)


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    match args.action:
        case "status":
            found = list(gateway.every("/provider-states"))
            return show(args, found, _listed(found))
        case "pause":
            body = {"reason": args.reason, "drain_s": args.drain_s}
            now = gateway.post(f"/providers/{part(args.name)}/pause", body)
            return show(args, now, _listed([now]))
        case "resume":
            now = gateway.post(f"/providers/{part(args.name)}/resume")
            return show(args, now, _listed([now]))
        case "test":
            body = {"model": args.model, "site": args.site}
            tried = gateway.post(f"/providers/{part(args.name)}/test", body)
            said = "answered" if tried["ok"] else f"failed: {tried['error']}"
            line = (
                f"{tried['provider']}/{tried['model']} {said} "
                f"({tried['elapsed_ms']} ms, {tried['request_id']})"
            )
            show(args, tried, line)
            return OK if tried["ok"] else REFUSED
        case _:
            return _commands.do(args, gateway)


def _listed(found: list[Any]) -> Iterator[str]:
    return table(
        (
            "provider",
            "kind",
            "state",
            "in flight",
            "waiting",
            "failures",
            "lives",
            "key",
        ),
        [
            (
                one["name"],
                one["kind"],
                _state(one),
                f"{one['in_flight']}/{one['in_flight_max']}",
                one["queued"],
                one["failures"],
                one["lives"],
                one["key"] + (", refused" if one["key_refused"] else ""),
            )
            for one in found
        ],
    )


def _state(one: Any) -> str:
    if one["paused_for"]:
        return f"paused: {one['paused_for']}"
    if one["retry_in_s"] is not None:
        return f"{one['state']}, again in {float(one['retry_in_s']):.1f} s"
    return str(one["state"])
