"""`stagedoor export`, `import` and `diff`: configuration as code.

`diff` exits with 0 where nothing is different, 1 where something is, and more where
that could not be told.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from gateway.cli import OK, USAGE, complain
from gateway.cli.remote import Denied, Remote, add_remote, run_with, show
from gateway.cli.toml import dumps

TABLES: Final = ("tenants", "providers", "models", "sites", "caps")
DIFFERENT: Final = 1
SIGNS: Final = {"add": "+", "change": "~", "remove": "-"}


class Unreadable(ValueError):
    """A file that is no configuration to be imported."""


def arguments_of(what: str, parser: argparse.ArgumentParser) -> None:
    """The flags of one of the three."""
    add_remote(parser)
    if what == "export":
        parser.add_argument(
            "--all", action="store_true", help="what is in the gateway's file too"
        )
        return
    parser.add_argument(
        "source",
        type=Path,
        metavar="FILE",
        help="a TOML file as `export` writes it; - is standard input",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also remove what was added and is not in the file",
    )


def run_of(what: str, args: argparse.Namespace) -> int:
    """Do one of the three."""
    if what == "export":
        return run_with(args, _export)
    try:
        wanted = read(args.source)
    except (OSError, Unreadable, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        complain(error)
        return USAGE
    body = {**wanted, "prune": args.prune, "dry_run": what == "diff"}

    def bring_in(args: argparse.Namespace, gateway: Remote) -> int:
        try:
            found = gateway.post("/configuration/import", body)
        except Denied as denied:
            if what == "import":
                raise
            complain(denied)
            return USAGE  # 1 would say that something is different.
        show(args, found, _steps(found))
        return DIFFERENT if what == "diff" and found["steps"] else OK

    return run_with(args, bring_in)


def _export(args: argparse.Namespace, gateway: Remote) -> int:
    found = gateway.get("/configuration", origin="all" if args.all else "")
    tables = {
        plural: [{"name": one["name"], **one["settings"]} for one in found[plural]]
        for plural in TABLES
    }
    return show(args, found, dumps(tables).rstrip())


def read(source: Path) -> dict[str, Any]:
    """The objects in a file. Raises Unreadable, OSError, TOMLDecodeError."""
    text = (
        sys.stdin.read() if str(source) == "-" else source.read_text(encoding="utf-8")
    )
    found = tomllib.loads(text, parse_float=Decimal)
    unknown = found.keys() - set(TABLES)
    if unknown:
        known = ", ".join(f"[[{one}]]" for one in TABLES)
        raise Unreadable(
            f"{source}: [{min(unknown)}] is not imported; there are {known}"
        )
    made: dict[str, Any] = {}
    for plural, tables in found.items():
        if not isinstance(tables, list):
            raise Unreadable(f"{source}: write [[{plural}]]")
        made[plural] = [_object(source, plural, one) for one in tables]
    return made


def _object(source: Path, plural: str, table: Any) -> dict[str, Any]:
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str):
        raise Unreadable(f"{source}: one of [[{plural}]] has no name")
    return {
        "name": name,
        "settings": {key: value for key, value in table.items() if key != "name"},
    }


def _steps(found: Any) -> Iterator[str]:
    if not found["steps"]:
        yield "nothing is different"
    for step in found["steps"]:
        paths = ", ".join(step["settings"])
        told = f": {paths}" if paths and step["change"] == "change" else ""
        yield f"{SIGNS[step['change']]} {step['kind']} {step['name']}{told}"
