"""`stagedoor cap`: what may be spent, and what of it is used up."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from gateway.cli import USAGE, complain
from gateway.cli.declared import Commands, action, named
from gateway.cli.remote import Remote, part, run_with, show, table, usd

_commands = Commands("caps", "cap")
NANO = 1_000_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _commands.add_to(actions)
    action(actions, "spending", "what of each cap is used up")
    reset = named(action(actions, "reset", "begin its windows anew"), "cap")
    reset.add_argument("reason", metavar="REASON", help="for the audit log")
    reset.add_argument(
        "--of",
        dest="subject",
        default="",
        metavar="SUBJECT",
        help="which site, key, model or provider, as listed (default: all)",
    )
    for name, what in (
        ("refund", "give money back to a site, in every cap that covers it"),
        ("charge", "charge a site, in every cap that covers it"),
    ):
        parser = named(action(actions, name, what), "site")
        parser.add_argument("usd", metavar="USD", help="how much")
        parser.add_argument("reason", metavar="REASON", help="for the audit log")
        for kind in ("key", "model", "provider"):
            parser.add_argument(f"--{kind}", default="", help=f"of which {kind}")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return run_with(args, _do)


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    match args.action:
        case "spending":
            return _spending(args, gateway)
        case "reset":
            body = {"reason": args.reason, "subject": args.subject}
            begun = gateway.post(f"/caps/{part(args.name)}/reset", body)
            return show(args, begun, f"{begun['cap']} begins anew")
        case "refund" | "charge":
            return _adjust(args, gateway)
        case _:
            return _commands.do(args, gateway)


def _adjust(args: argparse.Namespace, gateway: Remote) -> int:
    try:
        nanousd = Decimal(args.usd) * NANO
    except InvalidOperation:
        nanousd = Decimal(0)
    if not nanousd.is_finite() or nanousd <= 0 or nanousd != int(nanousd):
        complain(f"{args.usd!r} is no amount in US dollars; write 25 or 0.05")
        return USAGE
    body = {
        "nanousd": int(nanousd) * (-1 if args.action == "refund" else 1),
        "reason": args.reason,
        "key": args.key,
        "model": args.model,
        "provider": args.provider,
    }
    made = gateway.post(f"/sites/{part(args.name)}/adjustments", body)
    done = "given back to" if args.action == "refund" else "charged to"
    return show(args, made, f"{usd(abs(made['nanousd']))} {done} {made['site']}")


def _spending(args: argparse.Namespace, gateway: Remote) -> int:
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
