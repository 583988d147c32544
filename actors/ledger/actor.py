"""Ledger. Owns every site's money and places: spend, holds, requests in flight.

Never waits, never loses a hold: each ends in one settle or in the death of its stream,
then at what the meter shows. What it decides is in accounts.py; here it is obeyed. Caps
and limits are shared with other processes through a store: requests that need more than
is at hand have their answer deferred until the store has answered, bounded in number
and time. Talks to: its store; alerts go to whoever made the cell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, cast

import attrs

from actors.ledger import wording
from actors.ledger.accounts import Accounts
from actors.ledger.escrow import Escrow
from actors.ledger.messages import (
    Adjust,
    Alert,
    Cap,
    CapAccount,
    Enter,
    Hold,
    HoldRefused,
    Leave,
    LedgerUnavailable,
    ReportAccounts,
    ReportCaps,
    ResetCap,
    SetLimits,
    Settle,
    SiteAccount,
    SiteLimits,
    Spend,
    Standing,
    TakeHold,
)
from actors.ledger.shared import Short
from actors.ledger.sharing import Sharing
from runtime import (
    Actor,
    ControlTell,
    Deferred,
    Down,
    MailboxSpec,
    MonitorId,
    answers,
    handles,
)

MESSAGES_QUEUED_MAX = 1024  # Money waits, never drops.
R = TypeVar("R")

WAITING_MAX = 4096  # For the store: as many as one process serves at a time.
WAIT_S = 2.5  # Others give back what they do not use within their next sync, a second.


def unheard(_alert: Alert) -> None:
    """For tests and simulations: nobody listens."""


@attrs.define
class LedgerCell:
    """What outlives a crash: the accounts, and who is watched.

    `clock` gives Unix time; windows follow the calendar, not the runtime's clock.
    `alert` hears what operators should know; it must not block. `sharing` is the talk
    with the store; without one this process is alone.
    """

    clock: Callable[[], float]
    accounts: Accounts
    alert: Callable[[Alert], None] = unheard
    sharing: Sharing | None = None
    monitors: dict[str, MonitorId] = attrs.field(factory=dict[str, MonitorId])


def open_accounts(
    limits: tuple[SiteLimits, ...],
    caps: tuple[Cap, ...],
    now_s: float,
    escrow: Escrow | None = None,
) -> Accounts:
    """Accounts at the start; what was spent before is in the escrow's store."""
    accounts = Accounts(escrow=escrow)
    accounts.set_limits(limits, caps, now_s)
    return accounts


class Recount(ControlTell["Ledger"], frozen=True):
    """Behind all that waited for this life: end what no Down will come for.

    The Down that was in hand when the last life crashed is not told again.
    """


class Patience(ControlTell["Ledger"], frozen=True):
    """Somebody has waited for the store for as long as one may."""


@attrs.frozen(eq=False)
class Waiter:
    """A question whose answer the store has to be asked about."""

    msg: Enter | TakeHold
    deferred: Deferred[Standing | HoldRefused] | Deferred[Hold | HoldRefused]
    since: int
    until: float


