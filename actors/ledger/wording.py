"""What the ledger says to people: which limit, how much, until when. Pure.

A client learns the amounts of its own site. Of a sum that others spend from too, it
learns the cap's name and when it begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from actors.ledger.caps import Book
from actors.ledger.covering import is_of_site
from actors.ledger.messages import (
    NANOUSD_PER_USD,
    Alert,
    AlertKind,
    HoldRefused,
    Window,
)

_WINDOW: Final[dict[tuple[Window, bool], str]] = {
    ("day", False): "a day",
    ("week", False): "a week",
    ("month", False): "a month",
    ("total", False): "in total",
    ("day", True): "in 24 hours",
    ("week", True): "in 7 days",
    ("month", True): "in 30 days",
    ("total", True): "in total",
}

SPARED_PART: Final = 10  # A tenth of every hard cap is only for who is waited for.
NONE_TO_SPARE: Final = HoldRefused(
    "spend_cap", "no cap may be filled by what no client waits for"
)


def none_to_spare(books: Iterable[Book], wanted_nanousd: int) -> bool:
    """Whether a hold that no client waits for would take what is kept for clients."""
    return any(
        book.cap.kind == "hard"
        and wanted_nanousd > book.room_nanousd - book.cap.nanousd_max // SPARED_PART
        for book in books
    )


def no_room(book: Book, wanted_nanousd: int, site: str, now_s: float) -> HoldRefused:
    """The refusal of a hold that a hard cap has no room for."""
    cap = book.cap
    resets_at_s = book.resets_at_s(wanted_nanousd)
    too_much = wanted_nanousd > cap.nanousd_max
    advice = "Ask for a shorter answer, or have the cap raised"
    if resets_at_s is not None:
        advice += f", or wait until {when(resets_at_s)}"
    if is_of_site(cap, site):
        left = (
            f"this request could cost {usd(wanted_nanousd)}, more than the whole cap"
            if too_much
            else f"has {usd(book.room_nanousd)} left; this request could cost "
            f"{usd(wanted_nanousd)}"
        )
        joint = ";" if too_much else " and"
        what = f"{_limit(book)}{joint} {left}"
    else:
        what = f"the cap {cap.name}, which others spend from too, has no room for this"
    return HoldRefused(
        "spend_cap",
        f"{what}. {advice}",
        resets_at_s=resets_at_s,
        retry_after_s=None if resets_at_s is None else max(0.0, resets_at_s - now_s),
    )


def off_the_ladder(book: Book, site: str, rung: str, now_s: float) -> HoldRefused:
    """The refusal of a request by the ladder's last rung."""
    resets_at_s = book.resets_at_s()
    what = f"{_limit(book)} and" if is_of_site(book.cap, site) else f"site {site}"
    return HoldRefused(
        "spend_cap",
        f"{what} is at the step {rung} of its ladder, which refuses"
        + ("" if resets_at_s is None else f" until {when(resets_at_s)}"),
        resets_at_s=resets_at_s,
        retry_after_s=None if resets_at_s is None else max(0.0, resets_at_s - now_s),
    )


def unpriced(provider: str, model: str, site: str) -> HoldRefused:
    """What has no price cannot be held to a cap."""
    return HoldRefused(
        "unpriced",
        f"the model {provider}/{model} has no price and site {site} has a spend cap; "
        "give it a price in the config",
    )


def unbounded(provider: str, model: str, site: str) -> HoldRefused:
    """What has no bound cannot be held to a cap."""
    return HoldRefused(
        "unbounded",
        f"nothing says how long an answer of {provider}/{model} may be and site {site} "
        "has a spend cap; send max_tokens, or give the site output_tokens_max or the "
        "model window_tokens in the config",
    )


def reached(book: Book, kind: AlertKind) -> Alert:
    """A cap was reached: for operators."""
    cap = book.cap
    verdict = {
        "soft": "requests go on",
        "degrade": "requests go on with what is cheapest",
        "hard": "a request was refused",
    }
    return Alert(
        kind=kind,
        cap=cap.name,
        subject=book.subject,
        message=f"{_limit(book)}; {usd(book.spent_nanousd)} is spent and "
        f"{usd(book.held_nanousd)} held: {verdict.get(kind, '')}",
        nanousd=book.spent_nanousd,
    )


def overrun(provider: str, model: str, site: str, *, held: int, cost: int) -> Alert:
    """A call cost more than its hold: for operators."""
    return Alert(
        kind="overrun",
        cap="",
        subject=site,
        message=f"a call of {provider}/{model} for site {site} cost {usd(cost)}, its "
        f"hold was {usd(held)}; later holds for it are larger",
        nanousd=cost - held,
    )


IN_FLIGHT_RETRY_S: Final = 1.0  # A place is free as soon as any request has ended.
STORE_RETRY_S: Final = 2.0  # A fail-over takes some seconds.


RateRefused = Callable[[str, int, float], HoldRefused]


def in_flight(who: str, most: int) -> HoldRefused:
    """As many as may run do."""
    return HoldRefused(
        "in_flight",
        f"{who} has {most} requests in flight, its limit; try again when one has ended",
        retry_after_s=IN_FLIGHT_RETRY_S,
    )


def requests(who: str, per_minute: int, wait_s: float) -> HoldRefused:
    """Too many requests a minute."""
    return HoldRefused(
        "requests",
        f"{who} may make {per_minute} requests a minute; try again in {wait_s:.1f} s",
        retry_after_s=wait_s,
    )


def tokens(who: str, per_minute: int, wait_s: float) -> HoldRefused:
    """Too many tokens a minute."""
    return HoldRefused(
        "tokens",
        f"{who} may use {per_minute} tokens a minute, its answers included; try again "
        f"in {wait_s:.1f} s",
        retry_after_s=wait_s,
    )


def store_gone(what: str) -> HoldRefused:
    """The shared store does not answer, and what was leased from it is used up."""
    return HoldRefused(
        "store",
        f"the gateway's database does not answer, and without it {what} cannot be "
        "checked; try again in a moment, its operator has to look",
        retry_after_s=STORE_RETRY_S,
    )


def too_many_wait(what: str) -> HoldRefused:
    """As many as may wait for the store do."""
    return HoldRefused(
        "store",
        f"too many requests wait for {what} to be checked; try again in a moment",
        retry_after_s=STORE_RETRY_S,
    )


def when(at_s: float) -> str:
    """A moment, for people: in UTC, to the minute."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def usd(nanousd: int) -> str:
    """An amount, for people: whole cents, or as small as it is."""
    sign = "-" if nanousd < 0 else ""
    cents, rest = divmod(abs(nanousd) * 100, NANOUSD_PER_USD)
    dollars, cents = divmod(cents, 100)
    if dollars or cents >= 10 or not rest:
        return f"{sign}${dollars}.{cents:02d}"
    return f"{sign}${abs(nanousd) / NANOUSD_PER_USD:.6f}"


def _limit(book: Book) -> str:
    cap = book.cap
    who = {
        "all": "everybody together",
        "site": f"site {book.subject}",
        "key": f"key {book.subject}",
        "model": f"model {book.subject}",
        "provider": f"provider {book.subject}",
    }[cap.per]
    window = _WINDOW[cap.window, cap.rolling]
    return f"{who} may spend {usd(cap.nanousd_max)} {window} (cap {cap.name})"
