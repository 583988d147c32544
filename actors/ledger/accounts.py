"""The ledger's books as one state machine. Pure: both clocks are arguments.

    enter   once a request: counted at its site and key; how thrifty it must be
    take    once an attempt: set aside at every cap that it touches, or at none
    settle  once a hold: the cost is booked in the windows that the hold was taken in
    leave   the request is over; what it left open settles at what its meter shows

`now_s` is Unix time, for windows: it may jump, and never goes back in here. `tick_s` is
a steady clock, for rates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from actors.ledger import ladder, pacing, pricing, shared, sites, windows, wording
from actors.ledger.books import Books
from actors.ledger.caps import Book, tightest
from actors.ledger.covering import Who
from actors.ledger.escrow import Escrow
from actors.ledger.margins import Margins, with_margin, without_margin
from actors.ledger.messages import (
    Alert,
    AlertKind,
    Cap,
    CapAccount,
    Enter,
    Hold,
    HoldRefused,
    Meter,
    Price,
    Rung,
    SiteAccount,
    SiteLimits,
    Spend,
    Standing,
    TakeHold,
)
from actors.ledger.shared import Short
from actors.ledger.sites import Places, Site
from wire.events import Usage

ALERTS_MAX: Final = 1_000  # Between two looks of the actor: once a window each.
UNLIMITED_NANOUSD: Final = 2**62  # A sum that is only kept to be shown.


class OpenHold(Struct):
    """A hold that has not ended. `tickets`: where it is held, as `Book.close` wants."""

    stream_id: str
    who: Who
    model: str
    nanousd: int
    worst_nanousd: int
    bounded: bool
    price: Price | None
    meter: Meter
    at_s: float
    tickets: list[tuple[Book, float]]


class Entry(Struct):
    """A request that entered and has not left."""

    site: str
    key_id: str
    spare: bool = False
    holds: set[int] = field(default_factory=set[int])


class Accounts:
    """Everything that the ledger knows. Alerts wait in `alerts` for whoever tells.

    With an escrow, caps and limits are shared with other replicas, and `enter` and
    `take` may say `Short`: ask again when the store has answered. `since` is the
    `Short.since` of the first time; `last` wants a verdict.
    """

    def __init__(
        self,
        limits: Iterable[SiteLimits] = (),
        caps: Iterable[Cap] = (),
        escrow: Escrow | None = None,
    ) -> None:
        self.escrow = escrow
        self.alerts: list[Alert] = []
        self.holds: dict[int, OpenHold] = {}
        self._entries: dict[str, Entry] = {}
        self._margins = Margins()
        self._holds_taken = 0
        self._latest_s = 0.0
        self._told_s = 0.0  # The same as it was last told: it may step back.
        self._sites: dict[str, Site] = {}
        self._rungs: dict[str, tuple[Rung, ...]] = {}
        self._books = Books((), escrow)
        self.set_limits(limits, caps, 0.0)

    def __repr__(self) -> str:
        """Sizes only."""
        return (
            f"<Accounts sites={len(self._sites)} streams={len(self._entries)} "
            f"holds={len(self.holds)}>"
        )

    # -- a request ---------------------------------------------------------------

    def enter(
        self,
        stream_id: str,
        ask: Enter,
        now_s: float,
        tick_s: float,
        *,
        since: int | None = None,
        last: bool = False,
    ) -> Standing | HoldRefused | Short:
        """Count a request, and say how it stands; or why it may not enter."""
        site = self._sites.get(ask.site)
        if site is None:
            return _removed(ask.site)
        again = stream_id in self._entries
        places = () if ask.spare else site.places(ask.key_id, ask.terms)
        if places and not again:
            refused: HoldRefused | Short | None
            refused = sites.refusal(places, ask.prompt_tokens, tick_s)
            if refused is None and self.escrow is not None and _limited(places):
                refused = shared.missing(
                    self.escrow,
                    places,
                    ask.prompt_tokens,
                    now_s,
                    since=since,
                    last=last,
                )
            if refused is not None:
                return refused
        now_s = self._at(now_s)
        who = Who(ask.site, ask.key_id, ask.model, "")
        books = self._books.known(who, now_s)
        standing = self._standing(site, books, ask.rung_min, now_s)
        if isinstance(standing, HoldRefused):
            return standing
        if not again:
            sites.enter(places, stream_id, ask.prompt_tokens, tick_s)
            if self.escrow is not None and places and _limited(places):
                shared.enter(self.escrow, places, ask.prompt_tokens)
            self._entries[stream_id] = Entry(ask.site, ask.key_id, ask.spare)
        return standing

    def leave(self, stream_id: str, now_s: float, tick_s: float) -> bool:
        """End a request and whatever it still holds; False: it did so before."""
        entry = self._entries.get(stream_id)
        if entry is None:
            return False
        for hold_id in sorted(entry.holds):
            meter = self.holds[hold_id].meter
            owed = _metered(self.holds[hold_id])
            self.settle(hold_id, owed, meter.output_tokens, now_s, tick_s)
        del self._entries[stream_id]
        if entry.spare:
            return True
        places = self._sites[entry.site].places(entry.key_id)
        sites.leave(places, stream_id)
        if self.escrow is not None and _limited(places):
            shared.leave(self.escrow, places)
        return True

    # -- a hold ------------------------------------------------------------------

    def take(
        self,
        stream_id: str,
        ask: TakeHold,
        now_s: float,
        tick_s: float,
        *,
        since: int | None = None,
        last: bool = False,
    ) -> Hold | HoldRefused | Short:
        """Set the worst case aside, or say what is full and when that changes."""
        entry = self._entries.get(stream_id)
        if entry is None:
            entered = self.enter(
                stream_id, _entering(ask), now_s, tick_s, since=since, last=last
            )
            if not isinstance(entered, Standing):
                return entered
            entry = self._entries[stream_id]
        now_s = self._at(now_s)
        who = Who(ask.site, ask.key_id, ask.asked, ask.provider)
        books = self._books.of(who, now_s)
        price = ask.price
        worst = held = 0
        output_tokens = ask.output_tokens_max
        if output_tokens is None and price is not None and pricing.bills_output(price):
            # Without a bound of its own, no answer is longer than what fits there.
            output_tokens = ask.output_tokens_limit
            if output_tokens is None and any(b.cap.kind == "hard" for b in books):
                return wording.unbounded(ask.provider, ask.model, ask.site)
        if price is None:
            if any(book.cap.kind == "hard" for book in books):
                return wording.unpriced(ask.provider, ask.model, ask.site)
        else:
            margin = self._margins.of(ask.provider, ask.model)
            worst = self._worst(price, ask, output_tokens or 0)
            held = with_margin(worst, margin)
            if entry.spare and wording.none_to_spare(books, held):
                return wording.NONE_TO_SPARE
            short = self._too_small(books, held)
            if short and entry.spare:
                return wording.NONE_TO_SPARE
            if short:
                wait = self._wait(short, held, since=since, last=last)
                if wait is not None:
                    return wait
                fits = self._shorter(price, ask, short, margin, last=last)
                if fits is None:
                    return self._no_room(short, held, ask.site, now_s, last=last)
                output_tokens = fits
                worst = self._worst(price, ask, fits)
                held = with_margin(worst, margin)
                short = self._too_small(books, held)
                if short:
                    wait = self._wait(short, held, since=since, last=last)
                    if wait is not None:
                        return wait
                    return self._no_room(short, held, ask.site, now_s, last=last)
        self._holds_taken += 1
        hold_id = self._holds_taken
        at_ms = int(now_s * 1000)
        self.holds[hold_id] = OpenHold(
            stream_id,
            who,
            ask.model,
            held,
            worst,
            output_tokens is not None,
            price,
            ask.meter,
            now_s,
            [(book, book.hold(held, now_s)) for book in books],
        )
        entry.holds.add(hold_id)
        return Hold(hold_id, held, output_tokens, at_ms)

    def settle(
        self,
        hold_id: int,
        nanousd: int,
        output_tokens: int,
        now_s: float,
        tick_s: float,
    ) -> bool:
        """End a hold at its true cost; False: it had ended before."""
        hold = self.holds.pop(hold_id, None)
        if hold is None:
            return False
        now_s = self._at(now_s)
        entry = self._entries[hold.stream_id]
        entry.holds.discard(hold_id)
        for book, slot in hold.tickets:
            if now_s >= book.until_s:
                book.roll(now_s)
            book.close(slot, hold.nanousd, nanousd)
            if book.spent_nanousd >= book.cap.nanousd_max and book.cap.kind != "hard":
                self._tell(book, book.cap.kind, now_s)
        self._books.remember(hold.who, hold.at_s, nanousd, now_s, tick_s)
        if hold.bounded and hold.price is not None:
            self._learn(hold, nanousd)
        if output_tokens and not entry.spare:
            places = self._sites[entry.site].places(entry.key_id)
            sites.answered(places, output_tokens, tick_s)
            if self.escrow is not None and _limited(places):
                shared.answered(self.escrow, places, output_tokens)
        return True

    # -- operators ---------------------------------------------------------------

    def spend(self, spend: Spend, now_s: float) -> None:
        """Count what was spent without a hold: a record, a charge, a refund."""
        who = Who(spend.site, spend.key_id, spend.asked, spend.provider)
        self._books.spend(who, spend.at_s, spend.nanousd, self._at(now_s))

    def reset(self, cap: str, subject: str, now_s: float) -> int:
        """Forget what this cap's windows hold; how many sums that were."""
        now_s = self._at(now_s)
        found = [
            book
            for book in self._books
            if book.cap.name == cap and (not subject or book.subject == subject)
        ]
        for book in found:
            book.roll(now_s)
            book.reset()
        return len(found)

    def caps_named(self, name: str) -> tuple[Cap, ...]:
        """The caps of this name, a site's own included."""
        return tuple(cap for cap in self._books.caps if cap.name == name)

    def set_limits(
        self, limits: Iterable[SiteLimits], caps: Iterable[Cap], now_s: float
    ) -> None:
        """Take other limits. A removed site stays while it has requests."""
        now_s = self._at(now_s)
        old = self._sites
        shared_ = self.escrow is not None
        fresh = {
            one.name: sites.open_site(one, old.get(one.name), shared=shared_)
            for one in limits
        }
        self._rungs = {
            name: ladder.rungs_of(site.limits.ladder, degradable=False)
            for name, site in fresh.items()
        }
        for name, site in old.items():
            if name not in fresh and site.own.streams:
                fresh[name] = site
        self._sites = fresh
        if self.escrow is not None:
            shared.follow(self.escrow, fresh.values())
        own = (_own_cap(site.limits) for site in fresh.values())
        self._books.replace((*own, *caps), now_s)
        for hold in self.holds.values():
            hold.tickets = [
                (book, slot)
                for book in self._books.of(hold.who, now_s)
                if (slot := book.hold_again(hold.nanousd, hold.at_s)) is not None
            ]

    def site_accounts(self, now_s: float) -> tuple[SiteAccount, ...]:
        """Every site, what it spends and has running."""
        now_s = self._at(now_s)
        found: list[SiteAccount] = []
        for name, site in self._sites.items():
            cap = _own_cap(site.limits)
            book = self._books.of_cap(cap, name, now_s)
            found.append(
                SiteAccount(
                    site=name,
                    spent_nanousd=book.spent_nanousd,
                    held_nanousd=book.held_nanousd,
                    in_flight=len(site.own.streams),
                    spend_nanousd_max=site.limits.spend_nanousd_max,
                    resets_at_s=book.resets_at_s(),
                )
            )
        return tuple(found)

    def cap_accounts(self, now_s: float) -> tuple[CapAccount, ...]:
        """Every sum of every cap that somebody has spent from."""
        now_s = self._at(now_s)
        found: list[CapAccount] = []
        for book in self._books:
            book.roll(now_s)
            if book.cap.nanousd_max < UNLIMITED_NANOUSD:
                found.append(
                    CapAccount(
                        book.cap,
                        book.subject,
                        book.spent_nanousd,
                        book.held_nanousd,
                        book.resets_at_s(),
                    )
                )
        return tuple(found)

    # -- inside ------------------------------------------------------------------

    def _at(self, now_s: float) -> float:
        """Unix time as windows see it: a clock that steps back gives nothing back."""
        self._told_s = now_s
        self._latest_s = max(self._latest_s, now_s)
        return self._latest_s

    def _standing(
        self, site: Site, books: tuple[Book, ...], rung_min: int, now_s: float
    ) -> Standing | HoldRefused:
        rungs = self._rungs.get(site.limits.name, ())
        capped = [book for book in books if book.cap.kind != "soft"]
        if not capped and not rungs:
            return ladder.AT_EASE
        hard = ladder.percent_used(capped, "hard")
        degrade = ladder.percent_used(capped, "degrade")
        if degrade and not rungs:
            rungs = ladder.LADDER_DEFAULT
        # Whoever goes down stops before a refusal: only a cap's use refuses.
        down = min(rung_min, ladder.steps(rungs))
        count = max(down, ladder.in_force(rungs, hard=hard, degrade=degrade))
        pressure = pacing.pressure(capped, now_s) if site.limits.pacing else 0.0
        standing = ladder.standing(rungs, count, pressure)
        if standing is None:
            book = tightest(book for book in capped if book.cap.kind == "hard")
            self._tell(book, "hard", now_s)
            name = next(rung.name for rung in rungs[:count] if rung.refuse)
            return wording.off_the_ladder(book, site.limits.name, name, now_s)
        return standing

    def _shorter(
        self,
        price: Price,
        ask: TakeHold,
        short: list[Book],
        margin: int,
        *,
        last: bool,
    ) -> int | None:
        """The answer that there is room for, where this site takes a shorter one."""
        least, most = ask.output_tokens_least, ask.output_tokens_max
        if least is None or most is None:
            return None
        if not ladder.shortens(self._rungs.get(ask.site, ())):
            return None
        fits = pricing.output_within(
            price,
            without_margin(self._room(short, last=last), margin),
            prompt_tokens_max=ask.prompt_tokens_max,
            audio=ask.audio,
            cache_1h=ask.cache_1h,
        )
        return None if fits is None or fits < least else min(fits, most)

    def _too_small(self, books: tuple[Book, ...], nanousd: int) -> list[Book]:
        """The hard caps that have no room at hand for this much."""
        escrow = self.escrow
        # By the clock that syncs go by: after a step back it would be behind ours.
        fenced = escrow is not None and self._told_s > escrow.fenced_from_s
        return [
            book
            for book in books
            if book.cap.kind == "hard"
            and nanousd
            and (fenced or nanousd > book.at_hand_nanousd)
        ]

    @staticmethod
    def _room(short: list[Book], *, last: bool) -> int:
        """What a hold may take: of what is at hand when nothing is waited for."""
        return min(
            book.at_hand_nanousd if last else book.room_nanousd for book in short
        )

    def _wait(
        self, short: list[Book], held: int, *, since: int | None, last: bool
    ) -> Short | None:
        """What to wait for, while the store may have room; None: it has none."""
        escrow = self.escrow
        if escrow is None or last:
            return None
        began = escrow.plans if since is None else since
        for book in short:
            one = book.slice
            # Between lines and slices that went apart, costs are counted twice.
            if one.answered > began and held > one.room and escrow.is_whole:
                return None
        for book in short:
            escrow.short(book.slice, held, hurry=since is None)
        return Short(began)

    def _no_room(
        self, short: list[Book], held: int, site: str, now_s: float, *, last: bool
    ) -> HoldRefused:
        book = tightest(short)
        escrow = self.escrow
        if escrow is not None and last and escrow.trouble_since is not None:
            return wording.store_gone(f"the cap {book.cap.name}")
        self._tell(book, "hard", now_s)
        return wording.no_room(book, held, site, now_s)

    def _learn(self, hold: OpenHold, nanousd: int) -> None:
        who = hold.who
        self._margins.learn(
            who.provider, hold.model, worst=hold.worst_nanousd, cost=nanousd
        )
        if nanousd > hold.nanousd and len(self.alerts) < ALERTS_MAX:
            self.alerts.append(
                wording.overrun(
                    who.provider,
                    hold.model,
                    who.site,
                    held=hold.nanousd,
                    cost=nanousd,
                )
            )

    def _tell(self, book: Book, kind: AlertKind, now_s: float) -> None:
        if book.tell(kind, now_s) and len(self.alerts) < ALERTS_MAX:
            self.alerts.append(wording.reached(book, kind))

    @staticmethod
    def _worst(price: Price, ask: TakeHold, output_tokens: int) -> int:
        return pricing.worst(
            price,
            prompt_tokens_max=ask.prompt_tokens_max,
            output_tokens_max=output_tokens,
            audio=ask.audio,
            cache_1h=ask.cache_1h,
        )


