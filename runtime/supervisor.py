"""An actor whose work is its children.

Owns: the list of static children, the strategy, the limit. The restarts themselves
are done by each child's guard, or by `_family` for groups. See docs/supervision.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from runtime._ask import Deferred
from runtime.actor import Actor, answers
from runtime.errors import Draining
from runtime.message import Request
from runtime.spec import ChildSpec, Limit, Strategy

if TYPE_CHECKING:
    from runtime.ref import Ref

B = TypeVar("B", bound=Actor)


class Spawn(Request["Supervisor", "Ref[B]"], Generic[B], frozen=True):
    """Start a dynamic child. Served inline: on the path of every request."""

    spec: ChildSpec[B]


class StopChild(Request["Supervisor", bool], frozen=True):
    """Stop one child in order; answered when it has ended. False: there is none."""

    id: str
    reason: str = "no longer wanted"


class Supervisor(Actor):
    """Starts its static children in order, restarts them, stops them in reverse.

    Dynamic children are started with `Spawn`. Subclasses may set `children`,
    `strategy` and `limit` as class attributes or pass them here.
    """

    supervises = True
    children: Sequence[ChildSpec[Any]] = ()
    strategy: Strategy = "one_for_one"

    def __init__(
        self,
        children: Sequence[ChildSpec[Any]] | None = None,
        *,
        strategy: Strategy | None = None,
        limit: Limit | None = None,
    ) -> None:
        if children is not None:
            self.children = tuple(children)
        if strategy is not None:
            self.strategy = strategy
        if limit is not None:
            self.limit = limit

    @answers(Spawn)
    def spawn(self, msg: Spawn[B]) -> Ref[B]:
        """Start the child, unless the system is on its way out."""
        if self.ctx.draining:
            raise Draining(self.ctx.id)
        return self.ctx.spawn(msg.spec)

    @answers(StopChild)
    def stop_child(self, msg: StopChild) -> bool | Deferred[bool]:
        """End a child for good. Others go on meanwhile."""
        child = self.ctx.lookup(self.ctx.child_path(msg.id))
        if child is None:
            return False
        self.ctx.stop_child(child, msg.reason)
        deferred = Deferred[bool]()
        self.ctx.start_soon(_answer_when_gone, child, deferred)
        return deferred


async def _answer_when_gone(child: Ref[Any], deferred: Deferred[bool]) -> None:
    await child.cell.wait_gone()
    deferred.reply(True)
