"""The live actors: who runs, who waits, who crashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.console.app import Console, Page
from gateway.console.visit import Shown, Visit

CHILDREN_SHOWN_MAX: Final = 50  # Of streams there may be thousands: a page shows some.


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (Page("GET", "/actors", actors, operator=True),)


async def actors(visit: Visit) -> Shown:
    """The tree; as a part, for what looks again every few seconds."""
    found = await visit.ask("GET", "/tree")
    return visit.show(
        "_actors.html" if visit.is_part else "actors.html",
        rows=list(flat(found["root"])),
        tree=found,
    )


def flat(node: Mapping[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """The tree as rows, each with its depth; long families are cut short."""
    children = node["children"]
    yield {
        **node,
        "depth": depth,
        "name": node["id"].rpartition("/")[2],
        "hidden": max(0, len(children) - CHILDREN_SHOWN_MAX),
    }
    for child in children[:CHILDREN_SHOWN_MAX]:
        yield from flat(child, depth + 1)
