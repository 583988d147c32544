"""`stagedoor models`: what can be asked of a running gateway, and what serves it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli import OK
from gateway.cli.control import add_gateway, ask, plain


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which gateway."""
    add_gateway(parser)


def run(args: argparse.Namespace) -> int:
    """List them."""
    answer, code = ask(args, "/models")
    if code != OK:
        return code
    print(
        json.dumps(answer, indent=2)
        if args.json
        else "\n".join(listing(answer["models"]))
    )
    return OK


def listing(models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A model a line: its name and its candidates, each with its provider's state."""
    width = max((len(str(model["name"])) for model in models), default=0)
    for model in models:
        route = ", ".join(_candidate(one) for one in model.get("route", ()))
        yield plain(f"{model['name']:{width}}  {route}".rstrip())


def _candidate(one: str | Mapping[str, Any]) -> str:
    if isinstance(one, str):
        return one
    state = one.get("state")
    name = f"{one['provider']}/{one['model']}"
    return f"{name} ({state})" if state else name
