"""The AWS event-stream codec: strict, whole frames only, the same for every cut."""

import random
import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from wire.eventstream import (
    FRAME_BYTES_MAX,
    HEADERS_BYTES_MAX,
    EventStreamDecoder,
    EventStreamError,
    Frame,
    Header,
    encode,
    event,
    exception,
)

RECORDED = sorted(
    (Path(__file__).parent.parent / "recordings").glob("bedrock*/*/response.bin")
)


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


NAMES = st.text(min_size=1, max_size=20)
VALUES = st.one_of(
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.just("byte"), signed(8)),
    st.tuples(st.just("short"), signed(16)),
    st.tuples(st.just("int"), signed(32)),
    st.tuples(st.just("long"), signed(64)),
    st.tuples(st.just("bytes"), st.binary(max_size=40)),
    st.tuples(st.just("string"), st.text(max_size=40)),
    st.tuples(st.just("timestamp_ms"), signed(64)),
    st.tuples(st.just("uuid"), st.uuids()),
)
FRAMES = st.builds(
    lambda headers, payload: Frame(
        tuple(Header(name, kind, value) for name, (kind, value) in headers.items()),
        payload,
    ),
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.binary(max_size=200),
)
STREAMS = st.lists(FRAMES, max_size=4)


def encode_all(frames: list[Frame]) -> bytes:
    return b"".join(encode(frame.headers, frame.payload) for frame in frames)


def cut(data: bytes, seed: int, step_max: int = 9) -> list[bytes]:
    rng = random.Random(seed)
    pieces: list[bytes] = []
    while data:
        size = rng.randint(1, step_max)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def read(pieces: list[bytes]) -> tuple[list[Frame], str | None]:
    """All frames, and the error that ended them if one did."""
    decoder = EventStreamDecoder()
    frames: list[Frame] = []
    try:
        for piece in pieces:
            frames.extend(decoder.feed(piece))
        decoder.close()
    except EventStreamError as error:
        return frames, str(error)
    return frames, None


def botocore_read(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@given(STREAMS, st.integers(0, 2**32))
def test_what_is_encoded_is_read_back_wherever_it_is_cut(
    frames: list[Frame], seed: int
) -> None:
    data = encode_all(frames)

    assert read(cut(data, seed)) == (frames, None)
    assert read([data]) == (frames, None)


@given(STREAMS)
def test_botocore_reads_what_we_encode(frames: list[Frame]) -> None:
    read_by_them = botocore_read(encode_all(frames))

    expected = [
        (
            {
                h.name: h.value.bytes if isinstance(h.value, uuid.UUID) else h.value
                for h in frame.headers
            },
            frame.payload,
        )
        for frame in frames
    ]
    assert read_by_them == expected


@given(STREAMS, st.integers(0), st.integers(1, 255), st.integers(0, 2**32))
def test_a_damaged_byte_is_an_error_and_frames_before_it_are_whole(
    frames: list[Frame], place: int, flip: int, seed: int
) -> None:
    """CRC-32 finds every burst of up to 32 bits, so one byte is always found."""
    data = bytearray(encode_all(frames))
    if not data:
        return
    place %= len(data)
    data[place] ^= flip
    sound, end = 0, 0
    for frame in frames:
        end += len(encode(frame.headers, frame.payload))
        if end > place:
            break
        sound += 1

    got, error = read(cut(bytes(data), seed, step_max=50))

    assert got == frames[:sound]
    assert error is not None


@given(STREAMS, st.integers(0))
def test_a_stream_cut_inside_a_frame_is_an_error(
    frames: list[Frame], place: int
) -> None:
    data = encode_all(frames)
    ends = {0}
    for frame in frames:
        ends.add(max(ends) + len(encode(frame.headers, frame.payload)))
    place %= len(data) + 1

    _, error = read([data[:place]])

    assert (error is None) == (place in ends)


@given(st.lists(st.binary(max_size=64)))
def test_garbage_raises_nothing_but_the_codecs_own_error(pieces: list[bytes]) -> None:
    read(pieces)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.parent.name))
def test_recorded_streams_read_as_botocore_reads_them(path: Path) -> None:
    data = path.read_bytes()

    frames, error = read(cut(data, seed=len(data), step_max=300))

    assert error is None
    assert [
        ({h.name: h.value for h in frame.headers}, frame.payload) for frame in frames
    ] == botocore_read(data)
    assert encode_all(frames) == data  # AWS's bytes, not only their meaning


def test_the_recordings_are_there() -> None:
    assert len(RECORDED) >= 20


