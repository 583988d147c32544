"""Server-sent events: whatever the cut, the same frames; bounds are the only errors."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.sse import (
    HEARTBEAT,
    STRAYS_BYTES_MAX,
    Frame,
    SseDecoder,
    SseError,
    SseSplitter,
    comment,
    encode_data,
    encode_frame,
    parse_event,
    split_events,
)


def frames_of(*chunks: bytes) -> list[Frame]:
    decoder = SseDecoder()
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


# Bytes that look like the grammar, so that the interesting cases are common.
sse_like = st.lists(
    st.sampled_from(
        [
            b"data:",
            b"data: ",
            b"event: x",
            b"id: 7",
            b"id: \0",
            b"retry: 10",
            b": c",
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b"{}",
            b"\xef\xbb\xbf",
            "é😀\u2028".encode(),
            b"data",
            b" ",
            b":",
        ]
    ),
    max_size=40,
).map(b"".join)


def reference(data: bytes) -> list[Frame]:
    """The WHATWG algorithm word by word, one line at a time, on the whole body."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    frames: list[Frame] = []
    datas: list[bytes] = []
    event, last_id, retry = "", None, None
    for line in lines[:-1]:
        if line == b"":
            if datas:
                frames.append(Frame(b"\n".join(datas), event, last_id, retry))
            datas, event, last_id, retry = [], "", None, None
            continue
        name, colon, value = line.partition(b":")
        if colon and not name:
            continue
        value = value.removeprefix(b" ")
        if name == b"data":
            datas.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            last_id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            retry = int(value)
    return frames


@given(sse_like, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_what_the_standard_says(data: bytes, places: list[int]) -> None:
    assert frames_of(*cut(data, places)) == reference(data)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_garbage_never_raises(data: bytes, places: list[int]) -> None:
    assert frames_of(*cut(data, places)) == reference(data)


@given(sse_like)
def test_one_byte_at_a_time_is_the_same_as_all_at_once(data: bytes) -> None:
    assert frames_of(*(bytes([b]) for b in data)) == frames_of(data)


names = st.text(
    st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=8
)


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=40).filter(lambda b: b"\r" not in b), names, names
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 500), max_size=6),
)
def test_what_is_encoded_is_decoded(
    events: list[tuple[bytes, str, str]], places: list[int]
) -> None:
    """Also with heartbeats between the frames, which no client may see."""
    wire = b"".join(
        HEARTBEAT + encode_frame(data, event=event, id=id_)
        for data, event, id_ in events
    )
    got = [(f.data, f.event, f.id) for f in frames_of(*cut(wire, places))]
    assert got == events


def test_a_carriage_return_is_a_line_end_also_in_what_we_send() -> None:
    """A raw CR inside data would end the line and lose the rest of it."""
    assert encode_frame(b"a\rb\r\nc") == b"data: a\ndata: b\ndata: c\n\n"
    assert encode_data(b"{}") == b"data: {}\n\n"


def test_bom_is_dropped_once_and_only_at_the_start() -> None:
    bom = b"\xef\xbb\xbf"
    assert frames_of(bom[:1], bom[1:2], bom[2:] + b"data: a\n\n") == [Frame(b"a")]
    assert frames_of(bom + bom + b"data: a\n\n") == []


def test_crlf_cut_between_its_halves_is_one_line_end() -> None:
    assert frames_of(b"data: a\r", b"\n\r", b"\ndata: b\r\n\r", b"\n") == [
        Frame(b"a"),
        Frame(b"b"),
    ]


def test_a_lone_cr_ends_the_event_at_once() -> None:
    """Waiting for a possible LF would hold a finished delta back."""
    assert frames_of(b"data: a\r\r") == [Frame(b"a")]


def test_field_order_is_free_and_unknown_fields_are_ignored() -> None:
    assert frames_of(b"data: 1\nevent: e\nfoo: bar\nid: 3\nretry: 5\n\n") == [
        Frame(b"1", "e", "3", 5)
    ]


