"""How the shared store divides a sum among replicas. Pure: rows in, rows changed.

Invariant of a money sum: `spent + leased` goes over a cap's maximum only by what was
settled above its hold, charged without one, or by a cap that was lowered. Of places:
`leased` never does. Every store (memory, SQL) loads rows, lets this decide, and writes
them back in one transaction that holds the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from actors.ledger import covering, windows
from actors.ledger.messages import Cap
from actors.ledger.rates import MINUTE_S
from actors.ledger.shares import (
    PLACES,
    Line,
    RateAnswer,
    RateAsk,
    SliceAnswer,
    SliceAsk,
    SumKey,
)
from actors.ledger.windows import QUARTER_S, quarter


class Sum(Struct):
    """A total. `quarters` only of rolling caps: what leaves the window when."""

    spent: int = 0
    leased: int = 0
    used: int = 0
    wanted: int = 0
    quarters: dict[int, int] = field(default_factory=dict[int, int])


class Held(Struct):
    """One replica's slice of it, and what that replica said to use of it."""

    granted: int = 0
    used: int = 0


def slot_of(cap: Cap, at_s: float) -> int:
    """The window that holds this moment, as a key names it."""
    if cap.rolling or cap.window == "total":
        return 0
    return int(windows.calendar(cap.window, cap.zone, at_s)[0])


def sums_of(
    lines: Iterable[tuple[Line, int]], caps: Mapping[str, Cap]
) -> Iterator[tuple[SumKey, int, int]]:
    """Which sums these lines count in: key, quarter, amount."""
    for line, nanousd in lines:
        for cap_id, cap in caps.items():
            subject = covering.subject_of(cap, line.who)
            if subject is not None:
                slot = slot_of(cap, line.quarter * QUARTER_S)
                yield SumKey(cap_id, subject, slot), line.quarter, nanousd


def opened(
    cap: Cap, key: SumKey, lines: Iterable[tuple[Line, int]], now_s: float
) -> Sum:
    """A sum that nobody has asked for before, added up from the lines."""
    row = Sum()
    for line, nanousd in lines:
        if covering.subject_of(cap, line.who) == key.subject and (
            cap.rolling or slot_of(cap, line.quarter * QUARTER_S) == key.slot
        ):
            spend(row, cap, line.quarter, nanousd)
    roll(row, cap, now_s)
    return row


def since_quarter(cap: Cap, key: SumKey, now_s: float) -> int:
    """The first quarter whose lines such a sum is made of."""
    if cap.rolling:
        return quarter(windows.begins_s(cap, now_s))
    return quarter(key.slot)


def spend(row: Sum, cap: Cap, at: int, nanousd: int) -> None:
    """Count a line."""
    row.spent += nanousd
    if cap.rolling:
        row.quarters[at] = row.quarters.get(at, 0) + nanousd


def roll(row: Sum, cap: Cap, now_s: float) -> list[int]:
    """Forget the quarters that have left a rolling window; which ones."""
    if not cap.rolling:
        return []
    last = gone_before(cap, now_s)
    gone = [at for at in row.quarters if at <= last]
    for at in gone:
        row.spent -= row.quarters.pop(at)
    return gone


def gone_before(cap: Cap, now_s: float) -> int:
    """The last quarter that has left a rolling window.

    A quarter's last moment counts for all of it: never less than the exact sum.
    """
    return int((now_s - windows.rolling_s(cap.window)) // QUARTER_S) - 1


def consume(row: Sum, mine: Held, ask: SliceAsk) -> None:
    """What of a slice is over: settled (its cost came by a line) or given back.

    A slice that is not there any more (its window is over, an operator has begun it
    anew) has nothing to give.
    """
    over = min(mine.granted, ask.spent + ask.given)
    mine.granted -= over
    row.leased -= over


def note_use(row: Sum, mine: Held, used: int) -> None:
    """What this replica holds and has spent of it, for the others to see."""
    row.used += used - mine.used
    mine.used = used


def grant(row: Sum, mine: Held, ask: SliceAsk) -> bool:
    """Give what is wished for, as far as there is room; False: less than `least`.

    Of what is left nobody takes more than its part in advance, so that nobody strands
    what others need; what requests wait for is given in full.
    """
    if not ask.want:
        return True
    room = ask.most - row.spent - row.leased
    given = min(ask.want, room, max(ask.need, room // ask.parts))
    if given <= 0 or given < ask.least:
        # Counting up calls back what others do not use; without any it is no use.
        if ask.least and row.leased - mine.granted > row.used - mine.used:
            row.wanted += 1
        return not ask.least
    mine.granted += given
    row.leased += given
    return True


def bury(key: SumKey, row: Sum, held: Held) -> bool:
    """A replica is dead: True when its slice is to be removed.

    Its places are free, for its requests died with it. Its money counts as spent: the
    slice stays, all of it used, until the window is over, an operator begins it anew,
    or the replica comes back and proves what is left of it.
    """
    if key.cap == PLACES:
        row.leased -= held.granted
        row.used -= held.used
        return True
    note_use(row, held, held.granted)
    return False


def restart(row: Sum) -> None:
    """An operator begins it anew. Slices stay: money that is held stays held."""
    row.spent = 0
    row.quarters.clear()


def answer(key: SumKey, row: Sum, mine: Held) -> SliceAnswer:
    """How it stands."""
    return SliceAnswer(key, mine.granted, row.spent, row.leased, row.used, row.wanted)


def pass_rate(paid_at_s: float, ask: RateAsk, now_s: float) -> RateAnswer:
    """Let some of a minute's allowance pass: see `rates.Rate`, with one clock for all.

    More than a minute's worth passes when nothing else is unpaid.
    """
    each_s = MINUTE_S / ask.per_minute
    paid_at_s = max(paid_at_s, now_s - MINUTE_S) - ask.given * each_s
    if ask.charged:
        paid_at_s = max(now_s, paid_at_s) + ask.charged * each_s
    granted = 0
    if ask.want:
        ahead_s = paid_at_s - now_s
        left = int((MINUTE_S - max(0.0, ahead_s)) / each_s + 1e-9)
        if left >= ask.least:
            granted = min(ask.want, left)
        elif ahead_s <= 0:
            granted = ask.least
        if granted:
            paid_at_s = max(now_s, paid_at_s) + granted * each_s
    return RateAnswer(ask.name, granted, paid_at_s)
