"""Router. Owns the routes and what is known of the deployments; answers plans.

Never waits, never does I/O: a plan is `policy.plan` over the book. Talks to: nobody.
"""

from __future__ import annotations

from random import Random

import attrs

from actors.directory.policy import may_ask
from actors.router import policy
from actors.router.book import Book
from actors.router.messages import (
    Deployment,
    Explain,
    Explained,
    Foreseen,
    Heard,
    ListModels,
    MakePlan,
    NoRoute,
    Observed,
    Plan,
    Preview,
    ProviderChanged,
    ReportHeard,
    RouteTable,
    SetRoutes,
)
from runtime import Actor, MailboxSpec, answers, handles

# Plans take microseconds, so this is one burst of clients; more is overload, say 429.
PLANS_QUEUED_MAX = 4096


@attrs.define
class RouterCell:
    """What outlives a crash: the book, and chance."""

    table: RouteTable
    rng: Random = attrs.field(factory=Random)
    book: Book = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Open the book."""
        self.book = Book(self.table)


class Router(Actor):
    """A pure policy over a snapshot."""

    mailbox = MailboxSpec(PLANS_QUEUED_MAX, full="shed", down="hold")
    accepts = (
        MakePlan,
        ListModels,
        Observed,
        ProviderChanged,
        SetRoutes,
        Explain,
        Preview,
        ReportHeard,
    )

    def __init__(self, cell: RouterCell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Router {self.cell.book!r}>"

    @answers(MakePlan)
    def make_plan(self, msg: MakePlan) -> Plan | NoRoute:
        """Plan one request."""
        return policy.plan(self.cell.book, msg, self.ctx.now(), self.cell.rng)

    @answers(Explain)
    def explain(self, msg: Explain) -> Explained:
        """Decide, and change nothing."""
        return policy.explain(self.cell.book, msg.ask, self.ctx.now(), self.cell.rng)

    @answers(Preview)
    def preview(self, msg: Preview) -> tuple[Foreseen, ...]:
        """Decide twice, and change nothing."""
        cell = self.cell
        return policy.preview(cell.book, msg.asks, msg.site, self.ctx.now(), cell.rng)

    @answers(ListModels)
    def list_models(self, msg: ListModels) -> tuple[str, ...]:
        """The names that this site may ask for, in the config's order."""
        table = self.cell.book.table
        site = table.sites.get(msg.site)
        if site is None:
            return ()  # Taken out by a reload since its key was looked at.
        names = {name: name for name in table.routes} | dict(table.aliases)
        return tuple(
            name
            for name, model in names.items()
            if policy.allowed(site, name, model)
            and (msg.terms is None or may_ask(msg.terms, (name, model)))
        )

    @answers(ReportHeard)
    def report_heard(self, _msg: ReportHeard) -> dict[Deployment, Heard]:
        """For the prober."""
        return self.cell.book.heard(self.ctx.now())

    @handles(Observed)
    def observed(self, msg: Observed) -> None:
        """Learn from one attempt."""
        self.cell.book.observe(msg, self.ctx.now())

    @handles(ProviderChanged)
    def provider_changed(self, msg: ProviderChanged) -> None:
        """Remember who refuses calls."""
        if msg.available:
            self.cell.book.opened(msg.provider, msg.load)
        else:
            self.cell.book.shut(msg.provider, msg.until, msg.why or "open")

    @answers(SetRoutes)
    def set_routes(self, msg: SetRoutes) -> None:
        """Take the reloaded table; plans already made stay as they are."""
        self.cell.book.set_table(msg.table)
