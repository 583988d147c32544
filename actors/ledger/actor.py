"""Ledger. Owns every site's money: spend, holds, requests in flight.

Never waits, never loses a hold: each ends in one settle or in the death of its stream,
then at what the meter shows. Talks to: nobody.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from actors.ledger import accounts, pricing
from actors.ledger.accounts import Account
from actors.ledger.messages import (
    NANOUSD_PER_USD,
    Hold,
    HoldRefused,
    Leave,
    Meter,
    Price,
    ReportAccounts,
    SetLimits,
    Settle,
    SiteAccount,
    SiteLimits,
    TakeHold,
)
from runtime import Actor, Down, MailboxSpec, MonitorId, answers, handles
from wire.events import Usage

MESSAGES_QUEUED_MAX = 1024  # Money waits, never drops.
IN_FLIGHT_RETRY_S = 1.0  # A place is free as soon as any request of the site ends.


@attrs.frozen
class OpenHold:
    """A hold that has not ended."""

    stream_id: str
    site: str
    nanousd: int
    price: Price | None
    meter: Meter


@attrs.frozen
class Entry:
    """A stream among its site's requests in flight."""

    site: str
    monitor: MonitorId
    holds: set[int]


@attrs.define
class LedgerCell:
    """What outlives a crash: the accounts and the open holds.

    `clock` gives Unix time; windows follow the calendar, not the runtime's clock.
    """

    clock: Callable[[], float]
    accounts: dict[str, Account]
    holds: dict[int, OpenHold] = attrs.field(factory=dict[int, OpenHold])
    entries: dict[str, Entry] = attrs.field(factory=dict[str, Entry])  # By stream.
    removed: set[str] = attrs.field(factory=set[str])  # Sites without a config.
    holds_taken: int = 0


def open_accounts(
    limits: tuple[SiteLimits, ...], spent: dict[str, int], now_s: float
) -> dict[str, Account]:
    """Accounts at the start, with what the records say was spent in this window."""
    return {
        site.name: Account(
            limits=site,
            window_start_s=accounts.window_start_s(site.spend_window, now_s),
            spent_nanousd=spent.get(site.name, 0),
        )
        for site in limits
    }


