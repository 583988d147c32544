"""The whole of it: the root, the registry, the books, the beginning and the end.

Owns: the one nursery all guards live in. Ends in order even when what is around it
is cancelled: every stop is bounded by the `shutdown_s` of the child, then by force.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import trio

from runtime import _crash, _family
from runtime._ask import RUNNING, Ask
from runtime._asking import inline_failure
from runtime._cell import Cell
from runtime._frame import current_frame
from runtime._guard import guard
from runtime._sim import InjectedCrash, Injector, injector_here
from runtime._timers import Timers
from runtime.context import Context
from runtime.errors import DuplicateKey, SystemFailed
from runtime.message import Crashed, CrashReport, MonitorId, Stopped, Tripped
from runtime.ref import Ref
from runtime.snapshot import Node, dump_of, node_of
from runtime.spec import ChildSpec, MailboxSpec
from runtime.tracer import GuardedTracer, Tracer

if TYPE_CHECKING:
    from runtime._mortal import Mortal
    from runtime.actor import Actor

A = TypeVar("A", bound="Actor")
log = logging.getLogger("runtime")

# What an operator scrolls through; the rest is in the log.
CRASH_REPORTS_MAX = 64
DEAD_LETTERS_MAX = 64


class System:
    """A running tree of actors. Made by `open_system`."""

    def __init__(
        self, nursery: trio.Nursery, tracer: Tracer | None, rng: Random | None
    ) -> None:
        self._nursery = nursery
        self.default_box = MailboxSpec()
        self.rng = rng or Random()  # noqa: S311 - jitter, not secrets
        self.tracer: Tracer | None = (
            GuardedTracer(tracer, self._drop_tracer) if tracer is not None else None
        )
        self.injector: Injector | None = injector_here()
        self.plain = self.tracer is None and self.injector is None
        self.draining = False
        self.inline_asks = 0
        self.late_replies = 0
        self.dead_letters_total = 0
        self.crashes_total = 0
        self._crashes: deque[CrashReport] = deque(maxlen=CRASH_REPORTS_MAX)
        self._dead: deque[tuple[str, str]] = deque(maxlen=DEAD_LETTERS_MAX)
        self._registry: dict[str, Cell] = {}
        # A number that no other monitor has.
        self.next_monitor: Callable[[], MonitorId] = cast(
            "Callable[[], MonitorId]", count(1).__next__
        )
        # Classes that know the cell's module, which cannot know theirs.
        self.make_ref: Callable[[Cell], Ref[Any]] = Ref
        self.make_context: Callable[[Cell], Context] = Context
        self._root: Cell | None = None
        self._failure: SystemFailed | None = None
        self._interrupt: BaseException | None = None
        self.timers = Timers(self)
        # As trio.current_time(), without its layers: it is read 20 times a request.
        self.clock: Callable[[], float] = trio.lowlevel.current_clock().current_time

    def __repr__(self) -> str:
        state = "draining" if self.draining else "running"
        return f"<System {state} actors={len(self)} crashes={self.crashes_total}>"

    def __len__(self) -> int:
        """How many actors live."""
        return sum(1 for key, cell in self._registry.items() if key == cell.id)

    # -- for users -------------------------------------------------------------

    @property
    def root(self) -> Ref[Any]:
        """The Ref of the root."""
        assert self._root is not None
        return self._root.ref

    @overload
    def lookup(self, key: str) -> Ref[Any] | None: ...
    @overload
    def lookup(self, key: str, kind: type[A]) -> Ref[A] | None: ...
    def lookup(self, key: str, kind: type[Any] | None = None) -> Ref[Any] | None:
        """The living actor with this path or registered key; optionally of a kind."""
        cell = self._registry.get(key)
        if cell is None:
            return None
        if kind is not None and cell.actor is not None:
            assert isinstance(cell.actor, kind), f"{key} is no {kind.__name__}"
        return cell.ref

    def snapshot(self) -> Node:
        """The live tree as a value."""
        assert self._root is not None
        return node_of(self._root)

    def dump(self) -> str:
        """The tree with where each task waits, for SIGUSR1. Holds no values."""
        assert self._root is not None
        return "\n".join(dump_of(self._root))

    @property
    def crashes(self) -> tuple[CrashReport, ...]:
        """The latest crash reports, oldest first."""
        return tuple(self._crashes)

    @property
    def dead_letters(self) -> tuple[tuple[str, str], ...]:
        """The latest messages nobody handled: (actor, message type)."""
        return tuple(self._dead)

    async def drain(self, deadline: float) -> None:
        """Go out in order; `deadline` is trio time. See docs/supervision.md.

        Supervisors refuse new children and every actor's `on_drain` runs; dynamic
        children that are not permanent may finish until the deadline, then are
        stopped; then
        the rest stops last to first. The body of `open_system` is left running.
        """
        root = self._root
        assert root is not None
        self.draining = True
        _family.announce_drain(root, deadline)
        with trio.CancelScope(deadline=deadline):
            await _family.wait_dynamic(root)
        with trio.CancelScope(shield=True):
            await _family.stop_dynamic(root, "the drain deadline has passed")
            await _family.stop_cells([root], "drained")

    # -- for the kernel --------------------------------------------------------

    def start(
        self, fn: Callable[..., Awaitable[object]], *args: Any, name: str
    ) -> None:
        """Run a kernel task. It must not raise."""
        self._nursery.start_soon(fn, *args, name=name)

    def launch(self, cell: Cell) -> None:
        """Start the task of a cell."""
        self._nursery.start_soon(guard, cell, name=cell.id)

    def stop_soon(self, cell: Cell, reason: str) -> None:
        """Stop a cell without waiting for it."""
        self.start(_stop_shielded, cell, reason, name=f"stop {cell.id}")

    def abandon(self, cell: Mortal) -> None:
        """Take a cell that ended out of the registry."""
        self._registry.pop(cell.id, None)
        for key in cell.keys or ():
            self._registry.pop(key, None)

    def register(self, key: str, cell: Cell) -> None:
        """Make a cell findable."""
        owner = self._registry.get(key)
        if owner is cell:
            return
        if owner is not None:
            raise DuplicateKey(key, owner.id)
        self._registry[key] = cell
        if key != cell.id:
            if cell.keys is None:
                cell.keys = []
            cell.keys.append(key)

    def note_crash(self, made: CrashReport) -> None:
        """Keep and log a report: no crash is silent."""
        self.crashes_total += 1
        self._crashes.append(made)
        log.error("%s", made, extra={"trace": made.trace, "report": made})

    def note_trip(self, cell: Mortal, ended: Tripped) -> None:
        """Log it: somebody has to know why an actor is away."""
        extra = {"actor": cell.id, "tripped": ended}
        log.warning("%s #%d %s", cell.id, cell.incarnation, ended, extra=extra)

    def dead_letter(self, to: str, kind: type) -> None:
        """Count a message nobody will handle."""
        self.dead_letters_total += 1
        self._dead.append((to, kind.__name__))

    def root_ended(self, root: Cell) -> None:
        """The root is gone, and so is every actor. Unasked, that ends the body too."""
        self.timers.close()
        ended = root.exit
        if isinstance(ended, Stopped):
            return
        if isinstance(ended, Crashed):
            note = ended.report.note or str(ended)
            self._failure = SystemFailed(root.id, note, ended.report)
        elif isinstance(ended, Tripped):
            self._failure = SystemFailed(root.id, str(ended), None)
        else:
            self._failure = SystemFailed(root.id, "it left by itself", None)
        self._nursery.cancel_scope.cancel(reason=f"{root.id} {ended}")

    def interrupt(self, exc: BaseException) -> None:
        """Ctrl-C or sys.exit in an actor's task: end in order, then raise it."""
        self._interrupt = exc
        self._nursery.cancel_scope.cancel(reason=type(exc).__name__)

    def _drop_tracer(self) -> None:
        self.tracer = None
        self.plain = self.injector is None

    async def begin(self, spec: ChildSpec[Any]) -> None:
        """Start the root and wait for its static children's first try."""
        root = self._root = Cell(self, None, spec, static=True)
        self.register(root.id, root)
        root.bear()
        while root.state in ("starting", "stopping"):
            await root.wait_turn()

    async def finish(self, reason: str) -> None:
        """Stop everything in order, whatever happens around."""
        if self._root is not None:
            await _stop_shielded(self._root, reason)

    def raise_failure(self, body: BaseException | None) -> None:
        """After the end: what the body raised, else why the system failed."""
        if self._interrupt is not None:
            raise self._interrupt
        if body is not None and not _crash.is_cancelled(body):
            raise body
        if self._failure is not None:
            raise self._failure

    # -- observed and disturbed runs -------------------------------------------

    async def observe(
        self, cell: Cell, item: Any, work: Callable[[Cell, Any], Awaitable[None]]
    ) -> None:
        """Handle a queued message under a tracer, a fault injector, or both."""
        kind = type(getattr(item, "msg", item))
        began_s = trio.current_time()
        if self.tracer is not None:
            self.tracer.received(cell.id, kind)
        struck = self.injector.strike(cell.id, kind) if self.injector else None
        if isinstance(item, Ask):
            item.place = RUNNING
        if struck is not None and struck.cancel_after_s is not None:
            self.start(_cancel_later, cell, struck.cancel_after_s, name="injected")
        if struck is not None and struck.stall_s:
            try:
                await trio.sleep(struck.stall_s)
            except trio.Cancelled:
                if isinstance(item, Ask) and not item.state:
                    item.fail(cell.in_hand_error())
                raise
        if struck is not None and struck.crashes:
            cell.fail(InjectedCrash(f"{kind.__name__} in {cell.id}"), kind)
            if isinstance(item, Ask) and not item.state:
                item.fail(cell.in_hand_error())
        else:
            await work(cell, item)
        if self.tracer is not None:
            self.tracer.handled(cell.id, kind, trio.current_time() - began_s)

    def hear(self, cell: Cell, item: Any) -> None:
        """Handle one control item beside an actor's `main`."""
        kind = type(item)
        began_s = trio.current_time()
        if self.tracer is not None:
            self.tracer.received(cell.id, kind)
        struck = self.injector.strike(cell.id, kind) if self.injector else None
        if struck is not None and struck.crashes:
            cell.fail(InjectedCrash(f"{kind.__name__} in {cell.id}"), kind)
        else:
            outer = current_frame.set(cell.frame)
            cell.handling = kind
            try:
                cell.obey_now(item)
            except BaseException as exc:
                cell.fail(exc, kind)
                if not isinstance(exc, Exception):
                    raise
            finally:
                cell.handling = None
                cell.handled += 1
                current_frame.reset(outer)
        if self.tracer is not None:
            self.tracer.handled(cell.id, kind, trio.current_time() - began_s)

    def observe_inline(self, cell: Cell, msg: Any) -> tuple[bool, Any]:
        """Run an inline ask under observation; (False, None) sends it to the queue."""
        kind = type(msg)
        struck = None
        if self.injector is not None:
            if not self.injector.may_inline(cell.id, kind):
                return False, None
            struck = self.injector.strike(cell.id, kind)
        began_s = trio.current_time()
        if self.tracer is not None:
            self.tracer.received(cell.id, kind)
        cell.idle = False
        reply: Any = None
        failure: BaseException | None = None
        if struck is not None and struck.crashes:
            failure = InjectedCrash(f"{kind.__name__} in {cell.id}")
        else:
            outer = current_frame.set(cell.frame)
            try:
                reply = cell.inline[kind](cell.actor, msg)
            except BaseException as exc:  # noqa: BLE001 - sorted by inline_failure
                failure = exc
            current_frame.reset(outer)
        cell.handled += 1
        if self.tracer is not None:
            self.tracer.handled(cell.id, kind, trio.current_time() - began_s)
        if failure is not None:
            raise inline_failure(cell, failure, kind)
        if cell.rest:
            cell.rest_or_retire()
        return True, reply


