"""The counts of texts that were seen lately: a conversation is sent again each turn.

Counting is the dearest thing done to a prompt: 15 us for a sentence, a millisecond for
64 KiB. System prompts, tools and all turns but the last are the same as in the request
before, so most texts are found here. No text is kept: an entry is a text's hash, by
Python's own keyed one (SipHash, its key drawn at the start of the process), and its
count. Two texts with one hash would take 2**32 texts to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from actors.router.tokens import text

# Two generations of that many: 5 MB when full, the messages of a thousand long chats.
ENTRIES_MAX: Final = 16_384
SAMPLED_MAX: Final = 1_024  # Estimates of long texts: 0.1 MB.


class Memo:
    """One encoding's counts. Threads may share it: each step is one of a dict's."""

    __slots__ = ("_encoder", "_entries_max", "_new", "_old", "_sampled")

    def __init__(
        self, encoder: text.Encoder, *, entries_max: int = ENTRIES_MAX
    ) -> None:
        self._encoder = encoder
        self._entries_max = entries_max
        self._new: dict[int, int] = {}
        # What was new before: what nobody asks for again goes with it.
        self._old: dict[int, int] = {}
        self._sampled: dict[int, tuple[int, float]] = {}

    def __repr__(self) -> str:
        """How much is known."""
        return f"<Memo new={len(self._new)} old={len(self._old)}>"

    def piece(self, piece: str) -> int:
        """The tokens of a text that is short enough to be counted in one go."""
        key = hash(piece)
        known = self._new.get(key)
        if known is not None:
            return known
        known = self._old.get(key)
        if known is None:
            known = text.count_piece(self._encoder, piece)
        if len(self._new) >= self._entries_max:
            self._old, self._new = self._new, {}
        self._new[key] = known
        return known

    def sampled(self, texts: Sequence[str], rng: Random) -> tuple[int, float]:
        """As `text.sampled`, once for the same texts."""
        key = hash(tuple(texts))
        known = self._sampled.get(key)
        if known is None:
            known = text.sampled(self._encoder, texts, rng)
            if len(self._sampled) >= SAMPLED_MAX:
                self._sampled.clear()
            self._sampled[key] = known
        return known

    def knows(self, whole: str) -> bool:
        """Whether a text that is one piece was counted lately."""
        key = hash(whole)
        return key in self._new or key in self._old

    def count(self, whole: str) -> int:
        """The tokens of a text."""
        if len(whole) <= text.PIECE_CHARS_MAX:
            return self.piece(whole)
        return text.total(self.piece, whole)