class Ledger(Actor):
    """Money: a hold before each call, a settle after it."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="block", down="hold")
    accepts = (
        Enter,
        TakeHold,
        Settle,
        Leave,
        Adjust,
        ResetCap,
        ReportAccounts,
        ReportCaps,
        SetLimits,
        Recount,
        Patience,
    )

    def __init__(self, cell: LedgerCell) -> None:
        self.cell = cell
        self.waiting: list[Waiter] = []

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Ledger {self.cell.accounts!r}>"

    def on_start(self) -> None:
        """Go on where an earlier life ended."""
        if self.cell.monitors:
            self.ctx.ref.offer(Recount())
        if self.cell.sharing is not None:
            self.ctx.start_soon(self.cell.sharing.run, self._look_again)

    @handles(Recount)
    def recount(self, _msg: Recount) -> None:
        """Streams that are not watched any more have ended."""
        for stream_id in self.cell.monitors.keys() - self.ctx.watched:
            self._end(stream_id)

    def on_down(self, down: Down) -> None:
        """A stream ended without settling: do it for what its client got."""
        self._end(down.id)

    @answers(Enter)
    def enter(
        self, msg: Enter
    ) -> Standing | HoldRefused | Deferred[Standing | HoldRefused]:
        """Count a request, and say how thrifty it must be."""
        entered = self._enter(msg, None, last=self._is_lost())
        if isinstance(entered, Short):
            if len(self.waiting) >= WAITING_MAX:
                return wording.too_many_wait(f"the limits of site {msg.site}")
            deferred: Deferred[Standing | HoldRefused] = Deferred()
            self._wait(msg, deferred, entered)
            return deferred
        return entered

    @answers(TakeHold)
    def take_hold(
        self, msg: TakeHold
    ) -> Hold | HoldRefused | Deferred[Hold | HoldRefused]:
        """Set the worst case aside, or say what is full and when that changes."""
        held = self._take(msg, None, last=self._is_lost())
        if isinstance(held, Short):
            if len(self.waiting) >= WAITING_MAX:
                return wording.too_many_wait(f"the caps of site {msg.site}")
            deferred: Deferred[Hold | HoldRefused] = Deferred()
            self._wait(msg, deferred, held)
            return deferred
        return held

    @handles(Settle)
    def settle(self, msg: Settle) -> None:
        """End a hold at its true cost."""
        self._settle(msg.hold, msg.nanousd, msg.output_tokens)
        self._tell()

    @handles(Leave)
    def leave(self, msg: Leave) -> None:
        """The stream is over."""
        self._end(msg.stream_id)

    @answers(Adjust)
    def adjust(self, msg: Adjust) -> Deferred[None] | None:
        """Charge or refund; answered when it is durable."""
        now_s = self.cell.clock()
        self.cell.accounts.spend(
            Spend(msg.site, msg.key_id, msg.asked, msg.provider, now_s, msg.nanousd),
            now_s,
        )
        sharing = self.cell.sharing
        if sharing is None:
            return None
        deferred: Deferred[None] = Deferred()
        self.ctx.start_soon(_later, sharing.flush, deferred, name="adjust")
        return deferred

    @answers(ResetCap)
    def reset(self, msg: ResetCap) -> int | Deferred[int]:
        """Begin a cap's windows anew."""
        accounts = self.cell.accounts
        count = accounts.reset(msg.cap, msg.subject, self.cell.clock())
        sharing = self.cell.sharing
        if sharing is None:
            return count
        deferred: Deferred[int] = Deferred()
        work = partial(sharing.restart, accounts.caps_named(msg.cap), msg.subject)
        self.ctx.start_soon(_later, work, deferred, name="reset")
        return deferred

    @answers(ReportAccounts)
    def report(
        self, _msg: ReportAccounts
    ) -> tuple[SiteAccount, ...] | Deferred[tuple[SiteAccount, ...]]:
        """For metrics and operators."""
        return self._reported(self.cell.accounts.site_accounts)

    @answers(ReportCaps)
    def report_caps(
        self, _msg: ReportCaps
    ) -> tuple[CapAccount, ...] | Deferred[tuple[CapAccount, ...]]:
        """For metrics and operators."""
        return self._reported(self.cell.accounts.cap_accounts)

    @answers(SetLimits)
    def set_limits(self, msg: SetLimits) -> None:
        """Take the reloaded limits."""
        self.cell.accounts.set_limits(msg.sites, msg.caps, self.cell.clock())
        self._tell()

    # -- what waits for the store ----------------------------------------------------

    @handles(Patience)
    def give_up(self, _msg: Patience) -> None:
        """Answer whoever has waited for as long as one may."""
        self._look_again()

    def _is_lost(self) -> bool:
        """Whether the store is gone for so long that nobody waits for it any more."""
        escrow = self.cell.accounts.escrow
        if escrow is None or escrow.trouble_since is None:
            return False
        return self.ctx.now() - escrow.trouble_since >= WAIT_S

    def _wait(
        self,
        msg: Enter | TakeHold,
        deferred: Deferred[Standing | HoldRefused] | Deferred[Hold | HoldRefused],
        short: Short,
    ) -> None:
        until = self.ctx.now() + WAIT_S
        self.waiting.append(Waiter(msg, deferred, short.since, until))
        self.ctx.tell_at(until, Patience())

    def _look_again(self) -> bool:
        """Try once more for everybody who waits, in order; True: some still do."""
        now = self.ctx.now()
        lost = self._is_lost()
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if one.deferred.abandoned:
                continue
            if not self._answer(one, last=lost or now >= one.until):
                self.waiting.append(one)
        self._tell()
        return bool(self.waiting)

    def _answer(self, one: Waiter, *, last: bool) -> bool:
        """False: it still waits."""
        msg = one.msg
        if isinstance(msg, Enter):
            said: Standing | Hold | HoldRefused | Short
            said = self._enter(msg, one.since, last=last)
        else:
            said = self._take(msg, one.since, last=last)
        if isinstance(said, Short):
            return False
        deferred = cast("Deferred[Standing | Hold | HoldRefused]", one.deferred)
        if not deferred.reply(said) and isinstance(said, Hold):
            self._settle(said.id, 0, 0)
        return True

    # -- inside ------------------------------------------------------------------

    def _reported(self, report: Callable[[float], R]) -> R | Deferred[R]:
        """A report, once the store has been heard where others spend too."""
        cell = self.cell
        found = report(cell.clock())
        sharing = cell.sharing
        if sharing is None or not sharing.is_stale:
            return found
        deferred: Deferred[R] = Deferred()

        async def fresh() -> R:
            await sharing.refresh()
            return report(cell.clock())

        self.ctx.start_soon(_later, fresh, deferred, name="report")
        return deferred

    def _enter(
        self, msg: Enter, since: int | None, *, last: bool
    ) -> Standing | HoldRefused | Short:
        cell = self.cell
        stream_id = msg.stream.id
        entered = cell.accounts.enter(
            stream_id, msg, cell.clock(), self.ctx.now(), since=since, last=last
        )
        self._mark(entered)
        if isinstance(entered, Standing) and stream_id not in cell.monitors:
            cell.monitors[stream_id] = self.ctx.monitor(msg.stream)
        self._tell()
        return entered

    def _take(
        self, msg: TakeHold, since: int | None, *, last: bool
    ) -> Hold | HoldRefused | Short:
        cell = self.cell
        stream_id = msg.stream.id
        held = cell.accounts.take(
            stream_id, msg, cell.clock(), self.ctx.now(), since=since, last=last
        )
        self._mark(held)
        if isinstance(held, Hold) and stream_id not in cell.monitors:
            cell.monitors[stream_id] = self.ctx.monitor(msg.stream)
        self._tell()
        return held

    def _mark(self, said: object) -> None:
        escrow = self.cell.accounts.escrow
        if isinstance(said, HoldRefused) and said.reason == "store" and escrow:
            escrow.starved = True

    def _settle(self, hold: int, nanousd: int, output_tokens: int) -> None:
        cell = self.cell
        cell.accounts.settle(hold, nanousd, output_tokens, cell.clock(), self.ctx.now())

    def _end(self, stream_id: str) -> None:
        cell = self.cell
        cell.accounts.leave(stream_id, cell.clock(), self.ctx.now())
        monitor = cell.monitors.pop(stream_id, None)
        if monitor is not None:
            self.ctx.demonitor(monitor)
        self._tell()

    def _tell(self) -> None:
        """Let the store and the operators know what there is to know."""
        if self.cell.sharing is not None:
            self.cell.sharing.nudge()
        alerts = self.cell.accounts.alerts
        if alerts:
            told = alerts.copy()
            alerts.clear()
            for alert in told:
                self.cell.alert(alert)


async def _later(work: Callable[[], Awaitable[R]], deferred: Deferred[R]) -> None:
    """Answer when the store has."""
    try:
        deferred.reply(await work())
    except LedgerUnavailable as error:
        deferred.fail(error)
