"""The ladder: what a request must do without when a cap is nearly used up. Pure.

Which rungs are in force follows from how much of a cap is used, held money included: a
burst would otherwise run past every rung into the refusals. The last rung before a
refusal is the cheapest that the operator thought of; a request that finds no room for
its hold goes down to it before it is refused (`rung_min`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from actors.ledger.caps import Book
from actors.ledger.messages import Rung, Standing, Thrift

# Of a site with a degrade cap and no ladder of its own.
LADDER_DEFAULT: Final = (
    Rung("cheaper", 80, prefer_cheap=True),
    Rung("shorter", 95, prefer_cheap=True, output_tokens_max=512),
)

AT_EASE: Final = Standing()


def percent_used(books: Iterable[Book], kind: str) -> int:
    """Of the caps of this kind, how much of the fullest is used."""
    return max(
        (
            book.used_nanousd * 100 // book.cap.nanousd_max
            if book.cap.nanousd_max
            else 100
            for book in books
            if book.cap.kind == kind
        ),
        default=0,
    )


def rungs_of(ladder: tuple[Rung, ...], *, degradable: bool) -> tuple[Rung, ...]:
    """The ladder that is stood on, lowest percentage first."""
    if not ladder:
        return LADDER_DEFAULT if degradable else ()
    return tuple(sorted(ladder, key=lambda rung: rung.percent))


def in_force(rungs: Sequence[Rung], *, hard: int, degrade: int) -> int:
    """How many rungs are in force at these percentages.

    A degrade cap never refuses: it stops before the first rung that would.
    """
    by_hard = sum(rung.percent <= hard for rung in rungs)
    by_degrade = sum(rung.percent <= degrade and not rung.refuse for rung in rungs)
    return max(by_hard, by_degrade)


def steps(rungs: Sequence[Rung]) -> int:
    """How many rungs there are before the first that refuses."""
    return next((n for n, rung in enumerate(rungs) if rung.refuse), len(rungs))


def shortens(rungs: Iterable[Rung]) -> bool:
    """Whether answers may be made shorter than asked for."""
    return any(rung.output_tokens_max is not None for rung in rungs)


def standing(rungs: Sequence[Rung], count: int, pressure: float) -> Standing | None:
    """What the first `count` rungs come to; None is a refusal."""
    if not count:
        if not pressure and not _lower(rungs, 0):
            return AT_EASE
        return Standing(lower=_lower(rungs, 0), thrift=Thrift(pressure))
    stood = rungs[:count]
    if any(rung.refuse for rung in stood):
        return None
    return Standing(
        rung=count,
        degraded=stood[-1].name,
        lower=_lower(rungs, count),
        thrift=Thrift(
            pressure,
            prefer_cheap=any(rung.prefer_cheap for rung in stood),
            output_nanousd_per_mtok_max=_least(
                rung.output_nanousd_per_mtok_max for rung in stood
            ),
        ),
        output_tokens_max=_least(rung.output_tokens_max for rung in stood),
        model=next((rung.model for rung in reversed(stood) if rung.model), ""),
    )


def _lower(rungs: Sequence[Rung], count: int) -> bool:
    return count < len(rungs) and not rungs[count].refuse


def _least(bounds: Iterable[int | None]) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)
