"""Who may enter: requests in flight, requests and tokens a minute. Pure, no clock.

Of each site, and of each of its keys; a request must pass both, and counts at both or
at none.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from actors.directory.messages import KeyTerms
from actors.ledger import rates, wording
from actors.ledger.messages import HoldRefused, Rates, SiteLimits
from actors.ledger.rates import Rate

UNLIMITED: Final = Rates()


class Places(Struct):
    """What one site or key has running and has used up."""

    who: str
    in_flight_max: int | None
    requests: Rate | None
    tokens: Rate | None
    streams: set[str] = field(default_factory=set[str])
    limits: Rates = Rates()
    terms: KeyTerms | None = None  # Of a key that has limits of its own.
    limited: bool = False  # By any of them: most are by none.

    @property
    def is_full(self) -> bool:
        """Whether no more may be in flight."""
        most = self.in_flight_max
        return most is not None and len(self.streams) >= most


class Site(Struct):
    """A site's limits and places, and its keys'."""

    limits: SiteLimits
    own: Places
    keys: dict[str, Places] = field(default_factory=dict[str, Places])
    shared: bool = False

    def places(
        self, key_id: str, terms: KeyTerms | None = None
    ) -> tuple[Places, Places]:
        """The two that a request of this key must pass."""
        key = self.keys.get(key_id)
        if key is None or (terms is not None and key.terms is not terms):
            # A key's terms are one object until they are changed.
            limits = _tightened(self.limits.each_key, terms)
            key = self.keys[key_id] = _places(
                f"key {key_id}", limits, key, shared=self.shared
            )
            key.terms = terms
        return self.own, key


def open_site(
    limits: SiteLimits, old: Site | None = None, *, shared: bool = False
) -> Site:
    """A site with these limits; what runs and was used up goes on.

    `shared`: with other replicas; then it is shared.py that checks them.
    """
    own = Rates(
        limits.requests_per_minute_max,
        limits.tokens_per_minute_max,
        limits.in_flight_max,
    )
    who = f"site {limits.name}"
    if old is None:
        return Site(limits, _places(who, own, shared=shared), shared=shared)
    return Site(
        limits,
        _places(who, own, old.own, shared=shared),
        {
            key_id: _again(key, limits.each_key, shared=shared)
            for key_id, key in old.keys.items()
        },
        shared,
    )


def _again(key: Places, each_key: Rates, *, shared: bool) -> Places:
    """A key's places under new limits of its site."""
    made = _places(key.who, _tightened(each_key, key.terms), key, shared=shared)
    made.terms = key.terms
    return made


def _tightened(limits: Rates, terms: KeyTerms | None) -> Rates:
    """What a key is held to: its own limits cannot lift those of its site's keys."""
    if terms is None:
        return limits
    return Rates(
        _lower(limits.requests_per_minute_max, terms.requests_per_minute_max),
        _lower(limits.tokens_per_minute_max, terms.tokens_per_minute_max),
        _lower(limits.in_flight_max, terms.in_flight_max),
    )


def _lower(one: int | None, other: int | None) -> int | None:
    given = [limit for limit in (one, other) if limit is not None]
    return min(given) if given else None


def refusal(
    places: tuple[Places, ...], prompt_tokens: int, now: float
) -> HoldRefused | None:
    """Why this request may not enter now; None: it may."""
    for one in places:
        if one.is_full:
            return wording.in_flight(one.who, one.in_flight_max or 0)
    for one in places:
        if one.requests is not None and (wait_s := one.requests.wait_s(1, now)):
            return wording.requests(one.who, one.requests.per_minute, wait_s)
    for one in places:
        if one.tokens is not None and (wait_s := one.tokens.wait_s(prompt_tokens, now)):
            return wording.tokens(one.who, one.tokens.per_minute, wait_s)
    return None


def enter(
    places: tuple[Places, ...], stream_id: str, prompt_tokens: int, now: float
) -> None:
    """Count a request that may."""
    for one in places:
        one.streams.add(stream_id)
        if one.requests is not None:
            one.requests.take(1, now)
        if one.tokens is not None:
            one.tokens.take(prompt_tokens, now)


def leave(places: tuple[Places, ...], stream_id: str) -> None:
    """It is over."""
    for one in places:
        one.streams.discard(stream_id)


def answered(places: tuple[Places, ...], output_tokens: int, now: float) -> None:
    """Charge an answer's tokens, now that they are known."""
    rates.take((one.tokens for one in places), output_tokens, now)


def _places(
    who: str, limits: Rates, old: Places | None = None, *, shared: bool = False
) -> Places:
    made = Places(
        who,
        limits.in_flight_max,
        None if shared else rates.rate_of(limits.requests_per_minute_max),
        None if shared else rates.rate_of(limits.tokens_per_minute_max),
        limits=limits,
        limited=limits != UNLIMITED,
    )
    if old is not None:
        made.streams = old.streams
        rates.go_on(made.requests, old.requests)
        rates.go_on(made.tokens, old.tokens)
    return made
