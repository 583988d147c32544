"""`stagedoor token`: credentials for the admin API. A secret is printed once."""

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
    action(actions, "list", "every token")
    create = action(actions, "create", "make a token; its secret is printed this once")
    create.add_argument("--name", required=True, help="its name in the audit log")
    create.add_argument(
        "--role", default="viewer", choices=("viewer", "admin", "owner")
    )
    create.add_argument(
        "--tenant",
        action="append",
        default=[],
        metavar="NAME",
        help="a tenant that it is about (repeat; none is all)",
    )
    create.add_argument("--expires-days", type=int, metavar="N")
    revoke = action(actions, "revoke", "end a token")
    revoke.add_argument("token", metavar="ID")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    return run_with(args, _do)


def _do(args: argparse.Namespace, gateway: Remote) -> int:
    match args.action:
        case "list":
            found = list(gateway.every("/tokens"))
            return show(args, found, _listed(found))
        case "create":
            body: dict[str, Any] = {
                "name": args.name,
                "role": args.role,
                "tenants": args.tenant,
            }
            if args.expires_days is not None:
                ends_s = time.time() + args.expires_days * DAY_S
                body["expires_ms"] = int(ends_s * 1000)
            made = gateway.post("/tokens", body)
            return show(args, made, made["secret"])
        case _:
            ended = gateway.post(f"/tokens/{part(args.token)}/revoke")
            return show(args, ended, f"revoked {ended['name']}")


def _listed(found: list[Any]) -> Iterator[str]:
    return table(
        ("id", "name", "role", "tenants", "prefix", "state", "used"),
        [
            (
                one["id"],
                one["name"],
                one["role"],
                "all" if one["tenants"] is None else ", ".join(one["tenants"]),
                f"{one['prefix']}…",
                "revoked" if one["revoked_ms"] else "live",
                _at(one["used_ms"]),
            )
            for one in found
        ],
    )


def _at(at_ms: int | None) -> str:
    if at_ms is None:
        return "never"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
