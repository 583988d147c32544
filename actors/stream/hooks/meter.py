"""Counts the tokens of an answer as they are shown, and ends it at a bound. Pure.

    options: tokens_max = "2000"; chars_per_token = "4"

The provider's own count comes with the end of an answer; a site that promises its users
"at most N tokens" has to count on the way. The answer ends with `length`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors.stream.hooks.api import EVERYTHING, Halt, Hook, Part

CHARS_PER_TOKEN: Final = 4.0  # English prose of a 200,000-token vocabulary.


class Meter(Hook):
    """One count for the whole answer."""

    parts = EVERYTHING

    def __init__(self, tokens_max: int | None, chars_per_token: float) -> None:
        self._chars_max = (
            None if tokens_max is None else int(tokens_max * chars_per_token)
        )
        self._per_token = chars_per_token
        self.chars = 0

    def __repr__(self) -> str:
        """The count."""
        return f"<Meter {self.tokens} tokens>"

    @property
    def tokens(self) -> int:
        """What was shown so far."""
        return round(self.chars / self._per_token)

    def on_delta(self, text: str, part: Part) -> str:  # noqa: ARG002 - one count for all
        """All of it, or what fits."""
        room = None if self._chars_max is None else self._chars_max - self.chars
        if room is not None and len(text) > room:
            self.chars += room
            raise Halt("length", shown=text[:room])
        self.chars += len(text)
        return text


def make(options: Mapping[str, str]) -> Hook:
    """See `Make`."""
    given = dict(options)
    tokens = given.pop("tokens_max", "")
    per_token = given.pop("chars_per_token", str(CHARS_PER_TOKEN))
    if given:
        raise ValueError(
            f"{min(given)!r} is no option; there are tokens_max, chars_per_token"
        )
    if tokens and (not tokens.isdecimal() or int(tokens) < 1):
        raise ValueError("tokens_max is a number from 1 on")
    try:
        ratio = float(per_token)
    except ValueError:
        ratio = 0.0
    if not 0.1 <= ratio <= 100:
        raise ValueError("chars_per_token is a number from 0.1 to 100")
    return Meter(int(tokens) if tokens else None, ratio)