def test_retry_must_be_digits() -> None:
    assert frames_of(b"retry: 5x\ndata: 1\n\nretry: 99999999999\ndata: 2\n\n") == [
        Frame(b"1"),
        Frame(b"2"),
    ]


def test_a_comment_or_name_alone_dispatches_nothing() -> None:
    assert frames_of(b": ping\n\nevent: x\n\nid: 1\n\n") == []


def test_empty_data_is_dispatched() -> None:
    assert frames_of(b"data\n\ndata:\n\n") == [Frame(b""), Frame(b"")]


def test_unfinished_last_event_is_dropped_and_shown_as_tail() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n\ndata: [DONE]\n") == [Frame(b"a")]
    assert decoder.tail == b"data: [DONE]\n"


def test_bare_json_lines_are_strays_in_order() -> None:
    """Gemini's errors in mid-stream have no `data:`."""
    decoder = SseDecoder()
    decoder.feed(b'data: {}\n\n{\n  "error": {\n    "code": 503\n  }\n}\n\n')
    assert b"\n".join(decoder.strays) == (b'{\n  "error": {\n    "code": 503\n  }\n}')


def test_strays_are_bounded() -> None:
    decoder = SseDecoder()
    for _ in range(40):
        decoder.feed(b"x" * 4096 + b"\n\n")
    assert sum(map(len, decoder.strays)) <= STRAYS_BYTES_MAX


def test_heartbeat_between_frames_does_not_dispatch() -> None:
    assert HEARTBEAT.count(b"\n") == 1
    assert frames_of(encode_data(b"1"), HEARTBEAT, encode_data(b"2")) == [
        Frame(b"1"),
        Frame(b"2"),
    ]
    assert comment("open") == b": open\n"


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
@pytest.mark.parametrize(
    ("overlong", "why"),
    [
        (b"data: " + b"x" * 101 + b"\n\n", "a line is longer than 100"),
        (b"data: 123456789\n" * 20 + b"\n", "an event is longer than 250"),
        (b"y" * 400, "longer than"),
    ],
)
def test_a_bound_passed_is_an_error_after_the_good_frames(
    step: int, overlong: bytes, why: str
) -> None:
    """However it is cut: what was whole before is answered, nothing after."""
    decoder = SseDecoder(line_bytes_max=100, event_bytes_max=250)
    body = b"data: ok\n\n" + overlong + b"data: lost\n\n" * 40
    got: list[Frame] = []

    def feed_all() -> None:
        for at in range(0, len(body), step):
            got.extend(decoder.feed(body[at : at + step]))
        decoder.feed(b"\n\n")

    with pytest.raises(SseError, match=why):
        feed_all()
    assert got == [Frame(b"ok")]
    assert decoder.error is not None


def test_splitter_answers_whole_events_only() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert splitter.feed(b"\n") == b""
    assert splitter.feed(b"\ndata: 3\n\n") == b"data: 2\n\ndata: 3\n\n"
    assert splitter.tail == b""
    assert split_events(b"data: 2\n\ndata: 3\n\n") == [b"data: 2", b"data: 3"]


def test_a_large_event_in_small_pieces_is_joined_once() -> None:
    """Pieces are kept as they come: appending to one buffer would be quadratic."""
    rng = random.Random(7)
    body = b"data: " + b"z" * 300_000 + b"\n\n"
    decoder, frames, at = SseDecoder(), list[Frame](), 0
    while at < len(body):
        size = rng.randint(1, 900)
        frames += decoder.feed(body[at : at + size])
        at += size
    assert frames == [Frame(b"z" * 300_000)]


def test_parse_event_without_a_list_drops_strays() -> None:
    assert parse_event(b"{bare}\ndata: 1") == Frame(b"1")


def test_reprs_show_sizes_not_contents() -> None:
    decoder = SseDecoder()
    decoder.feed(b"data: secret prompt")
    assert "secret" not in repr(decoder)
