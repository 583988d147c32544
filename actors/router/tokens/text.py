"""Text into a token count: in bounded time and without an exception, whatever it is.

A tokenizer is quick on prose and has a weak place that any client can reach: a run of
some 10,000 letters without a break costs more than its share. So text is cut into
pieces, at places where the encoding itself would cut: behind a letter or number, in
front of a blank, bracket or the like. The sum of the pieces is then the
count of the whole, exactly. Only a run without such a place is cut blindly, which adds
a token or two for each 8,192 characters.

Where a count would only be an estimate, a long text is sampled: see `sampled`.

Pure: an encoding is a function of its text, and chance is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import sqrt
from random import Random
from typing import Final, Protocol

PIECE_CHARS_MAX: Final = 8192  # 1.5 ms for the slowest text found, 0.1 ms for prose.
SEARCHED_CHARS_MAX: Final = 512  # Prose and code have a place to cut every few words.
# Longer than any window at four characters a token (10M tokens, of one model).
TEXT_CHARS_MAX: Final = 4 * 2**20

# Sampling reads 8,192 characters, as much as one piece: half a millisecond of prose.
# Many and short: an island of dear text, a tenth of the whole, is missed once in 900.
SAMPLES: Final = 64
SAMPLE_CHARS: Final = 128
SAMPLED_CHARS_MIN: Final = 2 * SAMPLES * SAMPLE_CHARS  # Below, it would spare little.
BLANK_SEARCHED_CHARS: Final = 16  # A word's length: samples begin and end with words.
SAMPLED_DEVIATIONS: Final = 4.0  # Of the mean's: what the bound allows for.
SAMPLED_ERROR_MIN: Final = 0.05

# Both encodings end a run of letters or numbers here and begin anew.
_CUT: Final = re.compile(r"[^\W_](?=[ \n,.;:()\[\]{}\"\uff0c\u3002\u3001])")


class Encoder(Protocol):
    """The part of an encoding that is used."""

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
    """The tokens of a text."""
    return total(partial(count_piece, encoder), text)


def total(count_of: Callable[[str], int], text: str) -> int:
    """The sum of a text's pieces. Beyond `TEXT_CHARS_MAX` the rest is like the read."""
    read = text[:TEXT_CHARS_MAX]
    tokens = sum(map(count_of, pieces(read)))
    return tokens if len(read) == len(text) else -(-tokens * len(text) // len(read))


def sampled(encoder: Encoder, texts: Sequence[str], rng: Random) -> tuple[int, float]:
    """The likely tokens of long texts, and how much more there may be (a share).

    One sample at a random place of each of as many equal stretches: whoever writes a
    prompt cannot know which part of it is looked at. What the samples differ by is in
    the error, so a text of two languages has a wider bound than plain prose.
    """
    size = sum(map(len, texts))
    stretch = size / SAMPLES
    places = [min(int((i + rng.random()) * stretch), size - 1) for i in range(SAMPLES)]
    rates: list[float] = []
    before = 0
    following = iter(places)
    place = next(following)
    for one in texts:
        end = before + len(one)
        while place < end:
            piece = _sample(one, place - before)
            rates.append(count_piece(encoder, piece) / len(piece))
            place = next(following, size)
        before = end
    mean = sum(rates) / SAMPLES
    squares = sum((rate - mean) ** 2 for rate in rates)
    deviation = sqrt(squares / (SAMPLES - 1) / SAMPLES)
    error = SAMPLED_DEVIATIONS * deviation / mean
    return round(mean * size), max(SAMPLED_ERROR_MIN, error)


def _sample(text: str, place: int) -> str:
    """Some text from about here on; the end of a text is read from further ahead."""
    place = max(0, min(place, len(text) - SAMPLE_CHARS))
    start = text.find(" ", place, place + BLANK_SEARCHED_CHARS)
    end = place + SAMPLE_CHARS
    stop = text.find(" ", end, end + BLANK_SEARCHED_CHARS)
    return text[max(start, place) : end if stop < 0 else stop]
