"""One question on its way: who waits, until when, and the single answer.

Owns: that an ask settles exactly once. A late settle is counted, never raised.
The asker parks in `wait_task_rescheduled`; no Event, no channel: it saves 3 us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import trio
from outcome import Error, Value
from trio.lowlevel import Abort, Task, reschedule

if TYPE_CHECKING:
    from runtime._cell import Cell

R = TypeVar("R")

PENDING: Final = 0
SETTLED: Final = 1
ABANDONED: Final = 2

# Where a pending ask is, so that its asker's leaving undoes the right thing.
QUEUED: Final = 0
BLOCKED: Final = 1
RUNNING: Final = 2
DEFERRED: Final = 3

# The answer to an ask whose deadline passed unhandled. The asker takes a checkpoint
# first: when its own scope has expired it must see Cancelled, as from any other call.
EXPIRED: Final = object()


class Ask:
    """An envelope in a mailbox. Compared by identity."""

    __slots__ = (
        "cell",
        "chain",
        "deadline",
        "deferred",
        "msg",
        "place",
        "scope",
        "state",
        "task",
        "trace",
    )

    def __init__(
        self,
        cell: Cell,
        msg: Any,
        task: Task,
        deadline: float,
        *,
        chain: tuple[Cell, ...],
        trace: str | None,
    ) -> None:
        self.cell = cell
        self.msg = msg
        self.task = task
        self.deadline = deadline
        self.chain = chain
        self.trace = trace
        self.state = PENDING
        self.place = QUEUED
        self.scope: trio.CancelScope | None = None
        self.deferred: Deferred[Any] | None = None

    def __repr__(self) -> str:
        state = ("pending", "settled", "abandoned")[self.state]
        return f"<Ask {type(self.msg).__name__} to {self.cell.id} {state}>"

    def reply(self, value: Any) -> bool:
        """Settle with a value; False when nobody waits any more."""
        if self.state:
            return self._late()
        self.state = SETTLED
        reschedule(self.task, Value(value))
        return True

    def fail(self, error: BaseException) -> bool:
        """Settle with an error; False when nobody waits any more."""
        if self.state:
            return self._late()
        self.state = SETTLED
        reschedule(self.task, Error(error))
        return True

    def _late(self) -> bool:
        self.cell.system.late_replies += 1
        return False

    def abort(self, _raise_cancel: Callable[[], Any]) -> Abort:
        """The asker is being cancelled. Runs inside trio's scheduler: never raises."""
        self.state = ABANDONED
        match self.place:
            case 0 | 1:
                self.cell.forget(self)
            case 2:
                if self.scope is not None:
                    self.cell.cut(self.scope)
            case _:
                self.cell.abandon(self)
        return Abort.SUCCEEDED


class Deferred(Generic[R]):
    """A reply that comes later. Return it from a handler; settle it once.

    The mailbox moves on meanwhile, so many may wait side by side. When the actor
    ends first, the kernel answers for it; when the asker leaves first, `abandoned`
    turns true and the callback runs as the actor's next piece of work.
    """

    __slots__ = ("_ask", "_callback", "_early")

    def __init__(self) -> None:
        self._ask: Ask | None = None
        self._early: Value[R] | Error | None = None
        self._callback: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"<Deferred {self._ask or self._early or 'not returned yet'}>"

    def reply(self, value: R) -> bool:
        """Answer. False when the asker has left, or was answered before."""
        if self._ask is None:
            return self._keep(Value(value))
        self._ask.cell.undefer(self._ask)
        return self._ask.reply(value)

    def fail(self, error: BaseException) -> bool:
        """Answer with an error, which the asker's `ask` raises."""
        if self._ask is None:
            return self._keep(Error(error))
        self._ask.cell.undefer(self._ask)
        return self._ask.fail(error)

    @property
    def abandoned(self) -> bool:
        """Whether the asker has left without an answer."""
        return self._ask is not None and self._ask.state == ABANDONED

    @property
    def settled(self) -> bool:
        """Whether it has been answered, or needs no answer any more."""
        if self._ask is None:
            return self._early is not None
        return self._ask.state != PENDING

    def on_abandoned(self, callback: Callable[[], object]) -> None:
        """Run `callback` in this actor, in turn, if the asker leaves."""
        self._callback = callback

    # -- for the kernel --------------------------------------------------------

    @property
    def early(self) -> Value[R] | Error | None:
        """The answer given before the handler returned, if any."""
        return self._early

    @property
    def callback(self) -> Callable[[], object] | None:
        """What the actor wants to do if this asker leaves."""
        return self._callback

    def bind(self, ask: Ask) -> None:
        """Tie it, once returned, to the question it answers."""
        assert self._ask is None, "a Deferred answers one ask; make one for each"
        self._ask = ask
        ask.deferred = self
        ask.place = DEFERRED

    def _keep(self, early: Value[R] | Error) -> bool:
        if self._early is not None:
            return False
        self._early = early
        return True
