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
from collections.abc import Iterable
from math import inf
from typing import Final

import msgspec

from actors.ledger import sizing
from actors.ledger.covering import Who
from actors.ledger.messages import Cap
from actors.ledger.rates import MINUTE_S
from actors.ledger.shares import (
    PLACES,
    Line,
    Peer,
    RateAnswer,
    RateAsk,
    SliceAnswer,
    SliceAsk,
    SumKey,
    Sync,
    Synced,
)
from actors.ledger.windows import quarter

FLUSH_S: Final = 0.25  # A settle is durable so long after its call, as a rule.
FRESH_S: Final = 1.0  # How old the sums of others may be while requests come.
IDLE_S: Final = 5.0  # Without a request for so long, a slice is not asked about.
LEASE_S: Final = 10.0  # A replica that is silent for so long is dead.
# Who has not heard the store for so long spends nothing without asking: what the dead
# had may be given away after twice that time.
FENCE_S: Final = 1_800.0
WATCH_S: Final = 3.0  # A few looks in that time, so that a death is seen.
SLICES_A_SYNC_MAX: Final = 500  # Some 20 ms of the database; the rest comes next.
LINES_A_SYNC_MAX: Final = 2_000  # As above.
RATED_S: Final = 1.0  # What came in the first look at it came within this, at most.
GAP_S: Final = 0.02  # Between two syncs: what comes meanwhile goes together.
RETRY_S: Final = 0.1  # While requests wait for what others have idle.
FAILURES_COUNTED_MAX: Final = 16  # The pause has reached its cap long before.
RETRY_CAP_S: Final = 1.0  # Of a store that is gone: it is back within this.


class Slice:
    """What one replica may use of one sum. The books write `held` and `settle`."""

    __slots__ = (
        "active",
        "adjusted",
        "adjusting",
        "answered",
        "asked_at",
        "cap",
        "giving",
        "granted",
        "hard",
        "held",
        "key",
        "leased",
        "least",
        "most",
        "need",
        "others",
        "quarters",
        "rate_s",
        "rated_at",
        "scarce_until",
        "sending",
        "settled",
        "spare",
        "spent",
        "taken",
        "used_at",
        "used_said",
        "wanted",
    )

    def __init__(self, key: SumKey, cap: Cap | None, most: int, *, hard: bool) -> None:
        self.key = key
        self.cap = cap
        self.most = most
        self.hard = hard
        self.granted = 0
        self.held = 0
        self.settled = 0  # Not durable yet, as far as is known.
        self.sending = 0  # Of it, what the sync under way says.
        self.adjusted = 0  # As `settled`, but without a hold: it is in no slice.
        self.adjusting = 0
        self.giving = 0
        self.need = 0
        self.least = 0
        self.taken = 0  # Since the last plan.
        self.spare = 0  # What should be at hand beyond what is held.
        self.rate_s = 0.0
        self.rated_at = -inf
        self.spent = 0
        self.leased = 0
        self.others = 0  # What all other replicas use.
        self.used_said = 0
        self.wanted = -1  # Never heard of.
        self.scarce_until = -inf
        self.answered = 0  # The last sync that brought an answer for it; 0 is none.
        self.asked_at = -inf
        self.active = False
        self.used_at = -inf
        self.quarters: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        """As an operator wants it."""
        return (
            f"<Slice {self.key.cap} {self.key.subject} granted={self.granted} "
            f"held={self.held} settled={self.settled}>"
        )

    @property
    def idle(self) -> int:
        """What of it is neither used nor on its way back."""
        return self.granted - self.held - self.settled - self.giving

    @property
    def total(self) -> int:
        """What was spent of the whole sum, as far as is known here."""
        return self.spent + self.settled + self.adjusted

    @property
    def room(self) -> int:
        """What is left of the sum for this replica, wherever it is leased now."""
        return self.most - self.total - self.others - self.held

    @property
    def at_hand(self) -> int:
        """What may be held without asking.

        `room` is less where something was charged without a hold, or the cap lowered.
        """
        return min(self.idle, self.room)

    @property
    def used(self) -> int:
        """Of the slice, what is held or has been spent and is not durable."""
        return self.held + self.settled


