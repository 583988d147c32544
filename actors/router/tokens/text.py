"""Text into a token count: in bounded time and without an exception, whatever it is.

tiktoken is quick on prose and has two weak places that any client can reach: a run of
some 10,000 letters without a break costs more than its share (it no longer fits a
cache), and half a million blanks overflow the stack of its regular expressions. So text
is cut into pieces, at places where the encoding itself would cut: behind a letter or
number, in front of a blank, bracket or the like. The sum of the pieces is then the
count of the whole, exactly. Only a run without such a place is cut blindly, which adds
a token or two for each 8,192 characters.

Pure: an encoding is a function of its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Protocol

PIECE_CHARS_MAX: Final = 8192  # 1.5 ms for the slowest text found, 0.1 ms for prose.
SEARCHED_CHARS_MAX: Final = 512  # Prose and code have a place to cut every few words.
# Longer than any window at four characters a token (10M tokens, of one model).
TEXT_CHARS_MAX: Final = 4 * 2**20

# Both encodings end a run of letters or numbers here and begin anew.
_CUT: Final = re.compile(r"[^\W_](?=[ \n,.;:()\[\]{}\"\uff0c\u3002\u3001])")


class Encoder(Protocol):
    """The part of `tiktoken.Encoding` that is used."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Text into tokens, special ones not among them."""
        ...


def pieces(text: str, chars_max: int = PIECE_CHARS_MAX) -> Iterator[str]:
    """The text in pieces whose counts add up to its own."""
    size = len(text)
    start = 0
    while size - start > chars_max:
        end = start + chars_max
        cut = end
        searched = max(start, end - SEARCHED_CHARS_MAX)
        for found in _CUT.finditer(text, searched, end + 1):
            cut = found.end()
        yield text[start:cut]
        start = cut
    yield text[start:] if start else text


def count_piece(encoder: Encoder, piece: str) -> int:
    """The tokens of one piece; lone surrogates count as replacement characters."""
    return len(encoder.encode_ordinary(piece))


def count(encoder: Encoder, text: str) -> int:
    """The tokens of a text. Beyond `TEXT_CHARS_MAX` the rest is like what was read."""
    if len(text) <= PIECE_CHARS_MAX:
        return len(encoder.encode_ordinary(text))
    read = text[:TEXT_CHARS_MAX]
    tokens = sum(count_piece(encoder, piece) for piece in pieces(read))
    return tokens if len(read) == len(text) else -(-tokens * len(text) // len(read))
