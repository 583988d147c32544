"""Gathers small deltas into fewer, larger ones, for clients to whom each is dear. Pure.

    options: interval_ms = "100"; chars_max = "2000"

The first delta after a pause passes at once; what follows within the interval waits for
its end, or for `chars_max`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors.stream.hooks.api import EVERYTHING, Hook, Part

INTERVAL_MS: Final = 100  # Ten paints a second read as flowing text.
INTERVAL_MS_MAX: Final = 5_000
CHARS_MAX: Final = 2_000
CHARS_MAX_MAX: Final = 65_536


class Coalesce(Hook):
    """Keeps text until its interval is over."""

    parts = EVERYTHING

    def __init__(self, interval_s: float, chars_max: int) -> None:
        self.flush_after_s = interval_s
        self._chars_max = chars_max
        self._kept: dict[Part, list[str]] = {}
        self._chars = 0
        self._waiting = False

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Coalesce {self._chars} chars kept>"

    def on_delta(self, text: str, part: Part) -> str:
        """Nothing, but after a pause or when there is much."""
        if not self._waiting:
            self._waiting = True
            return text
        self._kept.setdefault(part, []).append(text)
        self._chars += len(text)
        return self._take(part) if self._chars >= self._chars_max else ""

    def on_flush(self, part: Part) -> str:
        """What was gathered; none means a pause."""
        text = self._take(part)
        self._waiting = bool(text)
        return text

    def _take(self, part: Part) -> str:
        text = "".join(self._kept.pop(part, ()))
        self._chars -= len(text)
        return text


def make(options: Mapping[str, str]) -> Hook:
    """See `Make`."""
    given = dict(options)
    interval = given.pop("interval_ms", str(INTERVAL_MS))
    chars = given.pop("chars_max", str(CHARS_MAX))
    if given:
        raise ValueError(
            f"{min(given)!r} is no option; there are interval_ms, chars_max"
        )
    if not interval.isdecimal() or not 1 <= int(interval) <= INTERVAL_MS_MAX:
        raise ValueError(f"interval_ms is a number from 1 to {INTERVAL_MS_MAX}")
    if not chars.isdecimal() or not 1 <= int(chars) <= CHARS_MAX_MAX:
        raise ValueError(f"chars_max is a number from 1 to {CHARS_MAX_MAX}")
    return Coalesce(int(interval) / 1000, int(chars))
