"""One actor's place in the tree: its mailbox, its state, and what is decided of it.

The cell outlives incarnations; a Ref points at it. Everything here is synchronous:
it decides and marks, and the guard (`_guard.py`), the one task a cell may have,
carries it out. A cell whose handlers are all `def` has no task until something
must be queued: its asks run inline and it costs about a kilobyte. How it ends is in
`_mortal.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import reschedule

from runtime._debts import Chore
from runtime._frame import Frame
from runtime._mailbox import (
    EMPTY,
    LISTENING,
    OPEN,
    PARKED,
    UNLAUNCHED,
    WORKING,
)
from runtime._mortal import Mortal, State
from runtime.errors import DuplicateChild, NotAccepted
from runtime.message import Down
from runtime.spec import ChildSpec

if TYPE_CHECKING:
    from runtime.actor import Actor
    from runtime.ref import Ref

__all__ = ["Cell", "State", "not_accepted"]


class Cell(Mortal):
    """See the module."""

    __slots__ = ()

    @property
    def ref(self) -> Ref[Any]:
        """The Ref of this cell: one and the same for as long as it lives."""
        ref = self._ref
        if ref is None:
            ref = self._ref = self.system.make_ref(self)
        return ref

    @property
    def frame(self) -> Frame:
        """What runs in the tasks of this cell."""
        frame = self._frame
        if frame is None:
            frame = self._frame = Frame(self, (self,))
        return frame

    def child_path(self, name: str) -> str:
        """The path of a child: the root's own name is left out."""
        return name if self.parent is None else f"{self.id}/{name}"

    # -- birth -----------------------------------------------------------------

    def spawn(self, spec: ChildSpec[Any], *, static: bool = False) -> Cell:
        """Make a child of this actor. It may be asked at once."""
        if self.exit is not None or self.actor is None:
            raise RuntimeError(f"{self.id} is ending and cannot spawn {spec.id}")
        children = self.children
        if children is None:
            children = self.children = {}
        elif spec.id in children:
            raise DuplicateChild(children[spec.id].id)
        child = Cell(self.system, self, spec, static=static)
        self.system.register(child.id, child)
        children[spec.id] = child
        child.bear()
        return child

    def bear(self) -> None:
        """Begin an incarnation, as far as that needs no waiting."""
        self.exit = None
        self.killed = False
        self.state = "starting"
        self.started = False
        self.incarnation += 1
        self.started_at = self.system.clock()
        try:
            actor = self.spec.make()
            kind = type(actor)
            self.actor = actor
            self.kind = kind.__name__
            self.box = kind.mailbox
            self.table = kind.table
            self.inline = kind.inline
            actor.ctx = self.system.make_context(self)
            if kind.starts != "async":
                _start_now(actor)
                self.started = True
        except Exception as exc:  # noqa: BLE001 - a throwing constructor is a crash
            self.fail(exc, None)
        else:
            if kind.starts != "async" and self.exit is None:
                self.up()
                if kind.has_main:
                    if self.task is None:
                        self.system.launch(self)
                    self.rest = LISTENING
                    self.hear()
                elif self.task is None:
                    self.rest = UNLAUNCHED
                    self.idle = self.queue is EMPTY and self.control is EMPTY
                    if not self.idle:
                        self.rouse()
                return
        if self.task is None:
            self.launch()

    def launch(self) -> None:
        """Give this cell its task."""
        self.rest = WORKING
        self.system.launch(self)

    def up(self) -> None:
        """The incarnation has started: open the mailbox."""
        self.state = "running"
        if self.stopping is None:
            self.gate = OPEN
            self.retry_at = None
        if self.turned is not None:
            self.turn()

    def rouse(self) -> None:
        """Wake the guard for a message."""
        rest = self.rest
        if rest == LISTENING:
            self.hear()
            return
        self.rest = WORKING
        self.idle = False
        if rest == PARKED:
            assert self.task is not None
            reschedule(self.task)
        else:
            self.launch()

    def obey_now(self, item: Any) -> None:
        """Handle one control item that cannot wait."""
        kind = type(item)
        actor = self.actor
        assert actor is not None
        if kind is Down:
            if self.watched is not None:
                self.watched.pop(item.monitor, None)
            actor.on_down(item)
        elif kind is Chore:
            item.run()
        else:
            entry = self.table.get(kind)
            if entry is None:
                self.lose(kind, "not accepted")
            else:
                entry.fn(actor, item)

    def hear(self) -> None:
        """Handle control messages beside `main`, here and now, one after another."""
        self.rest = WORKING  # What a handler causes waits for the end of the step.
        while self.control and self.exit is None:
            item = self.control.popleft()
            self.system.hear(self, item)
        if self.exit is None and self.stopping is not None:
            self.end(self.stopping)
        if self.exit is not None:
            if self.scope is not None:
                self.scope.cancel(reason=f"{self.id} {self.exit}")
            return
        self.rest = LISTENING


def _start_now(actor: Actor) -> None:
    if actor.on_start() is not None:
        kind = type(actor).__name__
        raise TypeError(f"{kind}.on_start returns an awaitable; write it `async def`")


def not_accepted(cell: Cell, kind: type) -> NotAccepted:
    """Name what would have been accepted."""
    accepts = ", ".join(sorted(known.__name__ for known in cell.table))
    return NotAccepted(cell.id, kind.__name__, accepts)
