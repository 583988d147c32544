"""What was counted before is not counted again, and never wrongly."""

from random import Random

from actors.router.tokens.memo import Memo
from actors.router.tokens.ranks import encoding
from actors.router.tokens.text import PIECE_CHARS_MAX

O200K = encoding("o200k_base")
PROSE = "The quick brown fox jumps over the lazy dog. "


class Counting:
    """An encoder that knows how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def encode_ordinary(self, text: str) -> list[int]:
        """As the encoding."""
        self.calls += 1
        return O200K.encode_ordinary(text)


def test_a_text_that_comes_again_is_not_counted_again() -> None:
    encoder = Counting()
    memo = Memo(encoder)
    once = memo.count(PROSE)
    assert memo.count(PROSE) == once == len(O200K.encode_ordinary(PROSE))
    assert encoder.calls == 1


def test_of_a_text_that_grows_only_the_end_is_counted() -> None:
    encoder = Counting()
    memo = Memo(encoder)
    long = PROSE * (3 * PIECE_CHARS_MAX // len(PROSE))
    memo.count(long)
    before = encoder.calls
    grown = memo.count(long + PROSE)
    assert encoder.calls == before + 1
    assert grown == len(O200K.encode_ordinary(long + PROSE))


def test_it_is_bounded_and_keeps_what_is_asked_for_again() -> None:
    encoder = Counting()
    memo = Memo(encoder, entries_max=8)
    for number in range(100):
        memo.count("the system prompt")
        memo.count(f"question {number}")
    assert encoder.calls == 101
    assert repr(memo) in {f"<Memo new={n} old=8>" for n in range(9)}


def test_no_text_is_kept() -> None:
    memo = Memo(O200K)
    memo.count("a secret")
    held = [getattr(memo, name) for name in ("_new", "_old")]
    assert all(isinstance(key, int) for known in held for key in known)


def test_the_same_long_text_is_estimated_once() -> None:
    encoder = Counting()
    memo = Memo(encoder)
    long = PROSE * 1000
    first = memo.sampled((long,), Random(1))
    asked = encoder.calls
    assert memo.sampled((long,), Random(2)) == first
    assert encoder.calls == asked
