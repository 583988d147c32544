"""Ledger. Owns every site's money and places: spend, holds, requests in flight.

Never waits, never loses a hold: each ends in one settle or in the death of its stream,
then at what the meter shows. What it decides is in accounts.py; here it is obeyed.
Talks to: nobody; alerts go to whoever made the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from actors.ledger.accounts import Accounts
from actors.ledger.messages import (
    Adjust,
    Alert,
    Cap,
    CapAccount,
    Enter,
    Hold,
    HoldRefused,
    Leave,
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
from runtime import Actor, ControlTell, Down, MailboxSpec, MonitorId, answers, handles

MESSAGES_QUEUED_MAX = 1024  # Money waits, never drops.


def unheard(_alert: Alert) -> None:
    """For tests and simulations: nobody listens."""


@attrs.define
class LedgerCell:
    """What outlives a crash: the accounts, and who is watched.

    `clock` gives Unix time; windows follow the calendar, not the runtime's clock.
    `alert` hears what operators should know; it must not block.
    """

    clock: Callable[[], float]
    accounts: Accounts
    alert: Callable[[Alert], None] = unheard
    monitors: dict[str, MonitorId] = attrs.field(factory=dict[str, MonitorId])


def open_accounts(
    limits: tuple[SiteLimits, ...],
    caps: tuple[Cap, ...],
    spends: Iterable[Spend],
    now_s: float,
) -> Accounts:
    """Accounts at the start, with what the records say was spent."""
    accounts = Accounts()
    accounts.set_limits(limits, caps, now_s)
    for spend in spends:
        accounts.spend(spend, now_s)
    return accounts


class Recount(ControlTell["Ledger"], frozen=True):
    """Behind all that waited for this life: end what no Down will come for.

    The Down that was in hand when the last life crashed is not told again.
    """


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
    )

    def __init__(self, cell: LedgerCell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Ledger {self.cell.accounts!r}>"

    def on_start(self) -> None:
        """Go on where an earlier life ended."""
        if self.cell.monitors:
            self.ctx.ref.offer(Recount())

    @handles(Recount)
    def recount(self, _msg: Recount) -> None:
        """Streams that are not watched any more have ended."""
        for stream_id in self.cell.monitors.keys() - self.ctx.watched:
            self._end(stream_id)

    def on_down(self, down: Down) -> None:
        """A stream ended without settling: do it for what its client got."""
        self._end(down.id)

    @answers(Enter)
    def enter(self, msg: Enter) -> Standing | HoldRefused:
        """Count a request, and say how thrifty it must be."""
        cell = self.cell
        stream_id = msg.stream.id
        entered = cell.accounts.enter(stream_id, msg, cell.clock(), self.ctx.now())
        if isinstance(entered, Standing) and stream_id not in cell.monitors:
            cell.monitors[stream_id] = self.ctx.monitor(msg.stream)
        self._tell()
        return entered

    @answers(TakeHold)
    def take_hold(self, msg: TakeHold) -> Hold | HoldRefused:
        """Set the worst case aside, or say what is full and when that changes."""
        cell = self.cell
        stream_id = msg.stream.id
        held = cell.accounts.take(stream_id, msg, cell.clock(), self.ctx.now())
        if isinstance(held, Hold) and stream_id not in cell.monitors:
            cell.monitors[stream_id] = self.ctx.monitor(msg.stream)
        self._tell()
        return held

    @handles(Settle)
    def settle(self, msg: Settle) -> None:
        """End a hold at its true cost."""
        cell = self.cell
        cell.accounts.settle(
            msg.hold, msg.nanousd, msg.output_tokens, cell.clock(), self.ctx.now()
        )
        self._tell()

    @handles(Leave)
    def leave(self, msg: Leave) -> None:
        """The stream is over."""
        self._end(msg.stream_id)

    @answers(Adjust)
    def adjust(self, msg: Adjust) -> None:
        """Charge or refund."""
        now_s = self.cell.clock()
        self.cell.accounts.spend(
            Spend(msg.site, msg.key_id, msg.asked, msg.provider, now_s, msg.nanousd),
            now_s,
        )

    @answers(ResetCap)
    def reset(self, msg: ResetCap) -> int:
        """Begin a cap's windows anew."""
        return self.cell.accounts.reset(msg.cap, msg.subject, self.cell.clock())

    @answers(ReportAccounts)
    def report(self, _msg: ReportAccounts) -> tuple[SiteAccount, ...]:
        """For metrics and operators."""
        return self.cell.accounts.site_accounts(self.cell.clock())

    @answers(ReportCaps)
    def report_caps(self, _msg: ReportCaps) -> tuple[CapAccount, ...]:
        """For metrics and operators."""
        return self.cell.accounts.cap_accounts(self.cell.clock())

    @answers(SetLimits)
    def set_limits(self, msg: SetLimits) -> None:
        """Take the reloaded limits."""
        self.cell.accounts.set_limits(msg.sites, msg.caps, self.cell.clock())

    def _end(self, stream_id: str) -> None:
        cell = self.cell
        cell.accounts.leave(stream_id, cell.clock(), self.ctx.now())
        monitor = cell.monitors.pop(stream_id, None)
        if monitor is not None:
            self.ctx.demonitor(monitor)
        self._tell()

    def _tell(self) -> None:
        alerts = self.cell.accounts.alerts
        if alerts:
            told = alerts.copy()
            alerts.clear()
            for alert in told:
                self.cell.alert(alert)
