"""How an actor ends: one life of it, and its place in the tree.

The state of a cell is here, for almost all of it is about ends; `_cell.py` adds how it
is born and how it hears. Everything is synchronous: it decides and marks, and the guard
carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal

import trio
from trio.lowlevel import Task

from runtime import _crash
from runtime._ask import Ask
from runtime._debts import Chore, Debts
from runtime._frame import Frame
from runtime._mailbox import CLOSED, DOWN, EMPTY, UNLAUNCHED, WORKING
from runtime.message import (
    Crashed,
    CrashReport,
    Down,
    Exit,
    MonitorId,
    Stopped,
    Tripped,
)
from runtime.spec import AnySpec, History, Limit, Strategy, after_exit

if TYPE_CHECKING:
    from runtime._cell import Cell
    from runtime._timers import Timer
    from runtime.actor import Actor, Entry
    from runtime.ref import Ref
    from runtime.system import System

State = Literal["starting", "running", "down", "stopping", "gone"]
NO_TABLE: Final[dict[type, Any]] = {}
NO_HISTORY: Final = History()


class Mortal(Debts):
    """A cell, as far as its ends go."""

    __slots__ = (
        "_frame",
        "_ref",
        "actor",
        "alarm",
        "asking",
        "children",
        "exceeded",
        "gone_event",
        "halting",
        "handled",
        "handling",
        "helpers",
        "helpers_gone",
        "history",
        "inline",
        "keys",
        "killed",
        "kind",
        "last_crash",
        "parent",
        "reaping",
        "recut",
        "scope",
        "spec",
        "started",
        "started_at",
        "state",
        "static",
        "stopping",
        "table",
        "task",
        "timers",
        "turned",
        "until",
        "watched",
        "watchers",
    )

    def __init__(
        self, system: System, parent: Cell | None, spec: AnySpec, *, static: bool
    ) -> None:
        path = spec.id
        if parent is not None and parent.parent is not None:
            path = f"{parent.id}/{path}"  # As `child_path`, without its frame.
        super().__init__(system, path, system.default_box)
        self.parent: Cell | None = parent
        self.spec: AnySpec = spec
        self.static = static
        self._ref: Ref[Any] | None = None
        self._frame: Frame | None = None
        self.actor: Actor | None = None
        self.kind = "Actor"
        self.table: dict[type, Entry] = NO_TABLE
        self.inline: dict[type, Callable[[Any, Any], Any]] = NO_TABLE
        self.state: State = "starting"
        self.started_at = 0.0
        self.handled = 0
        self.handling: type | None = None
        self.asking: Ask | None = None
        self.until = inf
        self.started = False
        self.task: Task | None = None
        self.scope: trio.CancelScope | None = None
        self.history = NO_HISTORY
        self.exceeded = False
        self.stopping: Stopped | None = None
        self.halting = False
        self.killed = False
        self.recut = False
        self.reaping = False
        self.last_crash: CrashReport | None = None
        # All below are made on first use: most actors need none of them.
        self.children: dict[str, Cell] | None = None
        # Dicts for sets: they keep their order, so that a seed replays exactly.
        self.helpers: dict[trio.CancelScope, None] | None = None
        self.timers: dict[Timer, None] | None = None
        self.helpers_gone: trio.Event | None = None
        self.watchers: dict[MonitorId, Cell] | None = None
        self.watched: dict[MonitorId, Cell] | None = None
        self.keys: list[str] | None = None
        self.alarm: trio.Event | None = None
        self.turned: trio.Event | None = None
        self.gone_event: trio.Event | None = None

    def __repr__(self) -> str:
        parts = [self.kind, self.id, self.state, f"#{self.incarnation}"]
        if self.state == "down" and self.retry_at is not None:
            parts.append(f"retry_in={self.retry_at - trio.current_time():.1f}s")
        parts.append(f"queued={len(self.queue)}/{self.box.capacity}")
        return f"<{' '.join(parts)}>"

    def turn(self) -> None:
        """Tell whoever waits that the state has changed."""
        if self.turned is not None:
            self.turned.set()
            self.turned = None

    # -- the end of an incarnation ---------------------------------------------

    def fail(self, exc: BaseException, message: type | None) -> None:
        """This incarnation raised. Decide what that means."""
        leaf = _crash.sole_leaf(exc)
        if isinstance(leaf, Tripped):
            _crash.strip(leaf)
            if self.exit is None:
                self.system.note_trip(self, leaf)
            self.end(leaf)
        else:
            self.end(Crashed(self.note_crash(exc, message)))
        if self.scope is not None:
            self.scope.cancel(reason=f"{self.id} {type(leaf).__name__}")
        if self.rest:
            self.rouse()

    def note_crash(self, exc: BaseException, message: type | None) -> CrashReport:
        """Write the report of an exception."""
        made = _crash.report(
            exc, self.id, self.incarnation, message, trio.current_time()
        )
        self.last_crash = made
        self.system.note_crash(made)
        return made

    def end(self, ended: Exit) -> None:
        """Fix how this incarnation ends and what comes after. First one wins."""
        if self.exit is not None:
            return
        self.exit = ended
        self.idle = False
        self.again = False
        if self.halting:
            self.again = True
            self.retry_at = None
        elif (
            self.stopping is None
            and self.parent is not None
            and self.spec.restart != "temporary"  # Those never come back.
        ):
            now_s = self.system.clock()
            verdict = after_exit(
                self.spec,
                self.parent.limit,
                self.history,
                ended,
                now_s=now_s,
                lived_s=now_s - self.started_at,
                rng=self.system.rng,
            )
            self.history = verdict.history
            self.again = verdict.again
            self.exceeded = verdict.exceeded
            self.retry_at = now_s + verdict.pause_s if verdict.again else None
        if not self.again:
            self.gate = CLOSED
            if self.queue or self.waiters:
                self.reject_waiting(keep_tells=False)
        elif self.box.down == "reject":
            self.gate = DOWN
            self.reject_waiting(keep_tells=True)
        if self.system.tracer is not None:
            self.system.tracer.exited(self.id, self.incarnation, ended)

    @property
    def listed_children(self) -> Sequence[AnySpec]:
        """The static children of a supervisor; nobody else has any."""
        actor = self.actor
        return actor.children if actor is not None and actor.supervises else ()

    @property
    def strategy(self) -> Strategy:
        """Which children come back together."""
        actor = self.actor
        if actor is None or not actor.supervises:
            return "one_for_one"
        strategy: Strategy = actor.strategy
        return strategy

    @property
    def limit(self) -> Limit:
        """How often a child of this one may crash."""
        return self.actor.limit if self.actor is not None else Limit()

    def request_stop(self, reason: str) -> None:
        """Stop in order: what was accepted is handled, nothing more is accepted."""
        if self.stopping is not None or self.gone:
            return
        self.stopping = Stopped(reason)
        self.gate = CLOSED
        if self.exit is None:
            self.refuse_blocked()
        else:
            self.again = False
            self.reject_waiting(keep_tells=False)
        if self.rest == UNLAUNCHED and self.idle:
            self.end(self.stopping)
            self.retire()
        else:
            self.wake()

    def halt(self, reason: str) -> None:
        """End this incarnation, keep the cell until the supervisor brings it back."""
        self.halting = True
        self.end(Stopped(reason))
        self.wake()

    def resume(self) -> None:
        """Let a cell that is down come back."""
        self.halting = False
        if self.alarm is not None:
            self.alarm.set()

    def wake(self) -> None:
        """Make the guard look at its flags."""
        if self.rest:
            self.rouse()
        if self.alarm is not None:
            self.alarm.set()

    def forgive(self) -> None:
        """Start the backoff over."""
        self.history = History(0, self.history.crashes)

    def kill(self, reason: str) -> None:
        """Cancel what runs. Its children still stop in order."""
        self.killed = True
        if self.scope is not None:
            self.scope.cancel(reason=reason)

    def cut(self, scope: trio.CancelScope) -> None:
        """End the handler in hand, not the life: its asker left."""
        self.recut = True
        scope.cancel(reason="the asker left")

    def tell_inline(self, fn: Callable[[Any, Any], Any], msg: Any) -> None:
        """Handle a tell in the teller's task; a crash is ours, not the teller's."""
        self.idle = False
        try:
            fn(self.actor, msg)
        except BaseException as exc:
            self.handled += 1
            self.fail(exc, type(msg))
            if not isinstance(exc, Exception):
                raise
            return
        self.handled += 1
        if self.exit is None:
            self.idle = True
        else:
            self.retire()

    def rest_or_retire(self) -> None:
        """An inline handler is done."""
        if self.exit is None:
            self.idle = True
        else:
            self.retire()

    def retire(self) -> None:
        """End a cell that never had a task, here and now, if nothing must wait."""
        actor = self.actor
        assert actor is not None
        assert self.exit is not None
        busy = self.helpers or self.children or self.control or self.deferred
        if self.rest != UNLAUNCHED or self.again or busy or actor.stops == "async":
            self.rouse()
            return
        self.rest = WORKING
        self.state = "stopping"
        if self.timers:
            self.drop_timers()
        if actor.stops == "sync":
            try:
                actor.on_stop(self.exit)
            except Exception as exc:  # noqa: BLE001 - reported; the end goes on
                self.note_crash(exc, None)
        self.close()

    def drop_timers(self) -> None:
        """The alarms of an incarnation do not ring in the next."""
        for timer in tuple(self.timers or ()):
            timer.cancel()

    # -- the end of the cell ---------------------------------------------------

    def close(self) -> None:
        """Leave the tree. Runs once, after children and hooks are done."""
        assert not self.children, f"{self.id} returned before its children"
        assert self.exit is not None
        self.gone = True
        self.state = "gone"
        self.gate = CLOSED
        if self.queue or self.waiters:
            self.reject_waiting(keep_tells=False)
        lost, self.control = self.control, EMPTY
        for item in lost:
            if type(item) is not Chore:
                self.lose(type(item), "gone")
        self.actor = None
        self.table = NO_TABLE
        self.inline = NO_TABLE
        self.system.abandon(self)
        if self.parent is not None and self.parent.children is not None:
            del self.parent.children[self.spec.id]
        for monitor, target in (self.watched or {}).items():
            if target.watchers is not None:
                target.watchers.pop(monitor, None)
        watchers, self.watched, self.watchers = self.watchers, None, None
        # What points back at this cell goes, so that all of it is freed as its last
        # Ref is dropped, and no request waits for the collector.
        self.task = self._ref = self._frame = None
        if self.turned is not None:
            self.turn()
        if self.gone_event is not None:
            self.gone_event.set()
        # Last, for who hears of it may act on it here and now.
        for monitor, watcher in (watchers or {}).items():
            if watcher.watched is not None:
                watcher.watched.pop(monitor, None)
            watcher.hear_down(Down(monitor, self.id, self.exit))

    def hear_down(self, down: Down) -> None:
        """One that this actor watched has ended."""
        actor = self.actor
        if self.idle and self.system.plain and actor is not None:
            if actor.hears_downs == "sync":
                self.tell_inline(type(actor).on_down, down)
                return
            if actor.hears_downs == "none":
                return
        if not self.gone:
            self.put_control(down)

    async def wait_gone(self) -> None:
        """Return when the cell has left the tree."""
        while not self.gone:
            if self.gone_event is None:
                self.gone_event = trio.Event()
            await self.gone_event.wait()

    async def wait_turn(self) -> None:
        """Return when the state changes: up, down or gone."""
        if self.turned is None:
            self.turned = trio.Event()
        await self.turned.wait()

    async def pause(self, until: float = inf, *, shield: bool = True) -> None:
        """Wait for the alarm, or until a time."""
        self.alarm = trio.Event()
        with trio.CancelScope(deadline=until, shield=shield):
            await self.alarm.wait()
        self.alarm = None
