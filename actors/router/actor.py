"""Router. Owns the routes and what is known of the providers; answers plans.

Never waits, never does I/O: a plan is `policy.plan` over a snapshot. Talks to: nobody.
"""

from __future__ import annotations

import attrs

from actors.router import policy
from actors.router.messages import (
    ListModels,
    MakePlan,
    NoRoute,
    Observed,
    Plan,
    ProviderChanged,
    RouteTable,
    SetRoutes,
)
from runtime import Actor, MailboxSpec, answers, handles

PLANS_QUEUED_MAX = 256  # Plans take microseconds: more than this is overload, say 429.


@attrs.define
class RouterCell:
    """What outlives a crash: the table, and which providers refuse calls until when."""

    table: RouteTable
    unavailable: dict[str, float | None] = attrs.field(factory=dict)


class Router(Actor):
    """A pure policy over a snapshot."""

    mailbox = MailboxSpec(PLANS_QUEUED_MAX, full="shed", down="hold")
    accepts = (MakePlan, ListModels, Observed, ProviderChanged, SetRoutes)

    def __init__(self, cell: RouterCell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Router routes={len(self.cell.table.routes)} "
            f"unavailable={sorted(self.cell.unavailable)}>"
        )

    @answers(MakePlan)
    def make_plan(self, msg: MakePlan) -> Plan | NoRoute:
        """Plan one request."""
        cell = self.cell
        return policy.plan(cell.table, cell.unavailable, msg, self.ctx.now())

    @answers(ListModels)
    def list_models(self, msg: ListModels) -> tuple[str, ...]:
        """The names that this site may ask for, in the config's order."""
        site = self.cell.table.sites[msg.site]
        return tuple(m for m in self.cell.table.routes if policy.allowed(site, m))

    @handles(Observed)
    def observed(self, msg: Observed) -> None:
        """A success proves that the provider takes calls again."""
        if msg.outcome == "ok":
            self.cell.unavailable.pop(msg.deployment.provider, None)

    @handles(ProviderChanged)
    def provider_changed(self, msg: ProviderChanged) -> None:
        """Remember who refuses calls."""
        if msg.available:
            self.cell.unavailable.pop(msg.provider, None)
        else:
            self.cell.unavailable[msg.provider] = msg.until

    @answers(SetRoutes)
    def set_routes(self, msg: SetRoutes) -> None:
        """Take the reloaded table; plans already made stay as they are."""
        self.cell.table = msg.table
