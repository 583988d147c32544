"""How to speak to an actor. A Ref survives its actor's restarts.

`offer` never blocks and never raises for load; `tell` may wait for room; `ask` waits
for the answer. An ask of an idle actor with a `def` handler runs right here, in the
asker's task: same order, same crash rules, no task switch.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from trio.lowlevel import (
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    wait_task_rescheduled,
)

from runtime._ask import Deferred
from runtime._asking import (
    Later,
    ask_queued,
    check_accepted,
    full,
    inline_failure,
    note_sent,
    refuse_cycle,
    wait_deferred,
)
from runtime._cell import Cell, State
from runtime._frame import current_frame
from runtime._mailbox import Blocked
from runtime.message import ControlTell, Request, Tell

if TYPE_CHECKING:
    from runtime.actor import Actor

A_co = TypeVar("A_co", bound="Actor", covariant=True)
R = TypeVar("R")

# A task that only asks idle actors never switches; after so many it lets others run.
INLINE_ASKS_MAX = 32


class Ref(Generic[A_co]):
    """The address of one actor, typed by what it accepts."""

    __slots__ = ("cell", "id")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.id = cell.id

    def __repr__(self) -> str:
        return f"<Ref {self.cell!r}>"

    @property
    def gone(self) -> bool:
        """Whether the actor has ended for good."""
        return self.cell.gone

    @property
    def state(self) -> State:
        """starting, running, down (between two lives), stopping or gone."""
        return self.cell.state

    def offer(self, msg: Tell[A_co]) -> bool:
        """Hand over without waiting. False: it was not taken, nothing was raised.

        A ControlTell to an actor that lives, or will live again, is always taken. The
        `def` handler of an idle actor runs right here, as it does for an ask: an
        outcome told at the end of a request costs no task switch.
        """
        cell = self.cell
        kind = type(msg)
        if cell.idle and cell.system.plain:
            entry = cell.table.get(kind)
            if entry is not None and not entry.asks and not entry.blocking:
                cell.tell_inline(entry.fn, msg)
                return True
        check_accepted(cell, kind)
        if cell.system.tracer is not None:
            note_sent(cell, kind)
        if isinstance(msg, ControlTell):
            return cell.put_control(msg)
        if cell.gate:
            cell.lose(type(msg), "down" if not cell.gone else "gone")
            return False
        if cell.put(msg):
            return True
        cell.shed += 1
        cell.note_shed(type(msg), "full")
        return False

    async def tell(self, msg: Tell[A_co]) -> None:
        """Hand over, waiting for room if the mailbox blocks.

        Raises ActorGone, ActorDown or MailboxFull when it was not taken; in a
        cancelled scope nothing is delivered (`offer` still delivers).
        """
        await checkpoint_if_cancelled()
        cell = self.cell
        check_accepted(cell, type(msg))
        if cell.system.tracer is not None:
            note_sent(cell, type(msg))
        if isinstance(msg, ControlTell):
            if not cell.put_control(msg):
                raise cell.refusal()
            return
        if cell.gate:
            cell.note_shed(type(msg), "down")
            raise cell.refusal()
        if cell.put(msg):
            return
        if cell.box.full == "shed":
            raise full(cell, type(msg))
        frame = current_frame.get()
        refuse_cycle(cell, frame)
        waiter = Blocked(cell, msg, current_task())
        cell.block(waiter)
        await wait_task_rescheduled(waiter.abort)

    async def ask(self, msg: Request[A_co, R], *, timeout_s: float | None = None) -> R:
        """Ask and wait for the answer.

        Raises what the handler declares (DomainError), or an AskError: ActorGone,
        ActorCrashed, ActorDown, MailboxFull, CallCycle, DeadlineExceeded.
        """
        await checkpoint_if_cancelled()
        cell = self.cell
        system = cell.system
        system.inline_asks += 1
        if system.inline_asks >= INLINE_ASKS_MAX:
            system.inline_asks = 0
            await checkpoint()
        if cell.idle and system.plain:
            kind = type(msg)
            fn = cell.inline.get(kind)
            if fn is not None:
                cell.idle = False
                if timeout_s is not None:
                    cell.until = trio.current_time() + timeout_s
                failure: BaseException | None = None
                reply: Any = None
                try:
                    reply = fn(cell.actor, msg)
                except BaseException as exc:  # noqa: BLE001 - sorted just below
                    failure = exc
                cell.handled += 1
                if timeout_s is not None:
                    cell.until = inf
                if failure is not None:
                    raise inline_failure(cell, failure, kind)
                if cell.rest:
                    if cell.exit is None:
                        cell.idle = True
                    else:
                        cell.retire()
                if type(reply) is Deferred:
                    reply = await wait_deferred(cell, msg, reply, timeout_s)
                return reply  # type: ignore[no-any-return]  # @answers checked it
        answer: R = await ask_queued(cell, msg, timeout_s)
        return answer

    def ask_now(self, msg: Request[A_co, R]) -> R | Later[R]:
        """Ask, and have the answer here and now where the actor is idle, as in `ask`.

        Else a `Later`, to be awaited at once. For the few asks of a request on its way
        to a wait: each costs a third of an `ask`, which is a checkpoint besides.
        """
        cell = self.cell
        kind = type(msg)
        fn = cell.inline.get(kind) if cell.idle and cell.system.plain else None
        if fn is None:
            return Later(self, msg, None)
        cell.idle = False
        failure: BaseException | None = None
        reply: Any = None
        try:
            reply = fn(cell.actor, msg)
        except BaseException as exc:  # noqa: BLE001 - sorted just below
            failure = exc
        cell.handled += 1
        if failure is not None:
            raise inline_failure(cell, failure, kind)
        if cell.rest:
            if cell.exit is None:
                cell.idle = True
            else:
                cell.retire()
        return Later(self, msg, reply) if type(reply) is Deferred else reply
