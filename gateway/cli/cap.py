"""`stagedoor cap`: what may be spent, and what of it is used up."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gateway.cli.declared import Commands, action
from gateway.cli.remote import Remote, run_with, show, table, usd

_commands = Commands("caps", "cap")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _commands.add_to(actions)
    action(actions, "spending", "what of each cap is used up")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return run_with(args, _do)


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    if args.action != "spending":
        return _commands.do(args, gateway)
    found = list(gateway.every("/spending"))
    rows = [
        (
            one["name"],
            one["subject"] or "all",
            one["kind"],
            one["window"],
            usd(one["spent_nanousd"]),
            usd(one["held_nanousd"]),
            usd(one["spend_nanousd_max"]),
            _day(one["resets_at_s"]),
        )
        for one in found
    ]
    head = ("cap", "of", "kind", "window", "spent", "held", "most", "begins anew")
    return show(args, found, table(head, rows))


def _day(at_s: object) -> str:
    if at_s is None:
        return "never"
    return datetime.fromtimestamp(float(str(at_s)), UTC).strftime("%Y-%m-%d %H:%M UTC")
