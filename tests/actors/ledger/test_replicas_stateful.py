"""Replicas that share their caps over a store that may be gone, in any interleaving.

Each sync of a replica has three moments: it is planned, the store does it, its answer
arrives. Between any two of them anything may happen: the other replicas go on, the
request or the answer is lost, the replica is taken for dead, or dies, or is paused and
returns. The model adds up the truth: what every call cost, and for calls whose replica
died the whole of what they might have cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.ledger import escrow as escrow_module
from actors.ledger.accounts import Accounts
from actors.ledger.clearing import slot_of
from actors.ledger.covering import Who, subject_of
from actors.ledger.escrow import Escrow
from actors.ledger.messages import (
    Cap,
    HoldRefused,
    Meter,
    Rates,
    Rung,
    SiteLimits,
    Spend,
)
from actors.ledger.shared import Short
from actors.ledger.shares import Line, Peer, SumKey, Sync, Synced, cap_id
from tests.actors.ledger.asks import enter, hold
from tests.actors.ledger.shared_store import now, open_store

START_S = 1_800_000_000.0
DAY_S = 86_400
QUARTER_S = 900
REPLICAS = 3
PLACES_MAX = 6
KEYS = {"acme": ("acme:1", "acme:2"), "blue": ("blue:1",)}

replicas = st.integers(0, REPLICAS - 1)


@attrs.define
class Taken:
    """A hold, wherever it is, and what came of it. `cost` is None while it is open."""

    who: Who
    at_s: float
    nanousd: int
    cost: int | None = None

    @property
    def worst(self) -> int:
        """What it has cost, or may."""
        return self.nanousd if self.cost is None else self.cost


@attrs.define
class Waiting:
    """A request that waits for the store."""

    stream: str
    site: str
    key: str
    output: int
    since: int


@attrs.define
class Replica:
    """One process."""

    name: str
    accounts: Accounts
    open: dict[int, Taken] = attrs.field(factory=dict[int, Taken])
    streams: dict[int, str] = attrs.field(factory=dict[int, str])
    waiting: list[Waiting] = attrs.field(factory=list[Waiting])
    sync: Sync | None = None
    said: Synced | None = None
    ended: list[Taken] = attrs.field(factory=list[Taken])
    counted: dict[Line, int] = attrs.field(factory=dict[Line, int])

    @property
    def escrow(self) -> Escrow:
        escrow = self.accounts.escrow
        assert escrow is not None
        return escrow


class Shared(RuleBasedStateMachine):
    """Up to three replicas and their store."""

    def __init__(self) -> None:
        super().__init__()
        self.small = pytest.MonkeyPatch()
        self.is_small = False
        self.now_s = START_S
        self.tick_s = 0.0
        self.names = 0
        self.limits = (
            SiteLimits(
                "acme",
                spend_nanousd_max=100_000,
                spend_window="day",
                in_flight_max=PLACES_MAX,
                each_key=Rates(requests_per_minute_max=1_000),
                ladder=(Rung("short", 99, output_tokens_max=8),),
            ),
            SiteLimits("blue"),
        )
        self.caps: tuple[Cap, ...] = (
            Cap("all", 150_000, "week", per="all"),
            Cap("rolling", 80_000, "day", per="key", rolling=True),
            Cap("soft", 50_000, "day", per="site", kind="soft"),
        )
        self.store, self.database = open_store()
        self.truth: list[Taken] = []
        self.extra = 0  # Charged without a hold, above a hold, or forgiven by a reset.
        self.ceilings: dict[str, int] = {}
        self.reset: set[str] = set()
        self.late: dict[str, int] = {}  # Under way when the cap was added.
        self.lines: dict[tuple[object, ...], int] = {}
        self.executed: dict[str, int] = {}
        self.crashes = 0
        self.buried = 0
        self.replicas: list[Replica | None] = [None] * REPLICAS
        self.raise_ceilings()
        self.a_process_starts(0)

    @initialize(small=st.booleans())
    def some_syncs_are_small(self, small: bool) -> None:
        """Then much needs two of them."""
        self.is_small = small
        if small:
            self.small.setattr(escrow_module, "LINES_A_SYNC_MAX", 1)
            self.small.setattr(escrow_module, "SLICES_A_SYNC_MAX", 4)

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

    def raise_ceilings(self) -> None:
        for cap in self.all_caps():
            before = self.ceilings.get(cap.name, 0)
            self.ceilings[cap.name] = max(before, cap.nanousd_max)

    def spent(self, cap: Cap, subject: str) -> int:
        """By the definition of its window."""
        slot = slot_of(cap, self.now_s)
        return sum(
            one.worst
            for one in self.truth
            if subject_of(cap, one.who) == subject
            and (
                one.at_s > self.now_s - DAY_S
                if cap.rolling
                else slot_of(cap, one.at_s) == slot
            )
        )

    def replica(self, place: int) -> Replica | None:
        return self.replicas[place]

    # -- requests --------------------------------------------------------------------

    @rule(
        place=replicas,
        site=st.sampled_from(["acme", "acme", "blue"]),
        key=st.integers(0, 1),
        output=st.sampled_from([1, 5, 10, 20]),
    )
    def somebody_calls(self, place: int, site: str, key: int, output: int) -> None:
        self.names += 1
        keys = KEYS[site]
        name = f"s{self.names}"
        one = Waiting(name, site, keys[key % len(keys)], output, -1)
        self.ask(place, one, last=False)

    @rule(
        place=replicas,
        count=st.integers(1, 5),
        output=st.sampled_from([5, 10, 20]),
        undisturbed=st.integers(0, 3),
    )
    def some_call_and_are_served(
        self, place: int, count: int, output: int, undisturbed: int
    ) -> None:
        """As below, a few at once: most of what happens."""
        self.there(place)
        for key in range(count):
            self.somebody_calls(place, "acme", key, output)
        for _ in range(undisturbed):
            self.a_sync_goes_well(place)

    def there(self, place: int) -> None:
        if self.replicas[place] is None:
            self.a_process_starts(place)

    def ask(self, place: int, one: Waiting, *, last: bool) -> None:
        replica = self.replica(place)
        if replica is None:
            return
        accounts = replica.accounts
        since = None if one.since < 0 else one.since
        entered = accounts.enter(
            one.stream,
            enter(one.site, one.key),
            self.now_s,
            self.tick_s,
            since=since,
            last=last,
        )
        if isinstance(entered, Short):
            one.since = entered.since
            replica.waiting.append(one)
            return
        if isinstance(entered, HoldRefused):
            return
        meter = Meter()
        ask = hold(
            one.site,
            one.key,
            output_tokens_max=one.output,
            meter=meter,
            output_tokens_least=min(4, one.output),
        )
        said = accounts.take(
            one.stream, ask, self.now_s, self.tick_s, since=since, last=last
        )
        if isinstance(said, Short):
            one.since = said.since
            replica.waiting.append(one)
            return
        if isinstance(said, HoldRefused):
            accounts.leave(one.stream, self.now_s, self.tick_s)
            if not last:
                self.is_refused_rightly(one)
            return
        who = Who(one.site, one.key, "fast", "main")
        taken = Taken(who, self.now_s, said.nanousd)
        replica.open[said.id] = taken
        replica.streams[said.id] = one.stream
        self.truth.append(taken)
        self.is_within_its_caps(taken)

    def is_within_its_caps(self, taken: Taken) -> None:
        """Nobody is over a hard cap, whatever all that is under way comes to."""
        for cap in self.all_caps():
            subject = subject_of(cap, taken.who)
            if cap.kind == "hard" and subject is not None:
                worst = self.spent(cap, subject)
                most = self.ceilings[cap.name] + self.extra + self.late.get(cap.name, 0)
                assert worst <= most, (cap, subject, worst, most)

    def is_refused_rightly(self, one: Waiting) -> None:
        """Alone, and undisturbed, no hold is refused that there is room for."""
        if self.names and (self.crashes or self.buried or self.extra):
            return
        if sum(r is not None for r in self.replicas) > 1 or len(self.executed) > 1:
            return
        who = Who(one.site, one.key, "fast", "main")
        # Only the site with a ladder takes shorter answers.
        tokens = min(4, one.output) if one.site == "acme" else one.output
        least = 10 * 1_000 + tokens * 2_000
        for cap in self.all_caps():
            subject = subject_of(cap, who)
            if cap.kind == "hard" and subject is not None:
                early = QUARTER_S if cap.rolling else 0
                self.now_s -= early
                used = self.spent(cap, subject)
                self.now_s += early
                if cap.rolling:  # Open holds count in it for as long as they are.
                    used += sum(
                        other.nanousd
                        for other in self.truth
                        if other.cost is None and subject_of(cap, other.who) == subject
                    )
                if used + least > cap.nanousd_max:
                    return
        raise AssertionError(f"refused with room: {one}")

    @rule(
        place=replicas, which=st.integers(0, 9), share=st.sampled_from([0, 1, 50, 100])
    )
    def a_call_settles(self, place: int, which: int, share: int) -> None:
        self.end(place, which, lambda taken: taken.nanousd * share // 100)

    def end(self, place: int, which: int, cost: object) -> None:
        replica = self.replica(place)
        if replica is None or not replica.open:
            return
        hold_id = sorted(replica.open)[which % len(replica.open)]
        taken = self.forget(replica, hold_id)
        assert callable(cost)
        taken.cost = cost(taken)
        assert taken.cost is not None
        assert replica.accounts.settle(hold_id, taken.cost, 1, self.now_s, self.tick_s)
        replica.accounts.leave(replica.streams.pop(hold_id), self.now_s, self.tick_s)

    @staticmethod
    def forget(replica: Replica, hold_id: int) -> Taken:
        taken = replica.open.pop(hold_id)
        replica.ended.append(taken)
        return taken

    @rule(place=replicas, which=st.integers(0, 9))
    def a_stream_dies(self, place: int, which: int) -> None:
        """Without a word: its meter shows nothing."""
        replica = self.replica(place)
        if replica is None or not replica.open:
            return
        hold_id = sorted(replica.open)[which % len(replica.open)]
        self.forget(replica, hold_id).cost = 0
        replica.accounts.leave(replica.streams.pop(hold_id), self.now_s, self.tick_s)

    # -- a sync in its three moments -------------------------------------------------

    @rule(place=replicas)
    def a_sync_is_planned(self, place: int) -> None:
        replica = self.replica(place)
        if replica is not None and replica.sync is None:
            replica.sync = replica.escrow.plan(self.now_s, self.tick_s)
            replica.said = None

    @rule(place=replicas)
    def the_store_does_it(self, place: int) -> None:
        """Perhaps for the second time: its answer was lost."""
        replica = self.replica(place)
        if replica is None or replica.sync is None:
            return
        sync = replica.sync
        replica.said = now(self.store.sync(sync))
        if self.executed.get(sync.replica, 0) < sync.batch:
            self.executed[sync.replica] = sync.batch
            for line, nanousd in sync.lines:
                replica.counted[line] = replica.counted.get(line, 0) + nanousd
                key = (*line.who, line.quarter)
                self.lines[key] = self.lines.get(key, 0) + nanousd

    @rule(place=replicas)
    def its_answer_arrives(self, place: int) -> None:
        replica = self.replica(place)
        if replica is None or replica.sync is None or replica.said is None:
            return
        replica.escrow.done(replica.sync, replica.said, self.tick_s)
        replica.sync = replica.said = None
        self.look_again(place, last=False)

    @rule(place=replicas)
    def its_answer_is_lost(self, place: int) -> None:
        replica = self.replica(place)
        if replica is None or replica.sync is None:
            return
        replica.sync = replica.said = None
        replica.escrow.failed(self.tick_s)

    @rule(place=replicas)
    def a_sync_goes_well(self, place: int) -> None:
        """All three, which is most of what happens."""
        self.a_sync_is_planned(place)
        self.the_store_does_it(place)
        self.its_answer_arrives(place)

    @rule(place=replicas, which=st.integers(0, 9), calls=st.integers(0, 3))
    def much_happens_while_a_sync_is_under_way(
        self, place: int, which: int, calls: int
    ) -> None:
        self.a_sync_is_planned(place)
        for key in range(calls):
            self.somebody_calls(place, "acme", key, 5)
        self.end(place, which, lambda taken: taken.nanousd)
        self.the_store_does_it(place)
        self.end(place, which + 1, lambda taken: taken.nanousd // 2)
        self.its_answer_arrives(place)

    @rule(place=replicas, which=st.integers(0, 9))
    def an_answer_is_lost_and_all_is_said_again(self, place: int, which: int) -> None:
        self.end(place, which, lambda taken: taken.nanousd)
        self.a_sync_is_planned(place)
        self.the_store_does_it(place)
        self.its_answer_is_lost(place)
        self.end(place, which, lambda taken: taken.nanousd)
        self.a_sync_goes_well(place)

    @rule(place=replicas)
    def patience_ends(self, place: int) -> None:
        self.look_again(place, last=True)

    def look_again(self, place: int, *, last: bool) -> None:
        replica = self.replica(place)
        if replica is not None:
            waiting, replica.waiting = replica.waiting, []
            for one in waiting:
                self.ask(place, one, last=last)

    # -- lives -------------------------------------------------------------------------

    @precondition(lambda self: self.names > 10)
    @rule(place=replicas)
    def a_process_is_killed_and_starts_again(self, place: int) -> None:
        """As the heir of the one before."""
        if self.replicas[place] is not None:
            self.crashes += 1  # What its calls cost nobody will ever say.
            self.a_process_starts(place)

    def a_process_starts(self, place: int) -> None:
        self.names += 1
        name = f"r{self.names}"
        escrow = Escrow(name, f"instance {place}")
        accounts = Accounts(self.limits, self.caps, escrow)
        accounts.set_limits(self.limits, self.caps, self.now_s)
        self.replicas[place] = Replica(name, accounts)

    @precondition(lambda self: self.names > 20)
    @rule(place=replicas)
    def a_process_is_killed(self, place: int) -> None:
        if self.replicas[place] is not None:
            self.crashes += 1
            self.replicas[place] = None

    @precondition(lambda self: self.names > 10)
    @rule(place=replicas)
    def a_process_stops_in_order(self, place: int) -> None:
        replica = self.replica(place)
        if replica is None:
            return
        self.look_again(place, last=True)
        while replica.open:
            self.a_stream_dies(place, 0)
        replica.escrow.leave()
        for _ in range(20):
            if replica.escrow.has_left:
                break
            self.a_sync_goes_well(place)
        assert replica.escrow.has_left
        held = self.database.rows(
            "SELECT granted FROM ledger_slice WHERE replica = ? AND granted > 0",
            replica.name,
        )
        live = self.database.rows(
            "SELECT slot FROM ledger_slice WHERE replica = ? AND granted > 0 "
            "AND (slot = 0 OR slot = ?)",
            replica.name,
            slot_of(Cap("", 0, "day"), self.now_s),
        )
        # Slices of windows that are over stay where they are.
        assert not live, (held, live)
        self.replicas[place] = None

    @rule(which=st.integers(0, 9))
    def somebody_is_taken_for_dead(self, which: int) -> None:
        """Rightly or not: it may be paused, cut off, or only slow."""
        rows = self.database.rows(
            "SELECT id, beats FROM ledger_replica WHERE alive = 1"
        )
        if rows:
            name, beats = sorted(rows)[which % len(rows)]
            self.buried += now(self.store.bury((Peer(name, beats),), self.now_s))

    # -- time and operators ------------------------------------------------------------

    @rule(step_s=st.sampled_from([0.25, 1.0, 11.0, 1_000.0, 90_000.0]))
    def time_passes(self, step_s: float) -> None:
        self.now_s += step_s
        self.tick_s += step_s

    @precondition(lambda self: self.now_s < START_S + 40 * DAY_S)
    @rule(
        acme=st.sampled_from([40_000, 100_000, 120_000]),
        everybody=st.sampled_from([60_000, 150_000]),
        with_rolling=st.booleans(),
    )
    def the_config_is_reloaded(
        self, acme: int, everybody: int, with_rolling: bool
    ) -> None:
        if with_rolling and all(cap.name != "rolling" for cap in self.caps):
            under_way = sum(one.worst for one in self.truth) - sum(self.lines.values())
            self.late["rolling"] = self.late.get("rolling", 0) + under_way
        first, *rest = self.limits
        self.limits = (capped_at(first, acme), *rest)
        self.caps = (
            Cap("all", everybody, "week", per="all"),
            *((Cap("rolling", 80_000, "day", per="key", rolling=True),) * with_rolling),
            Cap("soft", 50_000, "day", per="site", kind="soft"),
        )
        self.raise_ceilings()
        for replica in self.replicas:
            if replica is not None:
                replica.accounts.set_limits(self.limits, self.caps, self.now_s)

    @rule()
    def a_leader_tidies(self) -> None:
        now(self.store.tidy(self.now_s))

    # -- what always holds -------------------------------------------------------------

    @invariant()
    def what_is_leased_is_what_the_slices_hold(self) -> None:
        rows = self.database.rows(
            "SELECT s.cap, s.subject, s.slot, s.leased, s.used, "
            "COALESCE(SUM(l.granted), 0), COALESCE(SUM(l.used), 0) "
            "FROM ledger_sum s LEFT JOIN ledger_slice l "
            "ON l.cap = s.cap AND l.subject = s.subject AND l.slot = s.slot "
            "GROUP BY s.cap, s.subject, s.slot"
        )
        for cap, subject, slot, leased, used, granted, using in rows:
            key = SumKey(cap, subject, slot)
            assert leased == granted, (key, leased, granted)
            assert used == using, (key, used, using)
            assert leased >= 0

    @invariant()
    def every_line_was_counted_once(self) -> None:
        rows = self.database.rows(
            "SELECT site, key_id, asked, provider, SUM(nanousd) FROM ledger_line "
            "GROUP BY site, key_id, asked, provider"
        )
        mine: dict[tuple[object, ...], int] = {}
        for (*who, _), nanousd in self.lines.items():
            mine[tuple(who)] = mine.get(tuple(who), 0) + nanousd
        assert {tuple(row[:4]): row[4] for row in rows} == mine

    @invariant()
    def slices_cover_what_is_held_of_them(self) -> None:
        """But for what cost more than its hold, and places given away for dead."""
        for replica in self.replicas:
            if replica is None or self.extra or self.buried:
                continue
            for one in replica.escrow.slices:
                late = one.cap is not None and one.cap.name in self.late
                over = one.cap and one.key.slot != slot_of(one.cap, self.now_s)
                if one.hard and not late and not over:
                    left = one.granted - one.held - one.settled - one.giving
                    assert left >= 0, (one, left)

    @invariant()
    def the_store_covers_what_is_under_way(self) -> None:
        """Held, or spent and not counted there: the slice in the store is as large."""
        for replica in () if self.extra else self.replicas:
            if replica is None:
                continue
            for one in replica.escrow.slices:
                cap, key = one.cap, one.key
                if cap is None or not one.hard or cap.name in self.late:
                    continue
                if key.slot != slot_of(cap, self.now_s):
                    continue  # A window that is over; nobody has called since.
                mine = self.under_way(replica, cap, key, self.now_s)
                rows = self.database.rows(
                    "SELECT granted FROM ledger_slice WHERE replica = ? "
                    "AND cap = ? AND subject = ? AND slot = ?",
                    replica.name,
                    *key,
                )
                assert mine <= (rows[0][0] if rows else 0), (one, mine, rows)

    @staticmethod
    def under_way(replica: Replica, cap: Cap, key: SumKey, now_s: float) -> int:
        def counts(who: Who, at_s: float) -> bool:
            if subject_of(cap, who) != key.subject or slot_of(cap, at_s) != key.slot:
                return False
            # What the dead have of a rolling window leaves it with the window.
            return not cap.rolling or at_s > now_s - DAY_S

        return (
            sum(o.worst for o in replica.open.values() if counts(o.who, o.at_s))
            + sum(o.worst for o in replica.ended if counts(o.who, o.at_s))
            - sum(
                nanousd
                for line, nanousd in replica.counted.items()
                if counts(line.who, line.quarter * QUARTER_S)
            )
        )

    @invariant()
    def no_more_is_leased_than_there_is(self) -> None:
        """Where lines and slices go apart, what is spent is leased for a while too."""
        for cap in () if self.is_small else self.all_caps():
            if cap.kind == "hard":
                most = self.ceilings[cap.name] + self.extra + self.late.get(cap.name, 0)
                rows = self.database.rows(
                    "SELECT spent + leased FROM ledger_sum WHERE cap = ? AND slot = ?",
                    cap_id(cap),
                    slot_of(cap, self.now_s),
                )
                for (used,) in rows:
                    assert used <= most, (cap, used, most)

    @invariant()
    def sums_are_what_the_lines_say(self) -> None:
        lines = self.database.rows(
            "SELECT site, key_id, asked, provider, quarter, nanousd FROM ledger_line"
        )
        for cap in self.all_caps():
            sums = self.database.rows(
                "SELECT subject, slot, spent FROM ledger_sum WHERE cap = ?", cap_id(cap)
            )
            for subject, slot, spent in () if cap.name in self.reset else sums:
                mine = [
                    (at, nanousd)
                    for *who, at, nanousd in lines
                    if subject_of(cap, Who(*who)) == subject
                    and (cap.rolling or slot_of(cap, at * QUARTER_S) == slot)
                ]
                if cap.rolling:
                    kept = self.database.rows(
                        "SELECT quarter, nanousd FROM ledger_quarter "
                        "WHERE cap = ? AND subject = ?",
                        cap_id(cap),
                        subject,
                    )
                    most: dict[int, int] = {}
                    for at, nanousd in mine:
                        most[at] = most.get(at, 0) + nanousd
                    # Of a quarter that has left, what comes late is there for a while.
                    late = bool(self.extra)  # Refunds too: then it may be anything.
                    assert late or all(n <= most[at] for at, n in kept if n > 0)
                    assert sum(n for _, n in kept) == spent
                else:
                    assert sum(n for _, n in mine) == spent, (cap, subject, mine)

    def teardown(self) -> None:
        """Every hold ends, and the sums agree with the records to the last unit."""
        costs: dict[tuple[object, ...], int] = {}
        for place in range(REPLICAS):
            replica = self.replica(place)
            if replica is not None:
                if replica.sync is not None:
                    self.its_answer_is_lost(place)
                self.a_process_stops_in_order(place)
                assert not replica.accounts.holds
        if not self.crashes:
            for one in self.truth:
                costs[one.who] = costs.get(one.who, 0) + one.worst
            lines: dict[tuple[object, ...], int] = {}
            for (*who, _), nanousd in self.lines.items():
                key = Who(*map(str, who))
                lines[key] = lines.get(key, 0) + nanousd
            assert {k: v for k, v in costs.items() if v} == {
                k: v for k, v in lines.items() if v
            }
        self.database.connection.close()
        self.small.undo()


class Disturbed(Shared):
    """The same, with what no hold can foresee. It is let off by that much, no more."""

    @rule(place=replicas, which=st.integers(0, 9), over=st.integers(1, 30_000))
    def a_call_costs_more_than_its_hold(
        self, place: int, which: int, over: int
    ) -> None:
        self.extra += over
        self.end(place, which, lambda taken: taken.nanousd + over)

    @rule(place=replicas, nanousd=st.integers(1, 30_000))
    def an_operator_charges(self, place: int, nanousd: int) -> None:
        self.adjust(place, nanousd)
        self.extra += nanousd

    @rule(place=replicas, nanousd=st.integers(-30_000, -1))
    def an_operator_refunds(self, place: int, nanousd: int) -> None:
        """It may leave a rolling window later than what it was for."""
        self.adjust(place, nanousd)
        self.extra -= nanousd

    def adjust(self, place: int, nanousd: int) -> None:
        replica = self.replica(place)
        if replica is None:
            return
        who = Who("acme", "acme:1", "fast", "main")
        replica.accounts.spend(Spend(*who, self.now_s, nanousd), self.now_s)
        self.truth.append(Taken(who, self.now_s, nanousd, nanousd))

    @rule(name=st.sampled_from(["all", "rolling", "acme:spend"]))
    def an_operator_begins_a_cap_anew(self, name: str) -> None:
        caps = tuple(cap for cap in self.all_caps() if cap.name == name)
        if not caps:
            return
        rows = self.database.rows(
            "SELECT spent FROM ledger_sum WHERE cap = ?", *(cap_id(c) for c in caps)
        )
        self.extra += sum(max(0, spent) for (spent,) in rows)
        now(self.store.restart(caps, "", self.now_s))
        self.reset.add(name)
        for replica in self.replicas:
            if replica is not None:
                replica.accounts.reset(name, "", self.now_s)


def capped_at(limits: SiteLimits, most: int) -> SiteLimits:
    """The same site with another cap."""
    return msgspec.structs.replace(limits, spend_nanousd_max=most)


# A failure is replayed by its seed as it is; shrinking it takes minutes.
SETTINGS = settings(
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate),
)

TestShared = Shared.TestCase
TestShared.settings = settings(SETTINGS, max_examples=150)
TestDisturbed = Disturbed.TestCase
TestDisturbed.settings = settings(SETTINGS, max_examples=100)
