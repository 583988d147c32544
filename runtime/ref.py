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

from runtime import _crash
from runtime._ask import BLOCKED, EXPIRED, SETTLED, Ask, Deferred
from runtime._cell import Cell, State, not_accepted
from runtime._frame import Frame, current_frame
from runtime._guard import host
from runtime._mailbox import Blocked
from runtime.errors import CallCycle, DeadlineExceeded, DomainError, MailboxFull
from runtime.message import ControlTell, Request, Stopped, Tell

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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
        _check_accepted(cell, kind)
        if cell.system.tracer is not None:
            _note_sent(cell, kind)
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
        _check_accepted(cell, type(msg))
        if cell.system.tracer is not None:
            _note_sent(cell, type(msg))
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
            raise _full(cell, type(msg))
        frame = current_frame.get()
        _refuse_cycle(cell, frame)
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
                    reply = await _wait_deferred(cell, msg, reply, timeout_s)
                return reply  # type: ignore[no-any-return]  # @answers checked it
        answer: R = await _ask_queued(cell, msg, timeout_s)
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

    async def ask_hosting(
        self,
        msg: Request[A_co, R],
        begin: Callable[[R], object],
        scope: trio.CancelScope | None = None,
    ) -> R:
        """Ask for a child that is a piece of work, and give it this task to run in.

        For an asker that would only wait for the child's end: it costs neither a task
        nor a switch. `begin` is called with the answer before the child runs, which it
        has done when this returns. So it is where the handler spawned a temporary
        child with a `main`, and could answer at once; else this is an `ask`, and the
        child lives in a task of its own. Raises what `ask` does. A cancelling of this
        task stops the child.

        `scope` is one that this task is in and can do without: a stop, or a crash in a
        handler, cancels it. Without it the child gets one of its own, for 9 us.
        """
        await checkpoint_if_cancelled()
        cell = self.cell
        if not cell.idle or type(msg) not in cell.inline:
            reply = await self.ask(msg)
            begin(reply)
            return reply
        system = cell.system
        child: Cell | None = None
        system.hosting = True
        try:
            answered, reply = _ask_idle(cell, msg)
            system.hosting = False
            child, system.newborn = system.newborn, None
            if not answered:
                reply = await self.ask(msg)
            elif type(reply) is Deferred:
                if child is not None:
                    system.launch(child)
                    child = None
                reply = await _wait_deferred(cell, msg, reply, None)
            begin(reply)
        except BaseException:
            system.hosting = False
            child, system.newborn = child or system.newborn, None
            if child is not None:
                system.launch(child)
            raise
        if child is not None:
            await host(child, scope)
            if type(child.exit) is Stopped:  # Perhaps with this task.
                await checkpoint_if_cancelled()
        return reply


class Later(Generic[R]):
    """An answer that has to be waited for. Await it at once, and once."""

    __slots__ = ("_deferred", "_msg", "_ref")

    def __init__(
        self, ref: Ref[Any], msg: Request[Any, R], deferred: Deferred[R] | None
    ) -> None:
        self._ref = ref
        self._msg = msg
        self._deferred = deferred  # None: it has not been asked yet.

    def __repr__(self) -> str:
        return f"<Later {type(self._msg).__name__} of {self._ref.id}>"

    def __await__(self) -> Generator[Any, Any, R]:
        if self._deferred is None:
            return self._ref.ask(self._msg).__await__()
        cell = self._ref.cell
        return _wait_deferred(cell, self._msg, self._deferred, None).__await__()


def _ask_idle(cell: Cell, msg: Any) -> tuple[bool, Any]:
    """Have an idle actor answer here and now; False where a simulation says no."""
    kind = type(msg)
    if not cell.system.plain:
        return cell.system.observe_inline(cell, msg)
    cell.idle = False
    failure: BaseException | None = None
    reply: Any = None
    try:
        reply = cell.inline[kind](cell.actor, msg)
    except BaseException as exc:  # noqa: BLE001 - sorted just below
        failure = exc
    cell.handled += 1
    if failure is not None:
        raise inline_failure(cell, failure, kind)
    if cell.rest:
        cell.rest_or_retire()
    return True, reply


