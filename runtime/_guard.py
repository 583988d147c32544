"""The task of a cell: one incarnation after another until the end.

A crash never leaves it, so siblings live. All guards share the system's nursery;
the tree is kept by the cells: a guard does not end before its children have.
Guards shrug off cancellation from outside: they end when asked to, in order.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.lowlevel import (
    Abort,
    cancel_shielded_checkpoint,
    checkpoint,
    current_task,
    wait_task_rescheduled,
)

from runtime import _crash, _family
from runtime._ask import EXPIRED, RUNNING, Ask, Deferred
from runtime._cell import Cell, not_accepted
from runtime._debts import Chore
from runtime._frame import Frame, current_frame
from runtime._mailbox import PARKED, WORKING
from runtime.errors import DomainError, LimitExceeded
from runtime.message import Down, Normal, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.actor import Actor, Entry

DONE: Final = Normal()
# Others get a turn after so many messages in a row: 32 pure handlers are some 50 us.
TURN_MESSAGES_MAX = 32


async def guard(cell: Cell) -> None:
    """Run a cell from here to its end."""
    cell.task = current_task()
    current_frame.set(cell.frame)
    last = False
    while True:
        if cell.exit is None:
            await _live(cell)
        await _wind_down(cell)
        if not cell.again:
            break
        await _stay_down(cell)
        if cell.stopping is not None:
            if last or all(type(item) is Chore for item in cell.control):
                cell.exit = cell.stopping
                break
            # Control messages are never dropped: one more life, to hear them.
            last = True
        cell.bear()
    cell.close()
    _after(cell)


def _after(cell: Cell) -> None:
    """Pass on what the parent, or the system, has to know."""
    assert cell.exit is not None
    if cell.parent is None:
        cell.system.root_ended(cell)
    elif cell.exceeded:
        limit = cell.parent.limit
        error = LimitExceeded(cell.id, limit.crashes, limit.seconds)
        if cell.parent.exit is None:
            cell.parent.fail(error, None)


async def _live(cell: Cell) -> None:
    """One incarnation, from its asynchronous start to the end of its loop."""
    actor = cell.actor
    assert actor is not None
    try:
        if not actor.blocks:
            await _serve(cell)
        # One scope serves a life: to end it, and to end a handler whose asker left or
        # whose time is up. Only then is it used up; a scope an ask would cost 9 us.
        cell.recut = actor.blocks
        while cell.recut and cell.exit is None and not cell.killed:
            cell.recut = False
            with trio.CancelScope(shield=True) as cell.scope:
                await _serve(cell)
    except GeneratorExit:
        raise  # The whole run is being thrown away; there is nothing to supervise.
    except BaseException as exc:  # noqa: BLE001 - the guard is where crashes end
        cell.scope = None
        cell.fail(exc, cell.handling)
        if isinstance(exc, KeyboardInterrupt | SystemExit):
            cell.system.interrupt(exc)
    cell.scope = None
    cell.handling = None
    # Cancelled by its supervisor, after the time it had for stopping by itself.
    cell.end(cell.stopping or Stopped("cancelled"))


async def _serve(cell: Cell) -> None:
    actor = cell.actor
    assert actor is not None
    if cell.state == "starting":
        if actor.starts == "async":
            started = actor.on_start()
            if started is not None:
                await started
            cell.started = True
        await _family.start_static(cell)
        if cell.exit is None:
            cell.up()
    if actor.has_main:
        await actor.main()
        cell.rest = WORKING
        cell.end(DONE)
        return
    await _loop(cell)


def _refuse_abort(_raise_cancel: Callable[[], Any]) -> Abort:
    return Abort.FAILED


async def _loop(cell: Cell) -> None:
    turns = 0
    while cell.exit is None and not cell.recut:
        if cell.control:
            item = cell.control.popleft()
        elif cell.queue:
            item = cell.take()
        elif cell.stopping is not None:
            cell.end(cell.stopping)
            return
        else:
            cell.rest = PARKED
            cell.idle = True
            turns = 0
            await wait_task_rescheduled(_refuse_abort)
            continue
        kind = type(item)
        if cell.system.plain:
            if kind is Ask:
                await _answer(cell, item)
            else:
                await _obey(cell, item)
        else:
            await cell.system.observe(cell, item, _answer if kind is Ask else _obey)
        turns += 1
        if turns >= TURN_MESSAGES_MAX:
            turns = 0
            if cell.scope is None:
                await cancel_shielded_checkpoint()
            else:
                await checkpoint()


async def _answer(cell: Cell, ask: Ask) -> None:
    """Handle a request; settle it whatever happens."""
    ask.place = RUNNING
    if ask.state:
        return  # The asker left between the mailbox and here.
    kind = type(ask.msg)
    entry = cell.table.get(kind)
    if entry is None or not entry.asks:
        ask.fail(not_accepted(cell, kind))
        return
    if ask.deadline < inf and ask.deadline <= trio.current_time():
        cell.shed += 1
        cell.note_shed(kind, "expired")
        ask.reply(EXPIRED)
        return
    cell.handling = kind
    cell.asking = ask
    reply: Any = None
    try:
        if entry.blocking:
            reply = await _run(cell, ask, entry)
        else:
            reply = entry.fn(cell.actor, ask.msg)
    except BaseException as exc:
        leaf = _crash.sole_leaf(exc)
        if isinstance(leaf, DomainError):
            ask.fail(leaf)
        elif isinstance(exc, Exception):
            cell.fail(exc, kind)
            ask.fail(cell.in_hand_error())
        elif cell.recut and cell.exit is None and not cell.killed:
            if not ask.state:
                ask.reply(EXPIRED)
            raise
        else:
            ask.fail(cell.in_hand_error())
            raise
        return
    finally:
        cell.handled += 1
        cell.handling = None
        cell.asking = None
    if type(reply) is Deferred:
        cell.defer(ask, reply)
    else:
        ask.reply(reply)


async def _run(cell: Cell, ask: Ask, entry: Entry) -> Any:
    """Run a handler that may block, until its asker leaves or its time is up."""
    scope = ask.scope = cell.scope
    assert scope is not None
    if ask.chain or ask.trace is not None:
        current_frame.set(Frame(cell, (*ask.chain, cell), ask.trace))
    if ask.deadline < inf:
        scope.deadline = ask.deadline
    try:
        return await entry.fn(cell.actor, ask.msg)
    finally:
        current_frame.set(cell.frame)
        if ask.deadline < inf:
            scope.deadline = inf
            if scope.cancel_called:
                cell.recut = True


async def _obey(cell: Cell, item: Any) -> None:
    """Handle a tell, a death or a chore."""
    kind = type(item)
    cell.handling = kind
    try:
        if kind is Down:
            if cell.watched is not None:
                cell.watched.pop(item.monitor, None)
            assert cell.actor is not None
            waiting = cell.actor.on_down(item)
        elif kind is Chore:
            waiting = item.run()
        else:
            entry = cell.table.get(kind)
            if entry is None or entry.asks:
                cell.lose(kind, "not accepted")
                return
            waiting = entry.fn(cell.actor, item)
        if waiting is not None and hasattr(waiting, "__await__"):
            await waiting
    except Exception as exc:  # noqa: BLE001 - a crash ends here, as a decision
        cell.fail(exc, kind)
    finally:
        cell.handled += 1
        cell.handling = None


async def _stay_down(cell: Cell) -> None:
    """Wait out the backoff, or until the supervisor brings the group back."""
    cell.state = "down"
    cell.turn()
    if cell.stopping is not None:
        return
    if _family.is_grouped(cell):
        if not cell.halting:
            _family.report_exit(cell)
        await cell.pause()
    else:
        assert cell.retry_at is not None
        await cell.pause(cell.retry_at)


async def _wind_down(cell: Cell) -> None:
    """Everything between the last message and the next life."""
    cell.state = "stopping"
    cell.idle = False
    if cell.timers:
        cell.drop_timers()
    cell.settle_deferred()
    actor = cell.actor
    if cell.helpers or cell.children or cell.control:
        with trio.CancelScope(shield=True):
            await _wind_down_slowly(cell)
    elif actor is not None and actor.stops != "none" and cell.started:
        await _stop(cell, actor)
    cell.settle_deferred()  # What the last hook put off.
    cell.actor = None


async def _wind_down_slowly(cell: Cell) -> None:
    ended, actor = cell.exit, cell.actor
    reason = ended.reason if isinstance(ended, Stopped) else f"{cell.id} {ended}"
    await _family.end_helpers(cell, reason)
    await _family.stop_children(cell, reason)
    if actor is None or not cell.started:
        return
    if isinstance(ended, Normal | Stopped) and not cell.again:
        # What the children had to say in dying, before the last word.
        while cell.control:
            await _last_word(cell, cell.control.popleft())
    if actor.stops != "none":
        await _stop(cell, actor)


async def _stop(cell: Cell, actor: Actor) -> None:
    """Run the last hook; a plain one cannot wait and needs no scope around it."""
    ended = cell.exit
    assert ended is not None
    try:
        if actor.stops == "sync":
            actor.on_stop(ended)
            return
        with trio.CancelScope(
            deadline=trio.current_time() + cell.spec.shutdown_s, shield=True
        ):
            stopping = actor.on_stop(ended)
            if stopping is not None:
                await stopping
    except Exception as exc:  # noqa: BLE001 - reported; the end goes on
        cell.note_crash(exc, None)


async def _last_word(cell: Cell, item: Any) -> None:
    with trio.CancelScope(deadline=trio.current_time() + cell.spec.shutdown_s):
        await _obey(cell, item)