def with_checksums(total: int, headers: int, rest: bytes) -> bytes:
    lengths = struct.pack("!II", total, headers)
    body = lengths + struct.pack("!I", crc32(lengths)) + rest
    return body + struct.pack("!I", crc32(body))


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (with_checksums(FRAME_BYTES_MAX + 1, 0, b""), "bytes is over"),
        (with_checksums(2**32 - 1, 0, b""), "bytes is over"),
        (with_checksums(200_000, HEADERS_BYTES_MAX + 1, b""), "headers of"),
        (with_checksums(16, 1, b""), "cannot hold its headers"),
        (with_checksums(15, 0, b""), "cannot hold its headers"),
        (with_checksums(0, 0, b""), "cannot hold its headers"),
        (with_checksums(18, 2, b"\x00\x00"), "empty name"),
        (with_checksums(19, 3, b"\x01a\x0a"), "type 10 is unknown"),
        (with_checksums(18, 2, b"\x01a"), "runs past the end"),
        (with_checksums(21, 5, b"\x01a\x07\x00\x01"), "runs past the end"),
        (with_checksums(21, 5, b"\x01a\x04\x00\x01"), "runs past the end"),
        (with_checksums(21, 5, b"\x01a\x09\x00\x01"), "runs past the end"),
        (with_checksums(19, 3, b"\x01\xff\x00"), "not UTF-8"),
        (with_checksums(22, 6, b"\x01a\x00\x01a\x01"), "occurs twice"),
    ],
)
def test_a_frame_with_right_checksums_and_a_wrong_inside_is_refused(
    data: bytes, flaw: str
) -> None:
    _, error = read([data])

    assert error is not None
    assert flaw in error


def test_a_lying_length_is_refused_before_its_bytes_are_awaited() -> None:
    prelude = struct.pack("!III", FRAME_BYTES_MAX, 0, 0)

    _, error = read([prelude])

    assert error is not None
    assert "prelude" in error


def test_a_failed_decoder_stays_failed() -> None:
    """Bytes after a flaw could be aligned by chance; none of them is believed."""
    decoder = EventStreamDecoder()
    with pytest.raises(EventStreamError):
        list(decoder.feed(bytes(12)))

    for again in (
        lambda: list(decoder.feed(event("chunk", b"{}"))),
        decoder.close,
    ):
        call: Callable[[], object] = again
        with pytest.raises(EventStreamError, match="prelude"):
            call()
    assert repr(decoder) == "<EventStreamDecoder failed frames=0 buffered=0B>"


def test_frames_left_in_the_iterator_come_with_the_next_feed() -> None:
    decoder = EventStreamDecoder()
    data = event("a", b"1") + event("b", b"2")

    first = next(decoder.feed(data))
    rest = list(decoder.feed(event("c", b"3")))

    assert [f.text(":event-type") for f in (first, *rest)] == ["a", "b", "c"]


def test_an_iterator_left_behind_takes_nothing_from_the_next() -> None:
    decoder = EventStreamDecoder()
    left = decoder.feed(event("a", b"1") + event("b", b"2") + event("c", b"3"))
    first = next(left)

    second = next(decoder.feed(event("d", b"4")))
    third = next(left)
    rest = list(decoder.feed(b""))
    decoder.close()

    kinds = [frame.text(":event-type") for frame in (first, second, third, *rest)]
    assert kinds == ["a", "b", "c", "d"]


def test_a_smaller_cap_can_be_set() -> None:
    decoder = EventStreamDecoder(frame_bytes_max=64)

    with pytest.raises(EventStreamError, match="over 64"):
        list(decoder.feed(event("chunk", bytes(100))))


def test_exception_frames_carry_their_name() -> None:
    (frame,), _ = read([exception("throttlingException", b'{"message":"slow"}')])

    assert frame.text(":message-type") == "exception"
    assert frame.text(":exception-type") == "throttlingException"
    assert frame.text("absent") is None
    assert "slow" not in repr(frame)


@pytest.mark.parametrize(
    "header",
    [
        Header("", "bool", value=True),
        Header("n" * 256, "bool", value=True),
        Header("n", "byte", 128),
        Header("n", "int", value=True),
        Header("n", "string", b"bytes"),
        Header("n", "string", "x" * 40_000),
        Header("n", "uuid", "not a uuid"),
    ],
)
def test_what_does_not_fit_is_not_encoded(header: Header) -> None:
    with pytest.raises(ValueError, match="header"):
        encode([header], b"")


def test_a_frame_over_the_cap_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="caps"):
        encode([], bytes(FRAME_BYTES_MAX))
