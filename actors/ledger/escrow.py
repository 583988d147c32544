"""A replica's slices of what all replicas share. Pure: both clocks are arguments.

The books hold and settle against a `Slice` without asking anybody. `plan` says what
the store should hear next, `done` takes its answer in, `failed` remembers that none
came: what must happen once is then said again, under the same number.

Invariant: of each slice, what is held, settled but not durable, or on its way back is
at most what the store granted (but for overruns and places that were given away while
this process was taken for dead). So whatever the store, the network or a clock does,
a hold that is covered here is covered there.
"""

from __future__ import annotations

import math
from math import inf
from typing import Final

import msgspec

from actors.ledger import asking
from actors.ledger.covering import Who
from actors.ledger.messages import Cap
from actors.ledger.peers import Peers
from actors.ledger.shares import Line, Peer, SumKey, Sync, Synced
from actors.ledger.slices import RateSlice, Slice, places_key
from actors.ledger.windows import quarter

FLUSH_S: Final = 0.25  # A settle is durable so long after its call, as a rule.
FRESH_S: Final = 1.0  # How old the sums of others may be while requests come.
# Who has not heard the store for so long spends nothing without asking: what the dead
# had may be given away after twice that time.
FENCE_S: Final = 1_800.0
WATCH_S: Final = 3.0  # A few looks in `LEASE_S`, so that a death is seen.
SLICES_A_SYNC_MAX: Final = 500  # Some 20 ms of the database; the rest comes next.
LINES_A_SYNC_MAX: Final = 2_000  # As above.
GAP_S: Final = 0.02  # Between two syncs: what comes meanwhile goes together.
RETRY_S: Final = 0.1  # While requests wait for what others have idle.
FAILURES_COUNTED_MAX: Final = 16  # The pause has reached its cap long before.
RETRY_CAP_S: Final = 1.0  # Of a store that is gone: it is back within this.


