# ruff: noqa: PLR0917 - a rule's parameters are what its strategies draw
"""Any interleaving of what can happen to money, against a list of records.

The model knows no windows, books or slots: it has every cost with the moment of its
hold, and adds up by the definition of a window each time. Time jumps from seconds to
weeks, over the days on which clocks change, and steps back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from actors.ledger.accounts import Accounts
from actors.ledger.covering import Who, subject_of
from actors.ledger.messages import (
    Cap,
    Hold,
    HoldRefused,
    Meter,
    Price,
    PriceTier,
    Rung,
    SiteLimits,
    Spend,
    Standing,
)
from tests.actors.ledger.asks import enter, hold

START_S = datetime(2026, 10, 24, 20, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
QUARTER_S = 900
DAY_S = 86_400
LENGTH_S = {"day": DAY_S, "week": 7 * DAY_S, "month": 30 * DAY_S}

PRICES = (
    Price(1_000_000_000, 2_000_000_000),
    Price(3_000_000, 7_000_001),
    Price(0, 0),
    Price(100, 100, tiers=(PriceTier(8, Price(10**9, 10**9)),)),
    None,
)
SITES = ("acme", "blue")
KEYS = {"acme": ("acme:1", "acme:2"), "blue": ("blue:1",)}
LADDER = (Rung("short", 90, output_tokens_max=8),)

windows = st.sampled_from(["day", "week", "month", "total"])
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
)
amounts = st.sampled_from([0, 1, 40_000, 99_999, 200_000]) | st.integers(0, 200_000)


@st.composite
def caps(draw: st.DrawFn, name: str) -> Cap:
    """Any cap of this name, small enough to be reached."""
    window = draw(windows)
    return Cap(
        name=name,
        nanousd_max=draw(amounts),
        window=window,
        kind=draw(st.sampled_from(["hard", "hard", "soft", "degrade"])),
        per=draw(st.sampled_from(["all", "site", "key", "model", "provider"])),
        rolling=window != "total" and draw(st.booleans()),
        zone=draw(zones),
        sites=draw(st.sampled_from([(), ("acme",), ("b*",)])),
        models=draw(st.sampled_from([(), ("fast",)])),
        providers=draw(st.sampled_from([(), ("main",)])),
    )


limits = st.builds(
    SiteLimits,
    name=st.just("acme"),
    spend_nanousd_max=st.none() | amounts,
    spend_window=windows,
    spend_zone=zones,
    ladder=st.sampled_from([(), LADDER]),
)
configs = st.tuples(
    limits, st.lists(st.sampled_from("abc"), unique=True, max_size=3)
).flatmap(
    lambda made: st.tuples(st.just(made[0]), st.tuples(*(caps(n) for n in made[1])))
)


@attrs.frozen
class Entered:
    """A request."""

    stream: str
    site: str
    key: str


@attrs.frozen
class Cost:
    """What came of a hold, or of a charge: the records."""

    who: Who
    at_s: float
    nanousd: int
    held: int


@attrs.frozen(eq=False)
class Taken:
    """A hold, and what its call does."""

    id: int
    entered: Entered
    who: Who
    at_s: float
    nanousd: int
    price: Price | None
    meter: Meter


def begins(cap: Cap, now_s: float) -> float:
    """A window's beginning by its definition: the last moment with midnight's date."""
    if cap.rolling:
        return now_s - LENGTH_S[cap.window]
    if cap.window == "total":
        return -inf
    zone = ZoneInfo(cap.zone)
    day = datetime.fromtimestamp(now_s, zone).date()
    if cap.window == "week":
        day -= timedelta(days=day.weekday())
    if cap.window == "month":
        day = day.replace(day=1)
    at = int(now_s // QUARTER_S) * QUARTER_S
    step = DAY_S
    while step >= QUARTER_S:  # Back in days, hours, quarters, as far as the date holds.
        while datetime.fromtimestamp(at - step, zone).date() >= day:
            at -= step
        step = {DAY_S: 3600, 3600: QUARTER_S}.get(step, 0)
    return at


class Money(RuleBasedStateMachine):
    """The accounts, and what they should come to."""

    requests = Bundle("requests")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_S
        self.latest_s = START_S
        self.streams = 0
        self.limits: tuple[SiteLimits, ...] = (
            SiteLimits("acme", spend_nanousd_max=100_000, spend_window="day"),
            SiteLimits("blue"),
        )
        self.caps: tuple[Cap, ...] = (
            Cap("a", 150_000, "week", per="all", rolling=True),
            Cap("b", 60_000, "day", per="key", zone="Europe/Berlin"),
        )
        self.accounts = Accounts(self.limits, self.caps)
        self.costs: list[Cost] = []
        self.open: dict[int, Taken] = {}
        self.forgotten: dict[tuple[str, str], int] = {}
        self.coarse = False

    # -- the model -----------------------------------------------------------------

    def all_caps(self) -> Iterator[Cap]:
        for site in self.limits:
            if site.spend_nanousd_max is not None:
                yield Cap(
                    f"{site.name}:spend",
                    site.spend_nanousd_max,
                    site.spend_window,
                    zone=site.spend_zone,
                    sites=(site.name,),
                )
        yield from self.caps

    def spent(self, cap: Cap, subject: str, *, early_s: float = 0.0) -> int:
        since_s = begins(cap, self.latest_s) - early_s
        from_place = self.forgotten.get((cap.name, subject), 0)
        return sum(
            cost.nanousd
            for cost in self.costs[from_place:]
            if subject_of(cap, cost.who) == subject
            and (cost.at_s > since_s if cap.rolling else cost.at_s >= since_s)
        )

    def held(self, cap: Cap, subject: str) -> int:
        since_s = begins(cap, self.latest_s)
        return sum(
            one.nanousd
            for one in self.open.values()
            if subject_of(cap, one.who) == subject
            and (cap.rolling or one.at_s >= since_s)
        )

    def is_open(self, taken: Taken) -> bool:
        """It may have ended with its stream, or with the process."""
        return self.open.get(taken.id) is taken

    def end(self, taken: Taken, nanousd: int) -> None:
        del self.open[taken.id]
        self.costs.append(Cost(taken.who, taken.at_s, nanousd, taken.nanousd))

    # -- what happens --------------------------------------------------------------

    @rule(target=requests, site=st.sampled_from(SITES), key=st.integers(0, 1))
    def a_request_enters(self, site: str, key: int) -> Entered:
        self.streams += 1
        keys = KEYS[site]
        entered = Entered(f"s{self.streams}", site, keys[key % len(keys)])
        said = self.accounts.enter(
            entered.stream, enter(site, entered.key), self.now_s, 0.0
        )
        if isinstance(said, HoldRefused):
            return multiple()  # type: ignore[no-any-return, no-untyped-call]
        assert isinstance(said, Standing)
        return entered

    @rule(
        target=holds,
        site=st.sampled_from(SITES),
        price=st.sampled_from(PRICES[:3]),
        prompt=st.sampled_from([0, 1, 10, 20]),
        output=st.sampled_from([0, 3, 10, 40]),
        provider=st.sampled_from(["main", "other"]),
    )
    def somebody_calls(
        self, site: str, price: Price, prompt: int, output: int, provider: str
    ) -> Taken:
        """As below, in one step: most of what happens."""
        self.streams += 1
        entered = Entered(f"s{self.streams}", site, KEYS[site][0])
        return self.take(entered, price, prompt, output, provider, "fast")

    @rule(
        target=holds,
        entered=requests,
        price=st.sampled_from(PRICES),
        prompt=st.sampled_from([0, 1, 8, 9, 20]),
        output=st.sampled_from([0, 1, 10, 40]),
        provider=st.sampled_from(["main", "other"]),
        asked=st.sampled_from(["fast", "good"]),
    )
    def it_takes_a_hold(
        self,
        entered: Entered,
        price: Price | None,
        prompt: int,
        output: int,
        provider: str,
        asked: str,
    ) -> Taken:
        return self.take(entered, price, prompt, output, provider, asked)

    def take(
        self,
        entered: Entered,
        price: Price | None,
        prompt: int,
        output: int,
        provider: str,
        asked: str,
    ) -> Taken:
        who = Who(entered.site, entered.key, asked, provider)
        meter = Meter()
        ask = hold(
            entered.site,
            entered.key,
            price=price,
            prompt_tokens_max=prompt,
            output_tokens_max=output,
            provider=provider,
            asked=asked,
            meter=meter,
            output_tokens_least=min(4, output),
        )
        said = self.accounts.take(entered.stream, ask, self.now_s, 0.0)
        hard = [
            (cap, subject, self.spent(cap, subject) + self.held(cap, subject))
            for cap in self.all_caps()
            if cap.kind == "hard" and (subject := subject_of(cap, who)) is not None
        ]
        if isinstance(said, HoldRefused):
            assert hard
            if said.reason == "unpriced":
                assert price is None
            return multiple()  # type: ignore[no-any-return, no-untyped-call]
        assert isinstance(said, Hold)
        for cap, subject, used in hard:
            assert not said.nanousd or used + said.nanousd <= cap.nanousd_max, (
                cap,
                subject,
                used,
                said,
            )
        taken = Taken(said.id, entered, who, self.latest_s, said.nanousd, price, meter)
        self.open[said.id] = taken
        return taken

    @rule(taken=holds, tokens=st.integers(1, 30))
    def upstream_answers(self, taken: Taken, tokens: int) -> None:
        """Its meter goes on, within what the hold pays for."""
        meter = taken.meter
        meter.accepted = True
        price = taken.price
        if price is not None and price.output_nanousd_per_mtok and not price.tiers:
            each = -(-price.output_nanousd_per_mtok // 1_000_000)
            meter.output_tokens = min(
                meter.output_tokens + tokens, taken.nanousd // each // 2
            )

    @rule(taken=consumes(holds), share=st.sampled_from([0, 1, 50, 99, 100]))
    def it_settles(self, taken: Taken, share: int) -> None:
        if self.is_open(taken):
            cost = taken.nanousd * share // 100
            assert self.accounts.settle(taken.id, cost, 1, self.now_s, 0.0)
            self.end(taken, cost)

    @rule(taken=holds)
    def it_settles_twice(self, taken: Taken) -> None:
        """Once counts."""
        if not self.is_open(taken):
            return
        assert self.accounts.settle(taken.id, taken.nanousd, 1, self.now_s, 0.0)
        self.end(taken, taken.nanousd)
        assert not self.accounts.settle(taken.id, 10**6, 1, self.now_s, 0.0)

    @rule(taken=consumes(holds), over=st.integers(1, 50_000))
    def it_costs_more_than_its_hold(self, taken: Taken, over: int) -> None:
        if not self.is_open(taken):
            return
        cost = taken.nanousd + over
        self.accounts.alerts.clear()
        self.accounts.settle(taken.id, cost, 1, self.now_s, 0.0)
        self.end(taken, cost)
        if taken.price is not None:
            alerts = self.accounts.alerts
            assert [a.nanousd for a in alerts if a.kind == "overrun"] == [over]

    @rule(entered=requests)
    def its_stream_ends(self, entered: Entered) -> None:
        """By itself, aborted or crashed: what is open settles at its meter."""
        mine = [one for one in self.open.values() if one.entered == entered]
        self.accounts.leave(entered.stream, self.now_s, 0.0)
        for taken in mine:
            price, meter = taken.price, taken.meter
            owed = 0
            if price is not None and meter.accepted:
                nanousd = meter.output_tokens * price.output_nanousd_per_mtok
                owed = -(-nanousd // 1_000_000)
            assert owed <= taken.nanousd or price is None
            self.end(taken, owed)

    @rule(
        step_s=st.sampled_from([1, 899, 3_600, 9 * 3_600, DAY_S, 7 * DAY_S])
        | st.integers(0, 9 * DAY_S)
    )
    def time_passes(self, step_s: int) -> None:
        self.now_s += step_s + 0.25
        self.latest_s = max(self.latest_s, self.now_s)

    @rule(step_s=st.sampled_from([1, 3_600, 2 * DAY_S]))
    def the_clock_steps_back(self, step_s: int) -> None:
        """It gives nobody his money again: windows do not go back."""
        self.now_s -= step_s

    @rule(made=configs)
    def the_config_is_reloaded(self, made: tuple[SiteLimits, tuple[Cap, ...]]) -> None:
        old = {cap.name: cap for cap in self.all_caps()}
        self.limits = (made[0], SiteLimits("blue"))
        self.caps = made[1]
        self.accounts.set_limits(self.limits, self.caps, self.now_s)
        for cap in self.all_caps():
            was = old.get(cap.name)
            if was is None or _what(was) != _what(cap):
                for key in [k for k in self.forgotten if k[0] == cap.name]:
                    del self.forgotten[key]
        names = {cap.name for cap in self.all_caps()}
        self.forgotten = {k: v for k, v in self.forgotten.items() if k[0] in names}
        oldest_s = min((cost.at_s for cost in self.costs), default=inf)
        self.coarse = self.coarse or oldest_s < self.latest_s - DAY_S

    @rule(name=st.sampled_from("abc"))
    def an_operator_resets_a_cap(self, name: str) -> None:
        self.accounts.reset(name, "", self.now_s)
        for cap in self.caps:
            if cap.name == name:
                for account in self.accounts.cap_accounts(self.now_s):
                    if account.cap.name == name:
                        self.forgotten[name, account.subject] = len(self.costs)

    @rule(site=st.sampled_from(SITES), nanousd=st.integers(-30_000, 30_000))
    def a_refund_or_a_charge(self, site: str, nanousd: int) -> None:
        who = Who(site, KEYS[site][0], "fast", "main")
        self.accounts.spend(Spend(*who, self.latest_s, nanousd), self.now_s)
        self.costs.append(Cost(who, self.latest_s, nanousd, nanousd))

    @rule()
    def the_process_starts_again(self) -> None:
        """With what the records say, summed up by quarters of an hour."""
        sums: dict[tuple[Who, int], int] = {}
        for cost in self.costs:
            key = cost.who, int(cost.at_s // QUARTER_S)
            sums[key] = sums.get(key, 0) + cost.nanousd
        self.now_s = self.latest_s
        self.accounts = Accounts(self.limits, self.caps)
        self.accounts.set_limits(self.limits, self.caps, self.now_s)
        for (who, at), nanousd in sums.items():
            spend = Spend(*who, float(at * QUARTER_S), nanousd)
            self.accounts.spend(spend, self.now_s)
        self.open.clear()  # Their streams died with it.
        self.forgotten.clear()
        self.coarse = False

    # -- what always holds ---------------------------------------------------------

    @invariant()
    def sums_agree_with_the_records_to_the_last_unit(self) -> None:
        for account in self.accounts.cap_accounts(self.now_s):
            cap, subject = account.cap, account.subject
            exact = self.spent(cap, subject)
            assert account.held_nanousd == self.held(cap, subject), account
            if cap.rolling:
                # A quarter of an hour counts until its last moment has left.
                most = self.spent(cap, subject, early_s=QUARTER_S)
                refunds = any(cost.nanousd < 0 for cost in self.costs)
                good = refunds or exact <= account.spent_nanousd <= most
            else:
                good = account.spent_nanousd == exact
            assert good or self.coarse, (account, exact)

    @invariant()
    def nothing_is_held_that_nobody_holds(self) -> None:
        assert self.accounts.holds.keys() == self.open.keys()

    def teardown(self) -> None:
        """Every hold ends."""
        for taken in list(self.open.values()):
            self.accounts.leave(taken.entered.stream, self.now_s, 0.0)
        assert not self.accounts.holds
        for account in self.accounts.cap_accounts(self.now_s):
            assert account.held_nanousd == 0
        for site in self.accounts.site_accounts(self.now_s):
            assert site.held_nanousd == 0


def _what(cap: Cap) -> tuple[object, ...]:
    """What it adds up."""
    return (
        cap.window,
        cap.per,
        cap.rolling,
        cap.zone,
        cap.sites,
        cap.keys,
        cap.models,
        cap.providers,
    )


TestMoney = Money.TestCase
TestMoney.settings = settings(
    max_examples=200, stateful_step_count=60, deadline=None, derandomize=True
)
