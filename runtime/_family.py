"""A parent and its children: started first to last, stopped last to first.

Static children stop one at a time, each within its own `shutdown_s`. Dynamic ones
came later, so they go first, and all at once: ten thousand streams one by one would
take longer than any drain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import trio

from runtime._cell import Cell
from runtime._debts import Chore


async def start_static(cell: Cell) -> None:
    """Start the children that the supervisor lists, in order.

    Each may try once before the next one starts. One that fails is brought back by
    its own guard, so a provider that is away does not hold up the tree.
    """
    for spec in cell.listed_children:
        if cell.exit is not None or cell.stopping is not None:
            return
        child = cell.spawn(spec, static=True)
        await _settled(child)


async def _settled(child: Cell) -> None:
    while child.state in ("starting", "stopping"):
        await child.wait_turn()


async def end_helpers(cell: Cell, reason: str) -> None:
    """Cancel the tasks of this incarnation and wait for them."""
    helpers = cell.helpers
    if not helpers:
        return
    for scope in helpers:
        scope.cancel(reason=reason)
    while helpers:
        cell.helpers_gone = trio.Event()
        await cell.helpers_gone.wait()


async def stop_children(cell: Cell, reason: str) -> None:
    """End all children before their parent goes on."""
    if not cell.children:
        return
    cell.reaping = True
    await stop_cells([c for c in cell.children.values() if not c.static], reason)
    for child in reversed(list(cell.children.values())):
        await stop_cells([child], reason)
    cell.reaping = False


async def stop_cells(cells: Iterable[Cell], reason: str) -> None:
    """Stop these side by side: ask, wait `shutdown_s`, cancel, wait."""
    waiting = [child for child in cells if not child.gone]
    if not waiting:
        return
    for child in waiting:
        child.request_stop(reason)
    patience_s = max(child.spec.shutdown_s for child in waiting)
    with trio.move_on_after(patience_s):
        for child in waiting:
            await child.wait_gone()
    for child in waiting:
        if not child.gone:
            child.kill(f"{reason}; not stopped after {patience_s:g} s")
    for child in waiting:
        await child.wait_gone()


# -- drain -------------------------------------------------------------------------


def announce_drain(cell: Cell, deadline: float) -> None:
    """Let `on_drain` of every actor run, parents first."""
    cell.put_control(Chore("drain", partial(_on_drain, cell, deadline)))
    for child in list((cell.children or {}).values()):
        announce_drain(child, deadline)


def _on_drain(cell: Cell, deadline: float) -> object:
    return cell.actor.on_drain(deadline) if cell.actor is not None else None


async def wait_dynamic(cell: Cell) -> None:
    """Return when no supervisor has a dynamic child any more that ends by itself."""
    while waiting := list(_transients(cell)):
        for child in waiting:
            await child.wait_gone()


async def stop_dynamic(cell: Cell, reason: str) -> None:
    """Stop those of all supervisors, side by side."""
    await stop_cells(list(_transients(cell)), reason)


def _transients(cell: Cell) -> Iterator[Cell]:
    """The work in flight: what supervisors were asked to spawn, and ends by itself.

    A dynamic child that is permanent, like a provider added by hand, is no work in
    flight: waiting for its end would take every drain to its deadline.
    """
    supervises = cell.actor is not None and cell.actor.supervises
    for child in list((cell.children or {}).values()):
        if supervises and not child.static and child.spec.restart != "permanent":
            yield child
        else:
            yield from _transients(child)


# -- groups: one_for_all and rest_for_one ------------------------------------------


def is_grouped(cell: Cell) -> bool:
    """Whether this child comes back together with siblings."""
    parent = cell.parent
    return cell.static and parent is not None and parent.strategy != "one_for_one"


def report_exit(cell: Cell) -> None:
    """Ask the supervisor to bring the group of this child back."""
    assert cell.parent is not None
    cell.parent.put_control(Chore("regroup", partial(_regroup, cell.parent, cell)))


async def _regroup(parent: Cell, culprit: Cell) -> None:
    """Halt the group in reverse start order, wait, resume it in start order."""
    if culprit.gone or culprit.state != "down" or culprit.halting:
        return  # An earlier regroup took it along.
    group = _group(parent, culprit)
    parent.reaping = True
    for child in reversed(group):
        if child is not culprit:
            await _halt(child, f"{culprit.id} is being restarted")
    parent.reaping = False
    if culprit.retry_at is not None and parent.stopping is None:
        await parent.pause(culprit.retry_at, shield=False)
    for child in group:
        if parent.stopping is not None:
            return  # The end of the parent ends them where they are.
        if not child.gone and child.state == "down":
            child.resume()
            await child.wait_turn()
            await _settled(child)


def _group(parent: Cell, culprit: Cell) -> list[Cell]:
    children = [child for child in (parent.children or {}).values() if child.static]
    if parent.strategy == "rest_for_one":
        return children[children.index(culprit) :]
    return children


async def _halt(child: Cell, reason: str) -> None:
    if child.state == "down":
        return  # It crashed too, and comes back with the group.
    if child.spec.restart == "temporary":
        await stop_cells([child], reason)
        return
    child.halt(reason)
    with trio.move_on_after(child.spec.shutdown_s):
        await _down_or_gone(child)
    child.kill(reason)
    await _down_or_gone(child)


async def _down_or_gone(child: Cell) -> None:
    while child.state not in ("down", "gone"):
        await child.wait_turn()
