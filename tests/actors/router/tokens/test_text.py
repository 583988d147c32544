"""Texts into tokens: exact where it can be, bounded always, never an exception."""

import base64
import gzip
import random
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public

from actors.router.tokens import ranks, text
from actors.router.tokens.ranks import ENCODINGS, EncodingName, encoding

O200K = encoding("o200k_base")


class Counted:
    """An encoder that remembers the longest text that it was given."""

    def __init__(self) -> None:
        self.longest = 0

    def encode_ordinary(self, text: str) -> list[int]:
        self.longest = max(self.longest, len(text))
        return O200K.encode_ordinary(text)


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        # As tiktoken's own encodings of these names give them.
        ("o200k_base", "Hello, world!", [13225, 11, 2375, 0]),
        ("cl100k_base", "Hello, world!", [9906, 11, 1917, 0]),
        ("o200k_base", "  it's 2026\n\n", [220, 4275, 220, 1323, 21, 279]),
        ("cl100k_base", "tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
    ],
)
def test_encodings_are_those_of_openai(
    name: EncodingName, words: str, expected: list[int]
) -> None:
    assert encoding(name).encode_ordinary(words) == expected


def oracle(name: EncodingName) -> tiktoken.Encoding:
    """OpenAI's own code over the same ranks, with the patterns that it has today."""
    packed = Path(ranks.__file__).with_name("data") / f"{name}.tiktoken.gz"
    found: dict[bytes, int] = {}
    for line in gzip.decompress(packed.read_bytes()).splitlines():
        token, _, rank = line.partition(b" ")
        found[base64.b64decode(token)] = int(rank)
    patterns: dict[str, str] = {}
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: found)
        patterns[name] = getattr(openai_public, name)()["pat_str"]
    return tiktoken.Encoding(
        name, pat_str=patterns[name], mergeable_ranks=found, special_tokens={}
    )


ORACLES = {name: oracle(name) for name in ENCODINGS}
SCRIPTS = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \t\n\r'sdmtlvre.,;:!?-_/()[]{}\"<|>0123456789\u00a0\u2028"),
        st.characters(codec="utf-8"),
    ),
    max_size=120,
)


@pytest.mark.parametrize("name", ENCODINGS)
@given(words=SCRIPTS)
@settings(max_examples=400)
def test_any_text_has_the_tokens_that_tiktoken_gives(
    name: EncodingName, words: str
) -> None:
    expected = ORACLES[name].encode_ordinary(words)

    assert encoding(name).encode_ordinary(words) == expected


def test_a_vocabulary_is_loaded_with_the_first_text_and_not_before() -> None:
    fresh = ranks.Encoding("o200k_base")

    assert "not loaded" in repr(fresh)
    assert fresh.encode_ordinary("Hello, world!") == [13225, 11, 2375, 0]
    assert "not loaded" not in repr(fresh)


def test_words_of_prompts_are_not_kept_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranks, "CALLS_BETWEEN_LOOKS", 4)
    monkeypatch.setattr(ranks, "WORDS_KEPT_MAX", 50)
    fresh = ranks.Encoding("o200k_base")
    for number in range(40):
        fresh.encode_ordinary(" ".join(f"word{number}x{n}" for n in range(20)))

    assert fresh.load().cache_len < 500


NASTY = {
    "nothing": "",
    "a special token": "<|endoftext|><|im_start|>system",
    "a lone surrogate": "a\ud800b",
    "emoji": "\U0001f469\u200d\U0001f4bb" * 3000,
    "Chinese": "\u6a21\u578b\u7f51\u5173" * 5000,
    "one letter": "a" * 30_000,
    "blanks": " " * 30_000,
    "line ends": "\n" * 30_000,
    "marks": "\u0301" * 20_000,
    "zeros": "\0" * 20_000,
    "base64": base64.b64encode(random.Random(1).randbytes(20_000)).decode(),
}


@pytest.mark.parametrize("name", NASTY)
def test_no_text_is_too_much(name: str) -> None:
    """Special tokens are text, surrogates are replaced, long runs are cut."""
    counted = Counted()
    tokens = text.count(counted, NASTY[name])
    assert tokens <= len(NASTY[name].encode("utf-8", "surrogatepass")) + 8
    assert counted.longest <= text.PIECE_CHARS_MAX


def test_a_million_blanks_are_counted() -> None:
    """In one piece they overflow the stack of tiktoken's regular expressions."""
    assert text.count(O200K, " " * 1_000_000) > 1000


def test_text_beyond_any_window_is_extrapolated() -> None:
    counted = Counted()
    words = "word " * (text.TEXT_CHARS_MAX // 5 + 1000)
    short = text.count(counted, words[: text.TEXT_CHARS_MAX])
    assert short < text.count(counted, words) < short * 1.01


WORDS = st.text(
    alphabet=st.sampled_from(
        "abcXYZ '\u00e9\u0301\u4e2d\u3002\uff0c0123456789\u00b2.,;:!?()[]{}\"\n\t/_-"
        "\U0001f600\u0928\u094d"
    ),
    max_size=400,
)


@pytest.mark.parametrize("name", ENCODINGS)
@settings(max_examples=300)
@given(WORDS)
def test_pieces_count_as_the_whole(name: EncodingName, words: str) -> None:
    """Cut where the encoding would cut, nothing is counted twice or torn apart."""
    encoder = encoding(name)
    found = list(text.pieces(words, 40))
    assert "".join(found) == words
    if all(text._CUT.search(piece[-1:] + nxt[:1]) for piece, nxt in _pairs(found)):
        whole = len(encoder.encode_ordinary(words))
        assert sum(len(encoder.encode_ordinary(piece)) for piece in found) == whole


def test_prose_is_counted_exactly_at_any_length() -> None:
    prose = "The stream owns the request, and asks actors (whose handlers never wait). "
    words = (prose * 400)[:25_000]
    assert text.count(O200K, words) == len(O200K.encode_ordinary(words))


PROSE = "The stream owns the request, and asks actors (whose handlers never wait). "
THAI = "สวัสดีครับ วันนี้อากาศดีมาก เราจะไปเที่ยวทะเลกัน "
CODE = "for (let i = 0; i < items.length; i++) { total += items[i].price_usd; }\n"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "texts",
    [
        [PROSE * 900],
        [CODE * 900],
        [PROSE * 600, THAI * 200],
        [PROSE * 300 + THAI * 40 + PROSE * 300],
        [PROSE] * 500,
        ["", "a", CODE * 400, " ", THAI * 400, "b"],
        ["x" * 60_000],
    ],
)
def test_a_sampled_text_has_no_more_tokens_than_its_bound(
    texts: list[str], seed: int
) -> None:
    """Whatever a prompt is made of; a mixture of two languages has a wider bound."""
    true = sum(text.count(O200K, one) for one in texts)
    likely, error = text.sampled(O200K, texts, random.Random(seed))
    assert true <= likely * (1 + error)
    assert likely <= true * (1 + error) + text.SAMPLES


def test_sampling_reads_a_bounded_share_of_any_text() -> None:
    read = 0

    class Reads:
        def encode_ordinary(self, text: str) -> list[int]:
            nonlocal read
            read += len(text)
            return O200K.encode_ordinary(text)

    text.sampled(Reads(), [PROSE * 50_000], random.Random(1))
    longest = text.SAMPLE_CHARS + text.BLANK_SEARCHED_CHARS
    assert read <= text.SAMPLES * longest


def _pairs(found: list[str]) -> list[tuple[str, str]]:
    return list(pairwise(found))
