"""What is asked for a slice, and what its answer means. Pure: time is an argument.

How much should be at hand is sizing.py's; that a slice is asked about at all, and when,
is escrow.py's.
"""

from __future__ import annotations

from typing import Final

from actors.ledger import sizing
from actors.ledger.rates import MINUTE_S
from actors.ledger.shares import RateAnswer, RateAsk, SliceAnswer, SliceAsk
from actors.ledger.slices import RateSlice, Slice

IDLE_S: Final = 5.0  # Without a request for so long, a slice is not asked about.
RATED_S: Final = 1.0  # What came in the first look at it came within this, at most.


def ask(
    one: Slice, tick_s: float, *, replicas: int, whole: bool, leaving: bool
) -> SliceAsk:
    """What to say of it. `whole`: all lines of its cost are told in the same sync."""
    one.sending = one.settled if whole else 0
    one.adjusting = one.adjusted if whole else 0
    over = max(0, min(one.sending, one.granted))
    want = 0
    if leaving or not one.hard:
        one.giving = max(0, one.granted - one.held - one.settled)
    else:
        want = _wish(one, tick_s, replicas)
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
        parts=sizing.parts(replicas),
    )


def take_in(
    one: Slice, asked: SliceAsk, said: SliceAnswer, plan: int, tick_s: float
) -> bool:
    """The answer. Whether to be quick: others want what is idle here."""
    one.granted = said.granted
    one.settled -= one.sending
    one.adjusted -= one.adjusting
    one.sending = one.adjusting = 0
    one.giving -= min(one.giving, asked.given)
    one.spent = said.spent
    one.leased = said.leased
    one.others = max(0, said.used - asked.used)
    one.quarters = said.quarters
    one.answered = plan
    if said.wanted == one.wanted:
        return False
    first, one.wanted = one.wanted < 0, said.wanted
    if first:
        return False
    one.scarce_until = tick_s + sizing.SCARCE_S
    return one.idle > 0


def is_idle(one: Slice, tick_s: float) -> bool:
    """Whether there is nothing to say of it until somebody uses it again."""
    return tick_s - one.used_at > IDLE_S and not (
        one.granted or one.held or one.settled
    )


def ask_rate(
    one: RateSlice, now_s: float, tick_s: float, *, replicas: int, leaving: bool
) -> RateAsk:
    """What to say of an allowance: the debt, what goes back, what is wished."""
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
    spare = sizing.spare_rate(one.rate_s, left, replicas)
    want = -one.left if leaving else sizing.wanted(one.left, spare, one.need)
    if want < 0:
        one.giving, want = -want, 0
        one.left -= one.giving
    least = min(one.least, want)
    one.need = one.least = 0
    one.asked_at = tick_s
    return RateAsk(one.name, one.per_minute, one.charging, one.giving, want, least)


def take_in_rate(one: RateSlice, said: RateAnswer, plan: int) -> None:
    """The answer."""
    one.charging = one.giving = 0
    one.left += said.granted
    one.paid_at_s = said.paid_at_s
    one.answered = plan


def _wish(one: Slice, tick_s: float, replicas: int) -> int:
    """How much more of it, or less."""
    over_s = min(RATED_S, tick_s - one.rated_at)
    one.rate_s = sizing.rate(one.rate_s, one.taken + one.need, over_s)
    one.rated_at = tick_s
    left = one.most - one.spent - one.leased + max(0, one.idle)
    if tick_s < one.scarce_until or tick_s - one.used_at > IDLE_S:
        one.spare = 0
    elif one.cap is None:
        one.spare = sizing.spare_places(one.held, left, replicas)
    else:
        one.spare = sizing.spare_money(one.rate_s, left, replicas)
    return sizing.wanted(one.idle, one.spare, one.need)