class Escrow:
    """All slices of this replica, and what it has to tell the store."""

    def __init__(self, replica: str, instance: str = "") -> None:
        self.replica = replica
        self.instance = instance
        self.plans = 0
        self.is_whole = True  # The last sync left no line to the next.
        self.fenced_from_s = -inf  # By the calendar's clock: it goes on in a pause.
        self.starved = False  # Somebody was refused because the store is gone.
        self.stirred = False  # There may be something to say sooner than it seemed.
        self.trouble_since: float | None = None
        self.alone = True
        self._slices: dict[SumKey, Slice] = {}
        self._active: dict[SumKey, Slice] = {}
        self._rates: dict[str, RateSlice] = {}
        self._lines: dict[Line, int] = {}
        self._batch = 1
        self._unsure: Sync | None = None
        self._met = False
        self._flush_at = inf
        self._hurry = False
        self._failures = 0
        self._synced_at = -inf
        self._peers = Peers(replica)
        self._leaving = self._left = False

    def __repr__(self) -> str:
        """Sizes only."""
        return (
            f"<Escrow {self.replica} slices={len(self._slices)} "
            f"peers={len(self._peers)} lines={len(self._lines)}>"
        )

    # -- what the books do ---------------------------------------------------------

    def slice_of(self, key: SumKey, cap: Cap | None, most: int, *, hard: bool) -> Slice:
        """The slice of this sum, opened if it is not; with the cap as it is now."""
        found = self._slices.get(key)
        if found is None:
            found = self._slices[key] = Slice(key, cap, most, hard=hard)
            self.touch(found)
        elif found.most != most or found.hard != hard:
            if most < found.most:
                # What is idle was granted under another cap: ask anew, by this one.
                found.giving += max(0, found.idle)
            found.most, found.hard, found.cap = most, hard, cap
            self.touch(found)
        return found

    def is_stale(self, tick_s: float) -> bool:
        """Whether some sum is not known, or not as it is now."""
        return any(self._is_stale(one, tick_s) for one in self._slices.values())

    def touch_stale(self, tick_s: float) -> None:
        """Ask about those next."""
        for one in self._slices.values():
            if self._is_stale(one, tick_s):
                self.touch(one)

    def touch_cap(self, name: str) -> None:
        """Ask next about a cap's sums: an operator has changed them in the store."""
        for one in self._slices.values():
            if one.key.cap == name:
                self.touch(one)

    def _is_stale(self, one: Slice, tick_s: float) -> bool:
        old = not self.alone and tick_s - one.asked_at > FRESH_S
        return not one.answered or old

    def forget(self, one: Slice) -> None:
        """Its window is over, or its cap is gone: holds of it settle in the past."""
        if self._slices.get(one.key) is one:
            del self._slices[one.key]
            self._active.pop(one.key, None)
            one.active = True  # And stays so: it is never asked about again.

    def touch(self, one: Slice) -> None:
        """It is in use."""
        one.active = self.stirred = True
        self._active[one.key] = one

    def hold(self, one: Slice, amount: int) -> None:
        """Use some of it. Below half of what should be at hand, more is asked for."""
        one.held += amount
        one.taken += amount
        if not one.active:
            self.touch(one)
        if one.idle * 2 < one.spare:
            self._hurry = self.stirred = True

    def close(self, one: Slice, held: int, cost: int) -> None:
        """A hold is over at this cost."""
        one.held -= held
        one.settled += cost
        if not one.active:
            self.touch(one)

    def spend(self, who: Who, at_s: float, nanousd: int, tick_s: float) -> None:
        """A line: money that was spent, or refunded."""
        if not nanousd:
            return
        line = Line(who, quarter(at_s))
        self._lines[line] = self._lines.get(line, 0) + nanousd
        if self._flush_at == inf:
            self._flush_at = tick_s + FLUSH_S
            self.stirred = True

    def adjust(self, one: Slice, amount: int) -> None:
        """Charged or refunded without a hold."""
        one.adjusted += amount
        self.touch(one)

    def retire(self, one: Slice) -> None:
        """Its cap is gone: nothing is held of it any more, all of it goes back."""
        one.hard = False
        one.held = 0
        # What the sync under way speaks of is over with its answer.
        one.settled, one.adjusted = one.sending, one.adjusting
        self.touch(one)

    def hurry(self) -> None:
        """Tell the store soon."""
        self._hurry = self.stirred = True

    def close_places(self, who: str) -> None:
        """Nothing limits requests in flight here any more."""
        found = self._slices.get(places_key(who))
        if found is not None:
            self.retire(found)

    def short(self, one: Slice, amount: int, *, hurry: bool) -> None:
        """Somebody waits for so much of it."""
        one.need += amount
        one.least = min(one.least, amount) if one.least else amount
        if not one.active:
            self.touch(one)
        if hurry:
            self._hurry = self.stirred = True

    def rate(self, name: str, per_minute: int) -> RateSlice:
        """The allowance of this name, with the limit as it is now."""
        found = self._rates.get(name)
        if found is None:
            found = self._rates[name] = RateSlice(name, per_minute)
        found.per_minute = per_minute
        return found

    def short_rate(self, one: RateSlice, count: int, *, hurry: bool) -> None:
        """Somebody waits for so many to pass."""
        one.need += count
        one.least = min(one.least, count) if one.least else count
        if hurry:
            self._hurry = self.stirred = True

    # -- what the store hears --------------------------------------------------------

    def due_s(self, tick_s: float, *, waiting: bool) -> float:
        """How long until there is something to say; inf is until something happens."""
        if self._failures:
            pause_s = min(RETRY_CAP_S, RETRY_S * math.pow(2, self._failures - 1))
            return max(0.0, self._synced_at + pause_s - tick_s)
        at = self._flush_at
        if self._hurry:
            at = -inf
        elif waiting or self._unsure is not None:
            at = min(at, self._synced_at + RETRY_S)
        if self._active or self._rates_used():
            at = min(at, self._synced_at + FRESH_S)
        if not self.alone:
            at = min(at, self._synced_at + WATCH_S)
        return max(0.0, at - tick_s, self._synced_at + GAP_S - tick_s)

    def plan(self, now_s: float, tick_s: float) -> Sync:
        """What to tell the store now."""
        self._hurry = False
        self._flush_at = inf
        self._synced_at = tick_s
        unsure = self._unsure
        if unsure is not None:
            return self._again(unsure, now_s)
        lines = tuple(self._lines.items())[:LINES_A_SYNC_MAX]
        for line, _ in lines:
            del self._lines[line]
        if self._lines:
            self._flush_at = tick_s
        self.plans += 1
        # No slice is told over before the lines of its cost are: all of them, or none.
        whole = self.is_whole = not self._lines
        chosen = self._chosen(tick_s)
        sync = Sync(
            replica=self.replica,
            instance="" if self._met else self.instance,
            batch=self._batch,
            now_s=now_s,
            lines=lines,
            slices=tuple(
                asking.ask(
                    one,
                    tick_s,
                    replicas=self.peers,
                    whole=whole,
                    leaving=self._leaving,
                )
                for one in chosen
            ),
            rates=tuple(
                asking.ask_rate(
                    one, now_s, tick_s, replicas=self.peers, leaving=self._leaving
                )
                for one in self._rates_used()
            ),
            lead_from=self._peers.lead_from(tick_s) if self._met else None,
            leave=self._leaving,
        )
        self._unsure = sync
        return sync

    def done(self, sync: Sync, said: Synced, tick_s: float) -> None:
        """The store's answer."""
        self._unsure = None
        self._batch += 1
        self._met = True
        self._left = sync.leave
        self.fenced_from_s = sync.now_s + FENCE_S
        self.trouble_since = None
        self.starved = False
        self._failures = 0
        asked = {ask.key: ask for ask in sync.slices}
        for answer in said.slices:
            one = self._slices.get(answer.key)
            if one is None:
                continue
            if asking.take_in(one, asked[answer.key], answer, self.plans, tick_s):
                self._hurry = True
            if asking.is_idle(one, tick_s):
                one.active = False
                self._active.pop(one.key, None)
        for rate in said.rates:
            found = self._rates.get(rate.name)
            if found is not None:
                asking.take_in_rate(found, rate, self.plans)
        self._peers.meet(said.peers, said.leader, tick_s)
        self.alone = not self._peers

    def failed(self, tick_s: float) -> None:
        """No answer came: what was planned may have been done, or not."""
        assert self._unsure is not None
        self._failures = min(self._failures + 1, FAILURES_COUNTED_MAX)
        if self.trouble_since is None:
            self.trouble_since = tick_s

    def leave(self) -> None:
        """An orderly end: the next plan gives everything back."""
        self._leaving = True

    @property
    def is_durable(self) -> bool:
        """Whether everything that was spent is in the store."""
        return not self._lines and self._unsure is None

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All that are open, for whoever looks."""
        return tuple(self._slices.values())

    @property
    def rates(self) -> tuple[RateSlice, ...]:
        """All allowances, for whoever looks."""
        return tuple(self._rates.values())

    @property
    def is_planned(self) -> bool:
        """Whether a sync waits for its answer."""
        return self._unsure is not None

    @property
    def has_left(self) -> bool:
        """Whether an orderly end is done."""
        return (
            self._left
            and self.is_durable
            and all(one.granted <= max(0, one.held) for one in self._slices.values())
        )

    @property
    def leads(self) -> bool:
        """Whether this replica does what only one should."""
        return self._peers.leads

    def dead(self, tick_s: float) -> tuple[Peer, ...]:
        """Who is dead; nobody, while this replica does not see the store itself."""
        return () if self.trouble_since is not None else self._peers.dead(tick_s)

    @property
    def peers(self) -> int:
        """How many live, this one included."""
        return len(self._peers) + 1

    # -- inside ------------------------------------------------------------------

    def _again(self, unsure: Sync, now_s: float) -> Sync:
        """The same once more; needs that came meanwhile wait for the one after."""
        if any(one.need for one in self._active.values()) or any(
            one.need for one in self._rates.values()
        ):
            self._hurry = True
        self._unsure = msgspec.structs.replace(unsure, now_s=now_s)
        return self._unsure

    def _chosen(self, tick_s: float) -> list[Slice]:
        """The slices to speak of: the needy, the changed, then the longest unasked."""
        active = list(self._active.values())
        for one in active:
            if one.taken or one.settled or one.need or one.held:
                one.used_at = tick_s
        if self._leaving:
            active = [one for one in self._slices.values() if one.granted]
        if len(active) > SLICES_A_SYNC_MAX:
            active.sort(key=lambda one: (not one.need, one.asked_at))
            del active[SLICES_A_SYNC_MAX:]
            self._flush_at = tick_s
        return active

    def _rates_used(self) -> list[RateSlice]:
        return [
            one
            for one in self._rates.values()
            if one.taken or one.charged or one.need or one.left or one.charging
        ]