def inline_failure(cell: Cell, exc: BaseException, kind: type) -> BaseException:
    """A handler raised in the asker's task: the crash stays with the actor.

    Returns what the asker is to see. Called outside of `except`, so that the crash,
    whose frames hold the actor's values, is no context of the asker's error.
    """
    leaf = _crash.sole_leaf(exc)
    if isinstance(leaf, DomainError):
        if cell.rest:
            cell.rest_or_retire()
        return leaf
    cell.fail(exc, kind)
    return cell.in_hand_error() if isinstance(exc, Exception) else exc


def _check_accepted(cell: Cell, kind: type) -> None:
    """Tell a sender of its bug, once the actor is known."""
    if cell.table and kind not in cell.table:
        raise not_accepted(cell, kind)


def _note_sent(cell: Cell, kind: type) -> None:
    sender = current_frame.get().cell
    tracer = cell.system.tracer
    if tracer is not None:
        tracer.sent(cell.id, kind, sender.id if sender is not None else None)


def _full(cell: Cell, kind: type) -> MailboxFull:
    cell.shed += 1
    cell.note_shed(kind, "full")
    return MailboxFull(cell.id, cell.box.capacity)


def _refuse_cycle(cell: Cell, frame: Frame) -> None:
    """Raise when waiting for `cell` would be waiting for ourselves."""
    chain = frame.chain
    if cell in chain:
        path = [link.id for link in chain[chain.index(cell) :]]
        raise CallCycle(cell.id, " -> ".join([*path, cell.id]))
    if cell.reaping:
        # A child that ends must not wait for the parent that waits for its end.
        child = frame.cell
        while child is not None:
            if child.parent is cell:
                path = [frame.cell.id if frame.cell else "?", cell.id]
                raise CallCycle(cell.id, " -> ".join([*path, f"the end of {child.id}"]))
            child = child.parent


def _new_ask(cell: Cell, msg: Any, frame: Frame, deadline: float) -> Ask:
    return Ask(
        cell, msg, current_task(), deadline, chain=frame.chain, trace=frame.trace
    )


async def _ask_queued(cell: Cell, msg: Any, timeout_s: float | None) -> Any:
    frame = current_frame.get()
    kind = type(msg)
    system = cell.system
    _check_accepted(cell, kind)
    if system.tracer is not None:
        _note_sent(cell, kind)
    if not system.plain and cell.idle and kind in cell.inline:
        taken, reply = system.observe_inline(cell, msg)
        if taken:
            if type(reply) is Deferred:
                return await _wait_deferred(cell, msg, reply, timeout_s)
            return reply
    if frame.chain or cell.reaping:
        _refuse_cycle(cell, frame)
    if cell.gate:
        cell.note_shed(kind, "down")
        raise cell.refusal()
    deadline = trio.current_effective_deadline()
    if timeout_s is None:
        ask = _new_ask(cell, msg, frame, deadline)
        _post(cell, ask)
        return await _wait(ask)
    own = trio.current_time() + timeout_s
    ask = _new_ask(cell, msg, frame, min(own, deadline))
    with trio.CancelScope(deadline=own):
        _post(cell, ask)
        return await _wait(ask)
    raise DeadlineExceeded(cell.id, kind.__name__)


def _post(cell: Cell, ask: Ask) -> None:
    if cell.put(ask):
        return
    if cell.box.full == "shed":
        raise _full(cell, type(ask.msg))
    ask.place = BLOCKED
    cell.block(ask)


async def _wait(ask: Ask) -> Any:
    reply = await wait_task_rescheduled(ask.abort)
    if reply is EXPIRED:
        # If a scope around this ask has expired, that is what the caller must see.
        await checkpoint()
        raise DeadlineExceeded(ask.cell.id, type(ask.msg).__name__)
    return reply


async def _wait_deferred(
    cell: Cell, msg: Any, deferred: Deferred[Any], timeout_s: float | None
) -> Any:
    """The inline handler put off its answer: wait for it like any other."""
    frame = current_frame.get()
    if timeout_s is None:
        return await _wait_bound(cell, msg, frame, deferred)
    with trio.CancelScope(deadline=trio.current_time() + timeout_s):
        return await _wait_bound(cell, msg, frame, deferred)
    raise DeadlineExceeded(cell.id, type(msg).__name__)


async def _wait_bound(
    cell: Cell, msg: Any, frame: Frame, deferred: Deferred[Any]
) -> Any:
    ask = _new_ask(cell, msg, frame, trio.current_effective_deadline())
    early = cell.defer_inline(ask, deferred)
    if early is not None:
        return early.unwrap()
    assert ask.state != SETTLED
    return await _wait(ask)
