"""`stagedoor vault`: keys in the vault of a running gateway. None ever comes out.

A key is read from a prompt, from standard input or from a variable, never from an
argument (`ps` shows those), and leaves this process sealed for the gateway's vault.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.cli import OK, REFUSED, UNREACHABLE, USAGE, complain
from gateway.cli.control import (
    ControlError,
    Refused,
    add_gateway,
    control_socket,
    get,
    plain,
    post,
)

KEY_BYTES_MAX: Final = 14 * 1024
DAY_S: Final = 86_400
KEY_CHARS_MIN: Final = 30  # No key of a provider is shorter; few names are as long.
# How the keys of providers begin.
_KEY_BEGINS: Final = re.compile(
    r"(sk|pk|rk)[-_]|xai-|gsk_|hf_|AIza|A[KS]IA|r8_|pplx-|fw_|nvapi-|csk-|gho_|ghp_"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The commands."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = _command(commands, "add", "take in a key, sealed")
    _secret(add)
    _key_source(add)
    add.add_argument("--access-key-id", default="", help="the public half of AWS's")
    rotate = _command(commands, "rotate", "put a new key in the place of the old one")
    _secret(rotate)
    _key_source(rotate)
    rotate.add_argument("--access-key-id", default="", help="the public half of AWS's")
    rotate.add_argument(
        "--mint",
        action="store_true",
        help="let the gateway make the new key, where the provider lets it",
    )
    revoke = _command(commands, "revoke", "never lend a key again, from this moment")
    _secret(revoke)
    revoke.add_argument(
        "--end-requests",
        action="store_true",
        help="also end the requests that were begun with it",
    )
    listing = _command(commands, "list", "show what is in the vault, never a key")
    listing.set_defaults(provider="")
    describe = _command(commands, "describe", "show the versions of one key")
    _secret(describe)
    _command(commands, "status", "show how the vault and its KMS are")
    for name, summary in (
        ("rotate-kek", "a new key for a tenant; its secrets are re-wrapped"),
        ("shred", "destroy a tenant's key: its secrets never open again"),
    ):
        command = _command(commands, name, summary)
        command.add_argument("--tenant", default="")
        command.add_argument("--env", default="", metavar="ENVIRONMENT")
        if name == "shred":
            command.add_argument("--yes", action="store_true", help="do not ask")


def is_like_a_key(name: str) -> bool:
    """Whether somebody may have typed the key where its name goes."""
    if _KEY_BEGINS.match(name):
        return True
    kinds = (str.islower, str.isupper, str.isdigit)
    mixed = all(any(kind(char) for char in name) for kind in kinds)
    return len(name) >= KEY_CHARS_MIN and mixed


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    path = control_socket(args)
    if isinstance(path, int):
        return path
    try:
        return _run(args, path)
    except Refused as refused:
        complain(refused)
        return REFUSED
    except ControlError as error:
        complain(error)
        return UNREACHABLE


def _run(args: argparse.Namespace, path: Path) -> int:
    match args.action:
        case "rotate" if args.mint:
            post(path, "/vault/secrets/rotate", _named(args))
            _tell(args, {"begun": True}, "its rotation begins; see `vault describe`")
        case "add" | "rotate":
            return _deliver(args, path, replace=args.action == "rotate")
        case "revoke":
            body = {**_named(args), "revoke_open": args.end_requests}
            answer = post(path, "/vault/secrets/revoke", body)
            _tell(args, answer, f"revoked, {answer['revoked']} version(s)")
        case "list" | "describe":
            answer = get(path, "/vault/secrets")
            rows = [row for row in answer["secrets"] if _wanted(args, row)]
            lines = listing(rows, time.time())
            _tell(args, {"secrets": rows}, "\n".join(lines))
            if args.action == "describe" and not rows:
                complain(f"{args.provider}/{args.name} is not in the vault")
                return REFUSED
        case "status":
            answer = get(path, "/vault")
            shown = (f"{key.replace('_', ' ')}: {answer[key]}" for key in answer)
            _tell(args, answer, "\n".join(map(plain, shown)))
        case "rotate-kek":
            answer = post(path, "/vault/keks/rotate", _tenant(args))
            _tell(args, answer, f"re-wrapped {answer['rewrapped']} record(s)")
        case _:
            if not args.yes and not _confirmed(args):
                complain("nothing was destroyed")
                return USAGE
            answer = post(path, "/vault/shred", _tenant(args))
            _tell(args, answer, f"destroyed {answer['destroyed']} key(s)")
    return OK


def _deliver(args: argparse.Namespace, path: Path, *, replace: bool) -> int:
    from actors.vault.delivery import info, seal  # noqa: PLC0415 - slow to import

    if is_like_a_key(args.name):
        complain(
            "that name looks like a key, and a name is written down in the open. Give "
            "the key at the prompt, on standard input or with --from-env; if it is "
            "one, it is in your shell's history now: make a new one at the provider"
        )
        return USAGE
    key = read_key(args)
    if isinstance(key, int):
        return key
    box = get(path, "/vault/delivery-key")
    tenant = args.tenant or box["tenant"]
    environment = args.env or box["environment"]
    delivery = seal(
        key,
        base64.b64decode(box["public_key"]),
        info(tenant, environment, args.provider, args.name),
    )
    body = {
        **_named(args),
        "tenant": tenant,
        "environment": environment,
        "delivery": base64.b64encode(delivery).decode(),
        "hosts": args.host,
        "access_key_id": args.access_key_id,
        "replace": replace,
    }
    facts = post(path, "/vault/secrets", body)
    hosts = ", ".join(facts["hosts"])
    _tell(
        args,
        facts,
        f"{facts['provider']}/{facts['name']} version {facts['version']} is in use; "
        f"it may be sent to {hosts}",
    )
    return OK


def read_key(args: argparse.Namespace) -> bytes | int:
    """The key from wherever it was said to be, or an exit code after complaining."""
    if args.from_env:
        key = os.environ.get(args.from_env, "")
        if not key:
            complain(f"{args.from_env} is not set")
            return USAGE
    elif sys.stdin.isatty():
        key = getpass.getpass("key (not shown): ")
    else:
        key = sys.stdin.read(KEY_BYTES_MAX + 2)
    data = key.strip().encode()
    if not data or len(data) > KEY_BYTES_MAX:
        complain("no key was given" if not data else "that is too long to be a key")
        return USAGE
    return data


def listing(rows: Sequence[Mapping[str, Any]], now_s: float) -> Iterator[str]:
    """A version a line, its state and its age."""
    for row in rows:
        days = int(max(0.0, now_s - row["created_s"]) // DAY_S)
        place = f"{row['tenant']}/{row['environment']}/{row['provider']}/{row['name']}"
        rotation = f"  rotation: {row['rotation']}" if row["rotation"] else ""
        yield plain(
            f"{place}  v{row['version']}  {row['state']}  {days} d old  "
            f"to {', '.join(row['hosts'])}  under {row['kek']}{rotation}"
        )


def _wanted(args: argparse.Namespace, row: Mapping[str, Any]) -> bool:
    if args.action == "list":
        return True
    return (
        (row["provider"], row["name"]) == (args.provider, args.name)
        and args.tenant in ("", row["tenant"])
        and args.env in ("", row["environment"])
    )


def _confirmed(args: argparse.Namespace) -> bool:
    if not sys.stdin.isatty():
        return False
    where = f"{args.tenant or 'the default tenant'}/{args.env or 'its environment'}"
    question = f"No secret of {where} will ever open again. Type shred to go on: "
    return input(question) == "shred"


def _tell(args: argparse.Namespace, answer: object, text: str) -> None:
    shown = json.dumps(answer, indent=2) if args.json else text
    if shown:
        print(shown)


def _named(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "provider": args.provider,
        "name": args.name,
        "tenant": args.tenant,
        "environment": args.env,
    }


def _tenant(args: argparse.Namespace) -> dict[str, Any]:
    return {"tenant": args.tenant, "environment": args.env}


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        allow_abbrev=False,
    )
    add_gateway(parser)
    return parser


def _secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", help="the provider's name in the configuration")
    parser.add_argument(
        "name", nargs="?", default="default", help="the NAME of key = vault:NAME"
    )
    parser.add_argument("--tenant", default="", help="default: the configuration's")
    parser.add_argument("--env", default="", metavar="ENVIRONMENT")


def _key_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from-env", default="", metavar="VARIABLE", help="take the key from there"
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        help="where it may be sent (default: the host of the provider's base_url)",
    )
