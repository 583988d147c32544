"""Who may enter: requests in flight, requests and tokens a minute. Pure, no clock.

Of each site, and of each of its keys; a request must pass both, and counts at both or
at none.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from actors.ledger import rates
from actors.ledger.messages import HoldRefused, Rates, SiteLimits
from actors.ledger.rates import Rate

IN_FLIGHT_RETRY_S: Final = 1.0  # A place is free as soon as any request has ended.


class Places(Struct):
    """What one site or key has running and has used up."""

    who: str
    in_flight_max: int | None
    requests: Rate | None
    tokens: Rate | None
    streams: set[str] = field(default_factory=set[str])

    def retry_s(self) -> float | None:
        """None: one more may be in flight."""
        if self.in_flight_max is None or len(self.streams) < self.in_flight_max:
            return None
        return IN_FLIGHT_RETRY_S


class Site(Struct):
    """A site's limits and places, and its keys'."""

    limits: SiteLimits
    own: Places
    keys: dict[str, Places] = field(default_factory=dict[str, Places])

    def places(self, key_id: str) -> tuple[Places, Places]:
        """The two that a request of this key must pass."""
        key = self.keys.get(key_id)
        if key is None:
            key = self.keys[key_id] = _places(f"key {key_id}", self.limits.each_key)
        return self.own, key


def open_site(limits: SiteLimits, old: Site | None = None) -> Site:
    """A site with these limits; what runs and was used up goes on."""
    own = Rates(
        limits.requests_per_minute_max,
        limits.tokens_per_minute_max,
        limits.in_flight_max,
    )
    who = f"site {limits.name}"
    if old is None:
        return Site(limits, _places(who, own))
    return Site(
        limits,
        _places(who, own, old.own),
        {
            key_id: _places(key.who, limits.each_key, key)
            for key_id, key in old.keys.items()
        },
    )


def refusal(
    places: tuple[Places, ...], prompt_tokens: int, now: float
) -> HoldRefused | None:
    """Why this request may not enter now; None: it may."""
    for one in places:
        retry_s = one.retry_s()
        if retry_s is not None:
            return HoldRefused(
                "in_flight",
                f"{one.who} has {one.in_flight_max} requests in flight, its limit; "
                "try again when one has ended",
                retry_after_s=retry_s,
            )
    for one in places:
        if one.requests is not None and (wait_s := one.requests.wait_s(1, now)):
            return HoldRefused(
                "requests",
                f"{one.who} may make {one.requests.per_minute} requests a minute; try "
                f"again in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )
    for one in places:
        if one.tokens is not None and (wait_s := one.tokens.wait_s(prompt_tokens, now)):
            return HoldRefused(
                "tokens",
                f"{one.who} may use {one.tokens.per_minute} tokens a minute, its "
                f"answers included; try again in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )
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


def _places(who: str, limits: Rates, old: Places | None = None) -> Places:
    made = Places(
        who,
        limits.in_flight_max,
        rates.rate_of(limits.requests_per_minute_max),
        rates.rate_of(limits.tokens_per_minute_max),
    )
    if old is not None:
        made.streams = old.streams
        rates.go_on(made.requests, old.requests)
        rates.go_on(made.tokens, old.tokens)
    return made
