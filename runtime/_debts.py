"""What an actor owes: the answers it put off, and what is said of those it drops.

Between the mailbox and the cell only to keep each file short: a cell is all three.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from outcome import Error, Value

from runtime._ask import Ask, Deferred
from runtime._mailbox import Mailbox
from runtime.errors import ActorCrashed, ActorDown, ActorGone, AskError
from runtime.message import Crashed, Exit
from runtime.spec import MailboxSpec

if TYPE_CHECKING:
    from runtime.system import System


class Chore:
    """Kernel work that takes its turn on the control lane."""

    __slots__ = ("name", "run")

    def __init__(self, name: str, run: Callable[[], Awaitable[None] | object]) -> None:
        self.name = name
        self.run = run


class Debts(Mailbox):
    """A mailbox whose questions may be answered later."""

    __slots__ = ("again", "deferred", "exit", "incarnation")

    def __init__(self, system: System, id: str, spec: MailboxSpec) -> None:  # noqa: A002
        super().__init__(system, id, spec)
        self.incarnation = 0
        # How this incarnation ended, and whether another follows.
        self.exit: Exit | None = None
        self.again = False
        self.deferred: dict[Ask, None] | None = None  # in order

    def in_hand_error(self) -> AskError:
        """What the asker of the message in hand is told."""
        if isinstance(self.exit, Crashed):
            return ActorCrashed(self.id, self.incarnation)
        if self.again:
            return ActorDown(self.id, self.retry_at)
        return ActorGone(self.id)

    def defer(self, ask: Ask, deferred: Deferred[Any]) -> None:
        """A handler returned a Deferred: answer later, or now if it is known."""
        early = deferred.early
        deferred.bind(ask)
        if isinstance(early, Error):
            ask.fail(early.error)
        elif early is not None:
            ask.reply(early.value)
        elif ask.state:
            self.abandon(ask)
        else:
            self._owe(ask)

    def defer_inline(
        self, ask: Ask, deferred: Deferred[Any]
    ) -> Value[Any] | Error | None:
        """Like `defer`, but a known answer is returned: the asker does not wait yet."""
        early = deferred.early
        deferred.bind(ask)
        if early is None:
            self._owe(ask)
        return early

    def _owe(self, ask: Ask) -> None:
        if self.deferred is None:
            self.deferred = {}
        self.deferred[ask] = None

    def undefer(self, ask: Ask) -> None:
        """The ask is answered, or its asker is gone."""
        if self.deferred is not None:
            self.deferred.pop(ask, None)

    def abandon(self, ask: Ask) -> None:
        """The asker of a deferred reply left; tell the actor in turn."""
        self.undefer(ask)
        callback = ask.deferred.callback if ask.deferred is not None else None
        if callback is not None and self.exit is None:
            self.put_control(Chore("on_abandoned", callback))

    def settle_deferred(self) -> None:
        """The incarnation that owed these answers is over."""
        if self.deferred:
            owed, self.deferred = self.deferred, None
            for ask in owed:
                ask.fail(self.in_hand_error())
