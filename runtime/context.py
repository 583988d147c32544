"""What an actor can do besides answering: children, tasks, watching, names, time.

`self.ctx` of every actor, set before `on_start`. All of it is synchronous: nothing
here waits, so a `def` handler may use all of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import trio

from runtime._cell import not_accepted
from runtime._frame import Frame, current_frame
from runtime._mailbox import UNLAUNCHED
from runtime._timers import Timer
from runtime.message import Down, Exit, MonitorId, Normal, Tell
from runtime.spec import ChildSpec

if TYPE_CHECKING:
    from runtime._cell import Cell
    from runtime.actor import Actor
    from runtime.ref import Ref

A = TypeVar("A", bound="Actor")
Ts = TypeVarTuple("Ts")


class Context:
    """An actor's handle on its own place in the system."""

    __slots__ = ("_cell", "now")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        # The time in trio's clock, which tests make virtual.
        self.now: Callable[[], float] = cell.system.clock

    def __repr__(self) -> str:
        return f"<Context of {self._cell!r}>"

    @property
    def ref(self) -> Ref[Any]:
        """The Ref of this actor; it survives restarts."""
        return self._cell.ref

    @property
    def id(self) -> str:
        """The full path, as in `providers/main`."""
        return self._cell.id

    def child_path(self, name: str) -> str:
        """The full path of a child with this id."""
        return self._cell.child_path(name)

    @property
    def epoch(self) -> int:
        """The number of this incarnation, from 1. Results of an older one are stale."""
        return self._cell.incarnation

    @property
    def deadline(self) -> float:
        """Until when the asker of the message in hand waits; inf when it has no end."""
        asking = self._cell.asking
        if asking is not None:
            return asking.deadline
        return min(self._cell.until, trio.current_effective_deadline())

    @property
    def draining(self) -> bool:
        """Whether the system is on its way out."""
        return self._cell.system.draining

    def spawn(self, spec: ChildSpec[A]) -> Ref[A]:
        """Start a child. It ends with this incarnation; it may be asked at once."""
        return self._cell.spawn(spec).ref

    @property
    def children(self) -> tuple[Ref[Any], ...]:
        """Its children that live now, in the order they were started."""
        cells = (self._cell.children or {}).values()
        return tuple(child.ref for child in cells if not child.gone)

    def stop_child(self, ref: Ref[Any], reason: str) -> None:
        """Ask a child to stop in order; monitor it to learn when it has."""
        child = ref.cell
        if child.parent is not self._cell:
            raise ValueError(f"{child.id} is no child of {self.id}; tell its parent")
        if child.gone or child.stopping is not None:
            return
        child.system.stop_soon(child, reason)

    def start_soon(
        self,
        fn: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        name: str = "",
    ) -> trio.CancelScope:
        """Run a task that dies with this incarnation; its crash is the actor's.

        It may ask anybody, this actor too: it is no part of the message in hand.
        """
        cell = self._cell
        if cell.exit is not None:
            raise RuntimeError(f"{cell.id} is ending and starts no more tasks")
        if cell.helpers is None:
            cell.helpers = {}
        scope = trio.CancelScope(shield=True)
        cell.helpers[scope] = None
        label = name or getattr(fn, "__name__", "task")
        cell.system.start(_helper, cell, scope, fn, args, name=f"{cell.id}:{label}")
        return scope

    def tell_at(self, at_s: float, msg: Tell[Any]) -> Timer:
        """Have this actor told `msg` at a time of trio's clock, on the control lane.

        Costs no task; dies with this incarnation; `timer.cancel()` takes it back.
        """
        cell = self._cell
        if cell.exit is not None:
            raise RuntimeError(f"{cell.id} is ending and sets no more alarms")
        if type(msg) not in cell.table:
            raise not_accepted(cell, type(msg))
        return cell.system.timers.set(cell, at_s, msg)

    def monitor(self, ref: Ref[Any]) -> MonitorId:
        """Watch an actor: `on_down` runs once it has ended for good.

        The watch belongs to this cell: it outlives an incarnation of the watcher.
        """
        cell, target = self._cell, ref.cell
        monitor = cell.system.next_monitor()
        if target.gone:
            assert target.exit is not None
            cell.put_control(Down(monitor, target.id, target.exit))
            return monitor
        if target.watchers is None:
            target.watchers = {}
        if cell.watched is None:
            cell.watched = {}
        target.watchers[monitor] = cell
        cell.watched[monitor] = target
        return monitor

    def demonitor(self, monitor: MonitorId) -> None:
        """Stop watching. A Down that is already queued still arrives."""
        target = (self._cell.watched or {}).pop(monitor, None)
        if target is not None and target.watchers is not None:
            target.watchers.pop(monitor, None)

    @property
    def watched(self) -> frozenset[str]:
        """The actors that are monitored and still live.

        For `on_start` after a crash: the Down that was in hand is not replayed, so
        what is held for anybody who is not in here can be released.
        """
        targets = (self._cell.watched or {}).values()
        return frozenset(target.id for target in targets)

    def register(self, key: str) -> None:
        """Be found under a key, across restarts, until this actor ends for good."""
        self._cell.system.register(key, self._cell)

    def lookup(self, key: str) -> Ref[Any] | None:
        """The actor with this path or key, if it lives."""
        return self._cell.system.lookup(key)

    def stop_self(self, ended: Exit | None = None) -> None:
        """End this incarnation once the message in hand is done."""
        cell = self._cell
        # Inside an inline handler the ask itself retires the cell, after its answer.
        inline = cell.rest == UNLAUNCHED and not cell.idle
        cell.end(ended or Normal())
        if not inline:
            cell.wake()

    def recovered(self) -> None:
        """Say that all is well again: the next backoff starts from the first step."""
        self._cell.forgive()


async def _helper(
    cell: Cell,
    scope: trio.CancelScope,
    fn: Callable[..., Awaitable[object]],
    args: tuple[Any, ...],
) -> None:
    """Run one task of an incarnation."""
    helpers = cell.helpers
    assert helpers is not None
    current_frame.set(Frame(cell, (), current_frame.get().trace))
    try:
        with scope:
            await fn(*args)
    except GeneratorExit:
        raise  # The whole run is being thrown away; there is nothing to supervise.
    except BaseException as exc:  # noqa: BLE001 - the actor's crash, not the system's
        cell.fail(exc, None)
        if isinstance(exc, KeyboardInterrupt | SystemExit):
            cell.system.interrupt(exc)
    finally:
        del helpers[scope]
        if not helpers and cell.helpers_gone is not None:
            cell.helpers_gone.set()
