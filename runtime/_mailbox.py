"""Two lanes into one actor, bounded, with a policy for what does not fit.

The cell owns it, not the incarnation: what is in it survives a restart.
User lane: at most `capacity` messages, FIFO for each sender. Control lane: never
dropped; as long as what the few senders of outcomes and deaths have to say, each of
which is bounded by a permit, a hold or a monitor. Senders that block wait in FIFO
order, each being a task that can do nothing else meanwhile, so their number is
bounded by their own owners.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from outcome import Error, Value
from trio.lowlevel import Abort, Task, reschedule

from runtime._ask import BLOCKED, QUEUED, Ask
from runtime.errors import ActorDown, ActorGone, AskError, MailboxFull
from runtime.spec import MailboxSpec

if TYPE_CHECKING:
    from runtime.system import System

# Gates: what happens to a user message before room is even looked for.
OPEN: Final = 0
DOWN: Final = 1
CLOSED: Final = 2

# Rest: whether a message must wake the guard, and how.
WORKING: Final = 0
PARKED: Final = 1
UNLAUNCHED: Final = 2
LISTENING: Final = 3  # The task is in `main`; what comes is heard in the teller's step.

# A deque costs 624 bytes and most actors of one request never queue anything, so
# all start with this one, which is never written to.
EMPTY: Final[deque[Any]] = deque(maxlen=0)


class Blocked:
    """A sender that waits for room."""

    __slots__ = ("box", "msg", "task")

    def __init__(self, box: Mailbox, msg: Any, task: Task) -> None:
        self.box = box
        self.msg = msg
        self.task = task

    def abort(self, _raise_cancel: Any) -> Abort:
        """The sender is being cancelled: nothing is delivered."""
        self.box.waiters.remove(self)
        return Abort.SUCCEEDED


class Mailbox:
    """The lanes and their bounds. `Cell` adds the lives."""

    __slots__ = (
        "box",
        "control",
        "dead_letters",
        "gate",
        "gone",
        "id",
        "idle",
        "peak",
        "queue",
        "rest",
        "retry_at",
        "shed",
        "system",
        "waiters",
    )

    def __init__(self, system: System, id: str, spec: MailboxSpec) -> None:  # noqa: A002
        self.system = system
        self.id = id
        self.box = spec
        self.queue: deque[Any] = EMPTY
        self.control: deque[Any] = EMPTY
        self.waiters: deque[Ask | Blocked] = EMPTY
        self.gate = OPEN
        self.rest = WORKING
        self.idle = False
        self.gone = False
        self.peak = 0
        self.shed = 0
        self.dead_letters = 0
        self.retry_at: float | None = None

    def rouse(self) -> None:
        """Wake the guard, which rests. Cell knows how."""
        raise NotImplementedError

    # -- into the box ----------------------------------------------------------

    def put(self, item: Any) -> bool:
        """Take a user message; False when there is no room for it."""
        queue = self.queue
        depth = len(queue)
        if depth >= self.box.capacity:
            if self.box.full != "drop_oldest":
                return False
            self._drop(queue.popleft())
            depth -= 1
        if queue is EMPTY:
            queue = self.queue = deque()
        queue.append(item)
        if depth >= self.peak:
            self.peak = depth + 1
        if self.rest:
            self.rouse()
        return True

    def put_control(self, item: Any) -> bool:
        """Take a control message; False only when the actor has ended."""
        if self.gone:
            self.lose(type(item), "gone")
            return False
        if self.control is EMPTY:
            self.control = deque()
        self.control.append(item)
        if self.rest:
            self.rouse()
        return True

    def block(self, waiter: Ask | Blocked) -> None:
        """Queue a sender for room."""
        if self.waiters is EMPTY:
            self.waiters = deque()
        self.waiters.append(waiter)

    def refusal(self) -> AskError:
        """Why the gate is not open."""
        if self.gate == DOWN:
            return ActorDown(self.id, self.retry_at)
        return ActorGone(self.id)

    # -- out of the box --------------------------------------------------------

    def take(self) -> Any:
        """The next user message; the longest-waiting sender gets its place."""
        item = self.queue.popleft()
        if self.waiters:
            self._admit()
        return item

    def _admit(self) -> None:
        waiter = self.waiters.popleft()
        if isinstance(waiter, Ask):
            waiter.place = QUEUED
            self.put(waiter)
        else:
            self.put(waiter.msg)
            reschedule(waiter.task, Value(None))

    def forget(self, ask: Ask) -> None:
        """An asker left: its question gives its place to another at once."""
        if ask.place == BLOCKED:
            self.waiters.remove(ask)
            return
        self.queue.remove(ask)
        if self.waiters:
            self._admit()

    def _drop(self, item: Any) -> None:
        self.shed += 1
        if isinstance(item, Ask):
            item.fail(MailboxFull(self.id, self.box.capacity))
            item = item.msg
        self.note_shed(type(item), "dropped")

    # -- the lives' ends -------------------------------------------------------

    def reject_waiting(self, *, keep_tells: bool) -> None:
        """Answer all that wait, because of the gate. Queued tells may be kept."""
        kept: list[Any] = []
        for item in self.queue:
            if isinstance(item, Ask):
                item.fail(self.refusal())
                self.note_shed(type(item.msg), "down" if keep_tells else "gone")
            elif keep_tells:
                kept.append(item)
            else:
                self.lose(type(item), "gone")
        self.queue = deque(kept) if kept else EMPTY
        self.refuse_blocked()

    def refuse_blocked(self) -> None:
        """Turn away the senders that still wait for room."""
        for waiter in self.waiters:
            if isinstance(waiter, Ask):
                waiter.fail(self.refusal())
            else:
                reschedule(waiter.task, Error(self.refusal()))
        self.waiters = EMPTY

    def lose(self, kind: type, why: str) -> None:
        """Count a message nobody will ever handle."""
        self.dead_letters += 1
        self.system.dead_letter(self.id, kind)
        self.note_shed(kind, why)

    def note_shed(self, kind: type, why: str) -> None:
        """Tell the tracer, if there is one."""
        if self.system.tracer is not None:
            self.system.tracer.shed(self.id, kind, why)
