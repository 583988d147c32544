"""The live tree as a value: what the console, the CLI and SIGUSR1 show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio
from msgspec import Struct

if TYPE_CHECKING:
    from runtime._cell import Cell

# A dump is read by a person: a task deeper than this is shown by its innermost part.
DUMP_FRAMES_MAX = 12


class Node(Struct, frozen=True):
    """One actor as it is now."""

    id: str
    kind: str
    state: str
    incarnation: int
    depth: int
    peak: int
    capacity: int
    shed: int
    dead_letters: int
    handled: int
    handling: str | None
    age_s: float
    restarts: int
    retry_in_s: float | None
    last_crash: str | None
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all below, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __str__(self) -> str:
        return "\n".join(_lines(self, "", ""))


def node_of(cell: Cell) -> Node:
    """Take the snapshot of one cell and all below it."""
    now_s = trio.current_time()
    down = cell.state == "down" and cell.retry_at is not None
    return Node(
        id=cell.id,
        kind=cell.kind,
        state=cell.state,
        incarnation=cell.incarnation,
        depth=len(cell.queue),
        peak=cell.peak,
        capacity=cell.box.capacity,
        shed=cell.shed,
        dead_letters=cell.dead_letters,
        handled=cell.handled,
        handling=cell.handling.__name__ if cell.handling is not None else None,
        age_s=now_s - cell.started_at,
        restarts=max(0, cell.incarnation - 1),
        retry_in_s=(cell.retry_at or 0.0) - now_s if down else None,
        last_crash=str(cell.last_crash) if cell.last_crash is not None else None,
        children=tuple(node_of(child) for child in (cell.children or {}).values()),
    )


def _label(node: Node) -> str:
    parts = [node.id, node.kind, node.state]
    if node.restarts:
        parts.append(f"epoch={node.incarnation}")
    if node.retry_in_s is not None:
        parts.append(f"retry_in={node.retry_in_s:.1f}s")
    if node.handling:
        parts.append(f"handling={node.handling}")
    if node.depth:
        parts.append(f"queued={node.depth}/{node.capacity}")
    if node.shed:
        parts.append(f"shed={node.shed}")
    return " ".join(parts)


def _lines(node: Node, lead: str, below: str) -> Iterator[str]:
    yield lead + _label(node)
    last = len(node.children) - 1
    for at, child in enumerate(node.children):
        elbow, bar = ("`-- ", "    ") if at == last else ("|-- ", "|   ")
        yield from _lines(child, below + elbow, below + bar)


def dump_of(cell: Cell) -> Iterator[str]:
    """Each actor with where its task waits: names and lines, no values."""
    yield repr(cell)
    if cell.handling is not None:
        yield f"  handling {cell.handling.__name__}"
    if cell.helpers:
        yield f"  {len(cell.helpers)} tasks of its own"
    if cell.task is None:
        yield "  no task yet: nothing was ever queued"
    else:
        frames = [
            f"  {frame.f_code.co_qualname} "
            f"({frame.f_globals.get('__name__', '?')}:{line})"
            for frame, line in cell.task.iter_await_frames()
        ]
        yield from frames[-DUMP_FRAMES_MAX:]
    for child in (cell.children or {}).values():
        yield from dump_of(child)
