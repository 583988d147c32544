"""`stagedoor tenant|site|model|cap` and a part of `provider`: what is declared.

One set of actions for all kinds. Settings are written as in the file:
`spend_usd_max=25 models=["fast"] routing.prefer=cheapest`.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.cli import USAGE, complain
from gateway.cli.remote import Remote, add_remote, part, run_with, show, table
from gateway.settings.sources import split_path


class Commands:
    """The actions of one kind."""

    def __init__(self, plural: str, noun: str) -> None:
        self.plural = plural
        self.noun = noun

    def __repr__(self) -> str:
        return f"<Commands {self.noun}>"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The actions."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        self.add_to(actions)

    def add_to(self, actions: Any) -> None:
        """Add them to those of a command that has more."""
        noun = self.noun
        action(actions, "list", f"every {noun}, of the file and added")
        named(action(actions, "show", f"one {noun}"), noun)
        for name, what in (
            ("add", f"add a {noun}"),
            ("set", f"change settings of a {noun}; KEY= takes one away"),
        ):
            parser = named(action(actions, name, what), noun)
            parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
            parser.add_argument(
                "--from",
                dest="source",
                type=Path,
                metavar="FILE",
                help="a TOML file with the settings of one table",
            )
        named(action(actions, "remove", f"take a {noun} away"), noun)

    def run(self, args: argparse.Namespace) -> int:
        """Do one of them."""
        return run_with(args, self.do)

    def do(self, args: argparse.Namespace, gateway: Remote) -> int:
        """With a gateway. Raises Denied, ControlError."""
        base = f"/{self.plural}"
        if args.action == "list":
            found = list(gateway.every(base))
            return show(args, found, self._listed(found))
        path = f"{base}/{part(args.name)}"
        match args.action:
            case "show":
                found = gateway.get(path)
                return show(args, found, _shown(found))
            case "remove":
                old = gateway.call("GET", path)
                gateway.call("DELETE", path, etag=old.etag)
                return show(args, {"removed": args.name}, f"removed {args.name}")
            case _:
                return self._write(args, gateway, path)

    def _write(self, args: argparse.Namespace, gateway: Remote, path: str) -> int:
        try:
            settings = settings_of(args)
        except (ValueError, OSError, tomllib.TOMLDecodeError) as error:
            complain(error)
            return USAGE
        if args.action == "add":
            body = {"name": args.name, "settings": _without_none(settings)}
            made = gateway.post(f"/{self.plural}", body)
        else:
            old = gateway.call("GET", path)
            patch = {"settings": settings}
            made = gateway.call("PATCH", path, patch, etag=old.etag).value
        return show(args, made, _shown(made))

    def _listed(self, found: list[Any]) -> Iterator[str]:
        return table(
            ("name", "tenant", "origin", "settings"),
            [
                (one["name"], one["tenant"], one["origin"], brief(one["settings"]))
                for one in found
            ],
        )


def action(actions: Any, name: str, what: str) -> argparse.ArgumentParser:
    """One action, with the flags that all have."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        allow_abbrev=False,
    )
    add_remote(parser)
    return parser


def named(parser: argparse.ArgumentParser, noun: str) -> argparse.ArgumentParser:
    """With a name."""
    parser.add_argument("name", metavar=noun.upper())
    return parser


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings on the command line and in a file; None for what is to go.

    Raises ValueError, OSError, TOMLDecodeError.
    """
    found: dict[str, Any] = {}
    if args.source is not None:
        text = args.source.read_text("utf-8")
        found = tomllib.loads(text, parse_float=Decimal)
    for one in args.settings:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise ValueError(f"{one[:40]!r} is no KEY=VALUE")
        *above, last = split_path(key)
        at = found
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value_of(value) if value else None
    return found


def value_of(text: str) -> Any:
    """A value as TOML has it; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except tomllib.TOMLDecodeError:
        return text


def brief(settings: Mapping[str, Any], width: int = 72) -> str:
    """Settings on one line."""
    text = " ".join(f"{name}={_word(value)}" for name, value in settings.items())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value))
    return "{…}" if isinstance(value, dict) else str(value)


def _shown(one: Mapping[str, Any]) -> Iterator[str]:
    from gateway.cli.toml import dumps  # noqa: PLC0415

    yield f"{one['kind']} {one['name']} ({one['origin']}" + (
        f", version {one['version']}, changed by {one['updated_by']})"
        if one["origin"] == "database"
        else ")"
    )
    if one["settings"]:
        yield dumps(one["settings"]).rstrip()


def _without_none(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
