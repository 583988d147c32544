"""How an ask is asked and waited for, where it cannot be answered in one step.

Owns nothing: functions over cells, for `Ref` (ref.py), which is how others speak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from trio.lowlevel import checkpoint, current_task, wait_task_rescheduled

from runtime import _crash
from runtime._ask import BLOCKED, EXPIRED, SETTLED, Ask, Deferred
from runtime._cell import Cell, not_accepted
from runtime._frame import Frame, current_frame
from runtime.errors import CallCycle, DeadlineExceeded, DomainError, MailboxFull
from runtime.message import Request

if TYPE_CHECKING:
    from collections.abc import Generator

    from runtime.ref import Ref

R = TypeVar("R")


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
        return wait_deferred(cell, self._msg, self._deferred, None).__await__()


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


def check_accepted(cell: Cell, kind: type) -> None:
    """Tell a sender of its bug, once the actor is known."""
    if cell.table and kind not in cell.table:
        raise not_accepted(cell, kind)


def note_sent(cell: Cell, kind: type) -> None:
    sender = current_frame.get().cell
    tracer = cell.system.tracer
    if tracer is not None:
        tracer.sent(cell.id, kind, sender.id if sender is not None else None)


def full(cell: Cell, kind: type) -> MailboxFull:
    cell.shed += 1
    cell.note_shed(kind, "full")
    return MailboxFull(cell.id, cell.box.capacity)


def refuse_cycle(cell: Cell, frame: Frame) -> None:
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


async def ask_queued(cell: Cell, msg: Any, timeout_s: float | None) -> Any:
    frame = current_frame.get()
    kind = type(msg)
    system = cell.system
    check_accepted(cell, kind)
    if system.tracer is not None:
        note_sent(cell, kind)
    if not system.plain and cell.idle and kind in cell.inline:
        taken, reply = system.observe_inline(cell, msg)
        if taken:
            if type(reply) is Deferred:
                return await wait_deferred(cell, msg, reply, timeout_s)
            return reply
    if frame.chain or cell.reaping:
        refuse_cycle(cell, frame)
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
        raise full(cell, type(ask.msg))
    ask.place = BLOCKED
    cell.block(ask)


async def _wait(ask: Ask) -> Any:
    reply = await wait_task_rescheduled(ask.abort)
    if reply is EXPIRED:
        # If a scope around this ask has expired, that is what the caller must see.
        await checkpoint()
        raise DeadlineExceeded(ask.cell.id, type(ask.msg).__name__)
    return reply


async def wait_deferred(
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
