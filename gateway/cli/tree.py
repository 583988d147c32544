"""`stagedoor tree`: the actors of a running gateway, one a line.

Owns: the rendering of a node, which is also how docs show the tree.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.cli import OK
from gateway.cli.control import add_gateway, ask, plain

# A gateway under load has thousands of streams; a screen has fifty lines.
CHILDREN_SHOWN: Final = 20
PAUSE_S_MIN: Final = 0.2

# Rendered in their own way, or of no use on a line.
_OWN: Final = frozenset({
    "id", "kind", "state", "incarnation", "depth", "capacity", "peak", "shed",
    "handling", "age_s", "restarts", "children", "last_crash", "retry_in_s",
})  # fmt: skip
_COLOURS: Final = {
    "running": "32", "idle": "32", "closed": "32",
    "probation": "33", "starting": "33", "stopping": "33", "draining": "33",
    "open": "31", "restarting": "31", "crashed": "31", "failed": "31",
}  # fmt: skip

Node = Mapping[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which gateway, and how much of it."""
    add_gateway(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"show every child (default: the first {CHILDREN_SHOWN} of a node)",
    )
    parser.add_argument(
        "--watch", type=float, metavar="SECONDS", help="show it again and again"
    )


def run(args: argparse.Namespace) -> int:
    """Show it."""
    while True:
        tree, code = ask(args, "/tree")
        if code != OK:
            return code
        if args.json:
            print(json.dumps(tree, indent=2))
        else:
            shown = None if args.all else CHILDREN_SHOWN
            coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            text = "\n".join(render(tree, shown=shown, coloured=coloured))
            print(f"\x1b[H\x1b[2J{text}" if args.watch and coloured else text)
        if args.watch is None:
            return OK
        sys.stdout.flush()
        time.sleep(max(args.watch, PAUSE_S_MIN))


def render(
    root: Node, *, shown: int | None = CHILDREN_SHOWN, coloured: bool = False
) -> Iterator[str]:
    """The tree below a node, a line each."""
    yield line(root, coloured=coloured)
    yield from _below(root, "", shown, coloured)


def _below(node: Node, indent: str, shown: int | None, coloured: bool) -> Iterator[str]:
    children: Sequence[Node] = node.get("children") or ()
    visible = children if shown is None else children[:shown]
    hidden = len(children) - len(visible)
    for index, child in enumerate(visible):
        last = index == len(visible) - 1 and not hidden
        yield f"{indent}{'└── ' if last else '├── '}{line(child, coloured=coloured)}"
        yield from _below(child, indent + ("    " if last else "│   "), shown, coloured)
    if hidden:
        yield f"{indent}└── … {hidden} more (--all shows them)"


def line(node: Node, *, coloured: bool = False) -> str:
    """One actor: its name, its state, then what stands out about it."""
    state = plain(node.get("state", "?"))
    if coloured and (colour := _COLOURS.get(state)):
        state = f"\x1b[{colour}m{state}\x1b[0m"
    return "  ".join(
        part for part in (plain(node.get("id", "?")), f"{state} {_facts(node)}") if part
    ).rstrip()


def _facts(node: Node) -> str:
    """What an operator wants to know; silent about whatever is as it should be."""
    facts: list[str] = []
    if (incarnation := node.get("incarnation") or 1) > 1:
        facts.append(f"epoch={incarnation}")
    if (retry_in_s := node.get("retry_in_s")) is not None:
        facts.append(f"retry_in={retry_in_s:.1f}s")
    if depth := node.get("depth"):
        facts.append(f"mailbox={depth}/{node.get('capacity') or '?'}")
    facts += [f"{name}={node[name]}" for name in ("peak", "shed", "restarts")
              if node.get(name)]  # fmt: skip
    facts += [
        f"{name}={value}"
        for name, value in node.items()
        if name not in _OWN and value and isinstance(value, str | int | float)
    ]
    if handling := node.get("handling"):
        age = node.get("age_s")
        facts.append(f"handling={handling}" + (f" for {age:.1f}s" if age else ""))
    if crash := node.get("last_crash"):
        facts.append(f"last_crash={crash}" if isinstance(crash, str) else "crashed")
    return plain(" ".join(facts))
