"""What was spent, by whom and when, for as long as any window reaches. Pure.

A cap that is new, or covers something else after a reload, is counted from here: it
begins with what was spent already, not with nothing.

Two days are remembered by quarters of an hour, which is exact in every time zone; a
month before that by days, each counted at its end; what is older in one sum. So a book
that is opened late may count up to a day too much, and never too little.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from actors.ledger.covering import Who
from actors.ledger.windows import QUARTER_S, quarter

DAY_S: Final = 86_400
QUARTERS_A_DAY: Final = DAY_S // QUARTER_S
QUARTERS_KEPT: Final = 2 * QUARTERS_A_DAY
DAYS_KEPT: Final = 33  # A calendar month has 31, and begins a day earlier somewhere.


class Line(Struct):
    """The spend of one site, key, model and provider; at most 226 numbers."""

    quarters: dict[int, int] = field(default_factory=dict[int, int])
    days: dict[int, int] = field(default_factory=dict[int, int])
    before: int = 0


class History:
    """All lines. Their number is that of the keys, models and providers in use."""

    def __init__(self) -> None:
        self._lines: dict[Who, Line] = {}
        self._day = 0

    def __repr__(self) -> str:
        return f"<History {len(self._lines)} lines>"

    def add(self, who: Who, at_s: float, nanousd: int, now_s: float) -> None:
        """Remember. Once a day, what became old is summed up."""
        if not nanousd:
            return
        line = self._lines.get(who)
        if line is None:
            line = self._lines[who] = Line()
        at = quarter(at_s)
        line.quarters[at] = line.quarters.get(at, 0) + nanousd
        day = int(now_s // DAY_S)
        if day > self._day:
            self._day = day
            for one in self._lines.values():
                _age(one, quarter(now_s))

    def all(self) -> Iterator[tuple[Who, float, int]]:
        """Who spent how much, and the latest moment at which that can have been."""
        for who, line in self._lines.items():
            for at, nanousd in line.quarters.items():
                yield who, at * QUARTER_S, nanousd
            for day, nanousd in line.days.items():
                yield who, (day + 1) * DAY_S - QUARTER_S, nanousd
            if line.before:
                yield who, 0.0, line.before


def _age(line: Line, now: int) -> None:
    for at in [at for at in line.quarters if at <= now - QUARTERS_KEPT]:
        day = at // QUARTERS_A_DAY
        line.days[day] = line.days.get(day, 0) + line.quarters.pop(at)
    for day in [day for day in line.days if day < now // QUARTERS_A_DAY - DAYS_KEPT]:
        line.before += line.days.pop(day)
