"""Which deployments have a prompt's beginning in their cache. Pure.

A provider that has just read a conversation's beginning answers its next turn sooner
and at the cached price. That is no bonus in the score: it is fewer tokens to read and
to pay, so it counts as much as it is worth, no more.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

WARM_S: Final = 300.0  # OpenAI and Anthropic keep a prefix for about five minutes.
PREFIXES_MAX: Final = 20_000  # Some 5 MB; at 60 new conversations a second, 300 s.
PLACES_MAX: Final = 3  # A conversation that fell back leaves warm caches behind.
STEP: Final = 0.5  # Half of what is believed comes from the last call.
FIRST_GUESS: Final = 0.5  # Of a prompt whose beginning was read: half is the same.


class Warm(Struct):
    """One deployment's memory of one beginning.

    Of the last prompt's tokens, `share` is expected in the next one: all of them in a
    conversation's next turn, few where only the system prompt is shared.
    """

    place: int
    until: float
    prompt_tokens: int
    share: float = FIRST_GUESS


class Affinity:
    """The beginnings that were sent lately; the longest unused is forgotten first."""

    def __init__(self) -> None:
        self._warm: OrderedDict[int, list[Warm]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Affinity {len(self._warm)} prefixes>"

    def warm(self, prefix: int, now: float) -> dict[int, int]:
        """Expected cached tokens by place (a deployment's number)."""
        found = self._warm.get(prefix)
        if found is None:
            return {}
        return {
            warm.place: int(warm.share * warm.prompt_tokens)
            for warm in found
            if warm.until > now
        }

    def sent(
        self, prefix: int, place: int, prompt_tokens: int, cached: int, now: float
    ) -> None:
        """A prompt was read there; `cached` of its tokens came from the cache."""
        if not prefix:
            return
        entry = self._warm.get(prefix)
        if entry is None:
            entry = self._warm[prefix] = []
            if len(self._warm) > PREFIXES_MAX:
                self._warm.popitem(last=False)
        else:
            self._warm.move_to_end(prefix)
        for warm in entry:
            if warm.place == place:
                if warm.until > now:
                    seen = min(1.0, cached / max(1, warm.prompt_tokens))
                    warm.share += STEP * (seen - warm.share)
                warm.prompt_tokens = prompt_tokens
                warm.until = now + WARM_S
                return
        entry.append(Warm(place, now + WARM_S, prompt_tokens))
        if len(entry) > PLACES_MAX:
            entry.remove(min(entry, key=lambda warm: warm.until))