async def _cancel_later(cell: Cell, after_s: float) -> None:
    """Stop a temporary actor by force, because a simulation wants it."""
    with trio.CancelScope(shield=True):
        await trio.sleep(after_s)
    if cell.spec.restart == "temporary" and not cell.gone:
        cell.request_stop("injected")
        cell.kill("injected")


async def _stop_shielded(cell: Cell, reason: str) -> None:
    with trio.CancelScope(shield=True):
        await _family.stop_cells([cell], reason)


@asynccontextmanager
async def open_system(
    root: ChildSpec[Any], *, tracer: Tracer | None = None, rng: Random | None = None
) -> AsyncGenerator[System]:
    """Run a tree of actors around the body.

    The body starts once the root and its static children have had their first try.
    Leaving it, by whatever way, stops all actors in order. When the root gives up,
    the body is cancelled and SystemFailed raised.
    """
    system: System | None = None
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        system = System(nursery, tracer, rng)
        try:
            await system.begin(root)
            yield system
        except GeneratorExit:
            raise  # The whole run is being thrown away; nothing can be awaited.
        except BaseException as exc:  # noqa: BLE001 - raised again below
            raised = exc
        await system.finish("the body of open_system has ended")
        if raised is not None and _crash.is_cancelled(raised):
            raise raised
    system.raise_failure(raised)
