"""Places and rates that are shared with other replicas. Pure: time is an argument.

What sites.py checks against its own numbers, this checks against slices of the store's:
requests in flight, requests and tokens a minute, of each site and each of its keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from actors.ledger import wording
from actors.ledger.escrow import Escrow
from actors.ledger.messages import HoldRefused
from actors.ledger.sites import Places, Site
from actors.ledger.slices import RateSlice, Slice, places_key

# A wait that is longer than what others may give back meanwhile is told at once.
SURE_WAIT_S: Final = 0.25
SCARCE_PARTS: Final = 4  # With a quarter of all places left, each that is free counts.


class Short(Struct, frozen=True):
    """This replica has too little at hand: ask again when the store has answered.

    `since` is what the question began at; the next one brings it along.
    """

    since: int


def missing(
    escrow: Escrow,
    places: tuple[Places, ...],
    prompt_tokens: int,
    now_s: float,
    *,
    since: int | None,
    last: bool,
) -> HoldRefused | Short | None:
    """Why this request may not enter yet, or not at all; None: it may."""
    began = escrow.plans if since is None else since
    hurry = since is None
    lacks = False
    for one in places:
        found = _places(escrow, one)
        if found is None or found.at_hand >= 1:
            continue
        if last or (found.answered > began and found.room < 1):
            if found.answered <= began and escrow.trouble_since is not None:
                return wording.store_gone(f"how many requests {one.who} has in flight")
            return wording.in_flight(one.who, found.most)
        escrow.short(found, 1, hurry=hurry)
        lacks = True
    for one in places:
        for rate, count, refused in _rates(escrow, one, prompt_tokens):
            if rate.left >= count:
                continue
            wait_s = rate.wait_s(count, now_s)
            asked = rate.answered > began
            if last or (wait_s and asked) or wait_s > SURE_WAIT_S:
                if last and not asked and escrow.trouble_since is not None:
                    return wording.store_gone(f"the rate of {one.who}")
                return refused(one.who, rate.per_minute, wait_s)
            escrow.short_rate(rate, count, hurry=hurry)
            lacks = True
    return Short(began) if lacks else None


def enter(escrow: Escrow, places: Iterable[Places], prompt_tokens: int) -> None:
    """Count a request that may."""
    for one in places:
        found = _places(escrow, one)
        if found is not None:
            escrow.hold(found, 0)
            found.taken += 1
        for rate, count, _ in _rates(escrow, one, prompt_tokens):
            rate.take(count)


def leave(escrow: Escrow, places: Iterable[Places]) -> None:
    """It is over."""
    for one in places:
        found = _places(escrow, one)
        if found is not None:
            if not found.active:
                escrow.touch(found)
            if not escrow.alone and found.room * SCARCE_PARTS <= found.most:
                escrow.hurry()  # Others may wait for it.


def answered(escrow: Escrow, places: Iterable[Places], output_tokens: int) -> None:
    """Charge an answer's tokens, now that they are known."""
    for one in places:
        per_minute = one.limits.tokens_per_minute_max
        if per_minute is not None:
            escrow.rate(f"{one.who}: tokens", per_minute).charged += output_tokens


def follow(escrow: Escrow, sites: Iterable[Site]) -> None:
    """Limits have changed: places of those without one go back."""
    for site in sites:
        for one in (site.own, *site.keys.values()):
            if one.limits.in_flight_max is None:
                escrow.close_places(one.who)
            else:
                _places(escrow, one)


def _places(escrow: Escrow, one: Places) -> Slice | None:
    """Its slice, with what is in flight here; None where nothing limits that."""
    most = one.limits.in_flight_max
    if most is None:
        return None
    found = escrow.slice_of(places_key(one.who), None, most, hard=True)
    found.held = len(one.streams)
    return found


def _rates(
    escrow: Escrow, one: Places, prompt_tokens: int
) -> Iterable[tuple[RateSlice, int, wording.RateRefused]]:
    requests = one.limits.requests_per_minute_max
    if requests is not None:
        rate = escrow.rate(f"{one.who}: requests", requests)
        yield rate, 1, wording.requests
    tokens = one.limits.tokens_per_minute_max
    if tokens is not None:
        rate = escrow.rate(f"{one.who}: tokens", tokens)
        yield rate, prompt_tokens, wording.tokens