class RateSlice:
    """Requests or tokens of a minute that this replica may let pass."""

    __slots__ = (
        "answered",
        "asked_at",
        "charged",
        "charging",
        "giving",
        "least",
        "left",
        "name",
        "need",
        "paid_at_s",
        "per_minute",
        "rate_s",
        "rated_at",
        "taken",
    )

    def __init__(self, name: str, per_minute: int) -> None:
        self.name = name
        self.per_minute = per_minute
        self.left = 0
        self.charged = 0
        self.charging = 0
        self.giving = 0
        self.need = 0
        self.least = 0
        self.taken = 0
        self.rate_s = 0.0
        self.rated_at = -inf
        self.paid_at_s = 0.0
        self.answered = 0
        self.asked_at = -inf

    def __repr__(self) -> str:
        return f"<RateSlice {self.name} left={self.left} of {self.per_minute}>"

    def wait_s(self, count: int, now_s: float) -> float:
        """How long until so many may pass, by what the store last said."""
        each_s = MINUTE_S / self.per_minute
        ahead_s = self.paid_at_s - self.left * each_s - now_s
        if ahead_s <= 0:
            return 0.0
        return max(0.0, ahead_s + min(MINUTE_S, count * each_s) - MINUTE_S)

    def take(self, count: int) -> None:
        """Let them pass; below nothing it is a debt, charged with the next sync."""
        self.left -= count
        self.taken += count


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
        self._peers: dict[str, tuple[int, float]] = {}
        self._leader: tuple[str, int] = ("", 0)
        self._leader_moved_at = -inf
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
            return self._again(unsure, now_s, tick_s)
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
            slices=tuple(self._ask(one, tick_s, whole=whole) for one in chosen),
            rates=tuple(
                self._ask_rate(one, now_s, tick_s) for one in self._rates_used()
            ),
            lead_from=self._lead_from(tick_s),
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
            if one is not None:
                self._take_in(one, asked[answer.key], answer, tick_s)
        charged = {ask.name: ask for ask in sync.rates}
        for rate in said.rates:
            found = self._rates.get(rate.name)
            if found is not None:
                self._pass(found, charged[rate.name], rate)
        self._meet(said.peers, tick_s)
        if said.leader != self._leader:
            self._leader, self._leader_moved_at = said.leader, tick_s

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
        return self._leader[0] == self.replica

    def dead(self, tick_s: float) -> tuple[Peer, ...]:
        """Who has not moved for so long that it is dead.

        By this replica's steady clock and what it saw itself, while it saw the store:
        no two machines' clocks are compared.
        """
        if self.trouble_since is not None:
            return ()
        return tuple(
            Peer(name, beats)
            for name, (beats, seen_at) in self._peers.items()
            if tick_s - seen_at > LEASE_S
        )

    @property
    def peers(self) -> int:
        """How many live, this one included."""
        return len(self._peers) + 1

    # -- inside ------------------------------------------------------------------

    def _again(self, unsure: Sync, now_s: float, tick_s: float) -> Sync:
        """The same once more; needs that came meanwhile wait for the one after."""
        if any(one.need for one in self._active.values()) or any(
            one.need for one in self._rates.values()
        ):
            self._hurry = True
        del tick_s
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

    def _ask(self, one: Slice, tick_s: float, *, whole: bool) -> SliceAsk:
        one.sending = one.settled if whole else 0
        one.adjusting = one.adjusted if whole else 0
        over = max(0, min(one.sending, one.granted))
        want = 0
        if self._leaving or not one.hard:
            one.giving = max(0, one.granted - one.held - one.settled)
        else:
            want = self._wish(one, tick_s)
            if want < 0:
                one.giving -= want
                want = 0
        need = max(0, min(want, one.need - one.idle)) if one.need else 0
        least = max(0, min(want, one.least - one.idle)) if one.need else 0
        one.need = one.least = one.taken = 0
        one.asked_at = tick_s
        one.used_said = one.used - one.sending
        return SliceAsk(
            key=one.key,
            cap=one.cap,
            most=one.most,
            spent=over,
            given=one.giving,
            used=one.used_said,
            want=want,
            need=need,
            least=least,
            parts=sizing.parts(self.peers),
        )

    def _wish(self, one: Slice, tick_s: float) -> int:
        over_s = min(RATED_S, tick_s - one.rated_at)
        one.rate_s = sizing.rate(one.rate_s, one.taken + one.need, over_s)
        one.rated_at = tick_s
        left = one.most - one.spent - one.leased + max(0, one.idle)
        if tick_s < one.scarce_until or tick_s - one.used_at > IDLE_S:
            one.spare = 0
        elif one.cap is None:
            one.spare = sizing.spare_places(one.held, left, self.peers)
        else:
            one.spare = sizing.spare_money(one.rate_s, left, self.peers)
        return sizing.wanted(one.idle, one.spare, one.need)

    def _take_in(
        self, one: Slice, ask: SliceAsk, said: SliceAnswer, tick_s: float
    ) -> None:
        one.granted = said.granted
        one.settled -= one.sending
        one.adjusted -= one.adjusting
        one.sending = one.adjusting = 0
        one.giving -= min(one.giving, ask.given)
        one.spent = said.spent
        one.leased = said.leased
        one.others = max(0, said.used - ask.used)
        one.quarters = said.quarters
        one.answered = self.plans
        if said.wanted != one.wanted:
            if one.wanted >= 0:
                one.scarce_until = tick_s + sizing.SCARCE_S
                self._hurry = self._hurry or one.idle > 0
            one.wanted = said.wanted
        if (
            tick_s - one.used_at > IDLE_S
            and not one.granted
            and not one.held
            and not one.settled
        ):
            one.active = False
            self._active.pop(one.key, None)

    def _rates_used(self) -> list[RateSlice]:
        return [
            one
            for one in self._rates.values()
            if one.taken or one.charged or one.need or one.left or one.charging
        ]

    def _ask_rate(self, one: RateSlice, now_s: float, tick_s: float) -> RateAsk:
        over_s = min(RATED_S, tick_s - one.rated_at)
        one.rate_s = sizing.rate(one.rate_s, one.taken + one.need, over_s)
        one.rated_at = tick_s
        one.taken = 0
        if one.left < 0:
            one.charged -= one.left
            one.left = 0
        one.charging, one.charged = one.charged, 0
        ahead_s = max(0.0, one.paid_at_s - now_s)
        left = int(max(0.0, MINUTE_S - ahead_s) * one.per_minute / MINUTE_S)
        spare = sizing.spare_rate(one.rate_s, left, self.peers)
        want = sizing.wanted(one.left, spare, one.need)
        if self._leaving:
            want = -one.left
        if want < 0:
            one.giving, want = -want, 0
            one.left -= one.giving
        least = min(one.least, want)
        one.need = one.least = 0
        one.asked_at = tick_s
        return RateAsk(one.name, one.per_minute, one.charging, one.giving, want, least)

    def _pass(self, one: RateSlice, ask: RateAsk, said: RateAnswer) -> None:
        del ask
        one.charging = one.giving = 0
        one.left += said.granted
        one.paid_at_s = said.paid_at_s
        one.answered = self.plans

    def _meet(self, peers: Iterable[Peer], tick_s: float) -> None:
        seen = {
            peer.replica: peer.beats for peer in peers if peer.replica != self.replica
        }
        self._peers = {
            name: (
                (beats, tick_s)
                if (old := self._peers.get(name)) is None or old[0] != beats
                else old
            )
            for name, beats in seen.items()
        }
        self.alone = not self._peers

    def _lead_from(self, tick_s: float) -> tuple[str, int] | None:
        """Whom to take over from: nobody, or a leader that has not moved."""
        leader = self._leader
        if leader[0] == self.replica or not self._met:
            return None
        if not leader[0] or tick_s - self._leader_moved_at > LEASE_S:
            return leader
        return None


def places_key(who: str) -> SumKey:
    """The sum that counts requests in flight of this site, key or provider."""
    return SumKey(PLACES, who, 0)