class Ledger(Actor):
    """Money: a hold before each call, a settle after it."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="block", down="hold")
    accepts = (TakeHold, Settle, Leave, ReportAccounts, SetLimits)

    def __init__(self, cell: LedgerCell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        """As an operator wants it."""
        return f"<Ledger sites={len(self.cell.accounts)} holds={len(self.cell.holds)}>"

    def on_down(self, down: Down) -> None:
        """A stream ended without settling: do it for what its client got."""
        self._end(down.id)

    @answers(TakeHold)
    def take_hold(self, msg: TakeHold) -> Hold | HoldRefused:
        """Set the worst case aside, or say what is full and when that changes."""
        cell = self.cell
        account = cell.accounts[msg.site]
        stream_id = msg.stream.id
        now_s = cell.clock()
        accounts.roll(account, now_s)
        if not accounts.may_enter(account, stream_id):
            return HoldRefused(
                "in_flight",
                f"site {msg.site} has {account.limits.in_flight_max} requests in "
                "flight, its limit; try again when one has ended",
                retry_after_s=IN_FLIGHT_RETRY_S,
            )
        capped = account.limits.spend_nanousd_max is not None
        if capped and msg.price is None:
            return HoldRefused(
                "unpriced",
                f"{msg.provider}/{msg.model} has no price and site {msg.site} has a "
                "spend cap; give the model a price in the config",
            )
        nanousd = 0
        if msg.price is not None:
            nanousd = pricing.worst(
                msg.price,
                prompt_tokens_max=msg.prompt_tokens_max,
                output_tokens_max=msg.output_tokens_max,
                audio=msg.audio,
                cache_1h=msg.cache_1h,
            )
            if not accounts.fits(account, nanousd):
                return self._no_room(account, nanousd, now_s)
        account.held_nanousd += nanousd
        account.streams.add(stream_id)
        cell.holds_taken += 1
        hold = cell.holds_taken
        cell.holds[hold] = OpenHold(stream_id, msg.site, nanousd, msg.price, msg.meter)
        entry = cell.entries.get(stream_id)
        if entry is None:
            monitor = self.ctx.monitor(msg.stream)
            cell.entries[stream_id] = Entry(msg.site, monitor, {hold})
        else:
            entry.holds.add(hold)
        return Hold(hold, nanousd)

    @handles(Settle)
    def settle(self, msg: Settle) -> None:
        """End a hold at its true cost."""
        self._close(msg.hold, msg.nanousd)

    @handles(Leave)
    def leave(self, msg: Leave) -> None:
        """The stream is over."""
        self._end(msg.stream_id)

    @answers(ReportAccounts)
    def report(self, _msg: ReportAccounts) -> tuple[SiteAccount, ...]:
        """For metrics and operators."""
        now_s = self.cell.clock()
        for account in self.cell.accounts.values():
            accounts.roll(account, now_s)
        return tuple(
            SiteAccount(
                site=name,
                spent_nanousd=a.spent_nanousd,
                held_nanousd=a.held_nanousd,
                in_flight=len(a.streams),
                spend_nanousd_max=a.limits.spend_nanousd_max,
                resets_at_s=accounts.resets_at_s(a.limits.spend_window, now_s),
            )
            for name, a in self.cell.accounts.items()
            if a.streams or name not in self.cell.removed
        )

    @answers(SetLimits)
    def set_limits(self, msg: SetLimits) -> None:
        """Take the reloaded limits.

        The account of a site that is gone stays: requests that it sent before may
        still ask for holds, and one that comes back has not got its money again.
        """
        cell = self.cell
        cell.removed = cell.accounts.keys() - {site.name for site in msg.sites}
        for name, fresh in open_accounts(msg.sites, {}, cell.clock()).items():
            account = cell.accounts.setdefault(name, fresh)
            account.limits = fresh.limits

    def _no_room(self, account: Account, nanousd: int, now_s: float) -> HoldRefused:
        cap = account.limits.spend_nanousd_max or 0
        room = accounts.room_nanousd(account) or 0
        resets_at_s = accounts.resets_at_s(account.limits.spend_window, now_s)
        return HoldRefused(
            "spend_cap",
            f"site {account.limits.name} may spend {_usd(cap)} a "
            f"{account.limits.spend_window} and has {_usd(room)} left; this request "
            f"could cost {_usd(nanousd)}. Raise the cap, ask for a shorter answer, or "
            "wait for the reset",
            resets_at_s=resets_at_s,
            retry_after_s=None if resets_at_s is None else resets_at_s - now_s,
        )

    def _close(self, hold_id: int, nanousd: int) -> None:
        cell = self.cell
        hold = cell.holds.pop(hold_id, None)
        if hold is None:
            return  # Settled by the death watch before this message was read.
        cell.entries[hold.stream_id].holds.discard(hold_id)
        account = cell.accounts[hold.site]
        account.held_nanousd -= hold.nanousd
        account.spent_nanousd += nanousd
        assert account.held_nanousd >= 0

    def _end(self, stream_id: str) -> None:
        cell = self.cell
        entry = cell.entries.get(stream_id)
        if entry is None:
            return
        for hold_id in list(entry.holds):
            self._close(hold_id, _metered(cell.holds[hold_id]))
        del cell.entries[stream_id]
        cell.accounts[entry.site].streams.discard(stream_id)
        self.ctx.demonitor(entry.monitor)


def _metered(hold: OpenHold) -> int:
    """What a stream that died without settling owes: what its meter shows."""
    if hold.price is None or not hold.meter.accepted:
        return 0
    return pricing.cost(
        hold.price,
        Usage(prompt=hold.meter.prompt_tokens, completion=hold.meter.output_tokens),
    )


def _usd(nanousd: int) -> str:
    cents, rest = divmod(nanousd * 100, NANOUSD_PER_USD)
    dollars, cents = divmod(cents, 100)
    return f"${dollars}.{cents:02d}" if dollars or not rest else f"${nanousd / 1e9:.6f}"
