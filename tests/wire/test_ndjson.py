"""Newline-delimited JSON: the same lines wherever the bytes are cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.ndjson import NdjsonDecoder, NdjsonError

LINES = st.lists(
    st.binary(min_size=1, max_size=30)
    .map(lambda raw: raw.replace(b"\n", b"").strip())
    .filter(bool),
    max_size=6,
)


def read(data: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    decoder = NdjsonDecoder()
    lines: list[bytes] = []
    while data:
        size = rng.randint(1, 7)
        lines.extend(decoder.feed(data[:size]))
        data = data[size:]
    last = decoder.close()
    return lines if last is None else [*lines, last]


@given(
    LINES,
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]),
    st.booleans(),
    st.integers(),
)
def test_lines_are_the_same_for_every_cut(
    lines: list[bytes], end: bytes, last_ended: bool, seed: int
) -> None:
    data = end.join(lines) + (end if last_ended else b"")

    assert read(data, seed) == lines


def test_a_line_over_its_bound_is_an_error_and_stays_one() -> None:
    decoder = NdjsonDecoder(line_bytes_max=8)

    lines = decoder.feed(b"short\n" + b"x" * 9)

    assert next(lines) == b"short"
    with pytest.raises(NdjsonError, match="over 8 bytes"):
        next(lines)
    with pytest.raises(NdjsonError):
        list(decoder.feed(b"fine\n"))
    with pytest.raises(NdjsonError):
        decoder.close()
    assert repr(decoder) == "<NdjsonDecoder failed buffered=0B>"


def test_a_line_at_its_bound_is_read() -> None:
    decoder = NdjsonDecoder(line_bytes_max=8)

    assert list(decoder.feed(b"12345678\n")) == [b"12345678"]
    assert decoder.close() is None


def test_an_iterator_left_behind_takes_nothing_from_the_next() -> None:
    decoder = NdjsonDecoder()
    left = decoder.feed(b"a\nb\nc\n")

    lines = [next(left), next(decoder.feed(b"d")), next(left)]

    assert lines == [b"a", b"b", b"c"]
    assert decoder.close() == b"d"