def _own_cap(limits: SiteLimits) -> Cap:
    """A site's `spend_usd_max` as the cap that it is; without one, a mere sum."""
    most = limits.spend_nanousd_max
    return Cap(
        # The colon is in no operator's names.
        name=f"{limits.name}:spend",
        nanousd_max=UNLIMITED_NANOUSD if most is None else most,
        window=limits.spend_window,
        kind="soft" if most is None else "hard",
        zone=limits.spend_zone,
        sites=(limits.name,),
    )


def _entering(ask: TakeHold) -> Enter:
    return Enter(ask.stream, ask.site, ask.key_id, ask.asked, ask.prompt_tokens_max)


def _metered(hold: OpenHold) -> int:
    """What a stream that died without settling owes: what its meter shows."""
    if hold.price is None or not hold.meter.accepted:
        return 0
    return pricing.cost(
        hold.price,
        Usage(prompt=hold.meter.prompt_tokens, completion=hold.meter.output_tokens),
    )


def _limited(places: tuple[Places, Places]) -> bool:
    """Whether other replicas have to be asked for anything."""
    site, key = places
    return site.limited or key.limited


def _removed(site: str) -> HoldRefused:
    return HoldRefused("removed", f"site {site} is not in the configuration any more")


def reach_s(
    limits: Iterable[SiteLimits], caps: Iterable[Cap], now_s: float
) -> float | None:
    """The earliest moment that any cap's current window holds; None without caps."""
    own = (_own_cap(one) for one in limits if one.spend_nanousd_max is not None)
    return min((windows.begins_s(cap, now_s) for cap in (*own, *caps)), default=None)
