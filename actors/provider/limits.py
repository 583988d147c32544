"""What a provider's headers say of our allowance, and what of it is left now. Pure.

Learned per key: two keys of one provider have two allowances. Between two answers the
count goes on here: each call that is sent takes one request and its tokens, and a
window that is over begins anew with its limit, so that a burst does not run into the
wall that the last answer told of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from actors.provider.messages import Room
from wire.ratelimits import RateWindow

RESET_DEFAULT_S: Final = 10.0  # A window without a reset: soon asked again.
PERIODS_S: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
PERIOD_DEFAULT_S: Final = 60.0  # As nearly all count.
RESET_MAX_S: Final = 60.0  # A day's quota is not waited for: the next 429 tells.
KEYS_MAX: Final = 64  # Of one provider; the rest share the last one's allowance.


class Allowance(Struct):
    """One kind of thing, of one key: how much is left, and until when that holds.

    Of a window whose limit was never told, nothing is known after its reset.
    """

    left: int
    reset_at: float
    limit: int | None = None
    period_s: float = PERIOD_DEFAULT_S

    def roll(self, now: float) -> None:
        """Begin a new window, if this one is over.

        Of a limit of nothing one call finds out whether it still is: nobody else can.
        """
        if self.limit is not None and now >= self.reset_at:
            self.left = max(1, self.limit)
            self.reset_at = now + self.period_s


class Allowances:
    """What each key of one provider may still do."""

    def __init__(self) -> None:
        self._requests: dict[str, Allowance] = {}
        self._tokens: dict[str, Allowance] = {}

    def __repr__(self) -> str:
        return f"<Allowances keys={len(self._requests.keys() | self._tokens.keys())}>"

    def learn(self, key: str, windows: Sequence[RateWindow], now: float) -> None:
        """Take an answer's headers. The tightest window of each kind counts."""
        for kind, into in (("requests", self._requests), ("tokens", self._tokens)):
            tightest: Allowance | None = None
            for window in windows:
                if window.remaining is None or not window.of.endswith(kind):
                    continue
                if window.of == "output-tokens":
                    continue  # Not known before the call; its 429 tells.
                reset_s = window.reset_s
                reset_s = RESET_DEFAULT_S if reset_s is None else reset_s
                found = Allowance(
                    window.remaining,
                    now + min(reset_s, RESET_MAX_S),
                    window.limit,
                    PERIODS_S.get(window.per, PERIOD_DEFAULT_S),
                )
                if tightest is None or found.left < tightest.left:
                    tightest = found
            if tightest is not None and (key in into or len(into) < KEYS_MAX):
                into[key] = tightest

    def take(self, key: str, prompt_tokens: int, now: float) -> None:
        """A call was let through."""
        requests = self._requests.get(key)
        if requests is not None:
            requests.roll(now)
            requests.left -= 1
        tokens = self._tokens.get(key)
        if tokens is not None:
            tokens.roll(now)
            tokens.left -= prompt_tokens

    def full_until(self, key: str, prompt_tokens: int, now: float) -> float | None:
        """Until when this call has no room; None: it has."""
        until: float | None = None
        requests = self._requests.get(key)
        if requests is not None:
            requests.roll(now)
            if requests.left <= 0 and now < requests.reset_at:
                until = requests.reset_at
        tokens = self._tokens.get(key)
        if tokens is not None:
            tokens.roll(now)
            # What no window has room for is the provider's to refuse, in a fresh one.
            limit = prompt_tokens if tokens.limit is None else tokens.limit
            wanted = max(1, min(prompt_tokens, limit))
            if tokens.left < wanted and now < tokens.reset_at:
                until = max(until or 0.0, tokens.reset_at)
        return until

    def tokens_left(self, key: str) -> tuple[int, float] | None:
        """How many tokens are left, and until when that is said; for the router."""
        tokens = self._tokens.get(key)
        return None if tokens is None else (tokens.left, tokens.reset_at)

    def room(self, key: str, now: float) -> tuple[Room, ...]:
        """What is left of each kind, for operators; nothing that is too old to say."""
        found: list[Room] = []
        kinds: tuple[tuple[Literal["requests", "tokens"], dict[str, Allowance]], ...]
        kinds = (("requests", self._requests), ("tokens", self._tokens))
        for kind, kept in kinds:
            one = kept.get(key)
            if one is None:
                continue
            one.roll(now)
            if one.reset_at > now:
                found.append(Room(kind, max(0, one.left), one.limit, one.reset_at))
        return tuple(found)
