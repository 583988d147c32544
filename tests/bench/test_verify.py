"""The checks must notice what a gateway can get wrong; blind, they prove nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lib import shape
from bench.lib.verify import AnswerCheck, AnswerError, DeltaCheck, EndWatch, Reply

DELTAS = 12


def events(tag: str = "s1", deltas: int = DELTAS) -> list[bytes]:
    """The server-sent events of one stream, without HTTP around them."""
    whole = shape.STREAM_HEAD, shape.opening(tag)
    parts = [*whole, *(shape.delta(tag, number, 5) for number in range(deltas))]
    reply = Reply()
    body = reply.body_of(b"".join([*parts, shape.ending(tag, deltas)]))
    assert body is not None
    return [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]


def judge(pieces: list[bytes], now_ns: int = 10) -> DeltaCheck:
    check = DeltaCheck("s1", DELTAS)
    for piece in pieces:
        check.feed(piece, now_ns)
    check.finish()
    return check


@given(st.lists(st.integers(min_value=1, max_value=400), min_size=1))
def test_a_whole_stream_is_right_however_its_bytes_are_cut(sizes: list[int]) -> None:
    body = b"".join(events())
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    check = judge([*pieces, body])
    assert check.next == DELTAS
    assert list(check.delays_ns) == [5] * DELTAS


@given(st.integers(min_value=1, max_value=DELTAS))
def test_a_lost_delta_is_noticed(lost: int) -> None:
    stream = events()
    del stream[lost]  # 0 is the role, which carries no content
    with pytest.raises(AnswerError, match=r"lost before|deltas of 12"):
        judge(stream)


@given(st.integers(min_value=1, max_value=DELTAS))
def test_a_doubled_delta_is_noticed(doubled: int) -> None:
    stream = events()
    stream.insert(doubled, stream[doubled])
    with pytest.raises(AnswerError, match="doubled or late"):
        judge(stream)


def test_swapped_deltas_are_noticed() -> None:
    stream = events()
    stream[3], stream[4] = stream[4], stream[3]
    with pytest.raises(AnswerError, match="delta 3 where 2 was due"):
        judge(stream)


def test_a_delta_of_another_stream_is_noticed() -> None:
    stream = events()
    stream[3] = events("s2")[3]
    with pytest.raises(AnswerError, match="in the stream s1"):
        judge(stream)


def test_a_stream_that_stops_is_noticed() -> None:
    with pytest.raises(AnswerError, match="0 finish reasons"):
        judge(events()[: DELTAS + 1])


def test_a_missing_done_is_noticed() -> None:
    with pytest.raises(AnswerError, match="DONE"):
        judge(events()[:-1])


def test_heartbeats_and_other_spaces_are_no_fault() -> None:
    spaced = [re.sub(rb'"content":"', b'"content": "', event) for event in events()]
    assert judge([b": keep-alive\n\n", *spaced]).next == DELTAS


def test_an_answer_of_another_connection_is_noticed() -> None:
    body = Reply().body_of(shape.answer("c2"))
    assert body is not None
    with pytest.raises(AnswerError, match="pong c2"):
        AnswerCheck("c1").check(200, body)


def test_an_error_page_is_no_answer() -> None:
    reply = Reply()
    body = reply.body_of(shape.error(429, "slow down"))
    assert body is not None
    with pytest.raises(AnswerError, match=r"status 429: .*slow down"):
        AnswerCheck("c1").check(reply.status, body)


@given(st.integers(min_value=1, max_value=200), st.booleans())
def test_a_reply_is_the_same_however_it_arrives(size: int, chunked: bool) -> None:
    whole = shape.answer("c1")
    body = whole.partition(b"\r\n\r\n")[2]
    if chunked:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        whole = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    reply = Reply()
    for _ in range(2):  # keep-alive: the next one starts clean
        found = None
        for start in range(0, len(whole), size):
            assert found is None
            found = reply.body_of(whole[start : start + size])
        assert found == body
        assert reply.status == 200


@given(st.integers(min_value=1, max_value=200), st.booleans())
def test_the_end_is_seen_at_the_last_byte_and_not_before(
    size: int, chunked: bool
) -> None:
    whole = shape.burst("b", 3) if chunked else shape.answer("c1")
    end = EndWatch()
    seen = [
        end.reached(whole[start : start + size]) for start in range(0, len(whole), size)
    ]
    assert seen == [False] * (len(seen) - 1) + [True]


def test_a_closed_connection_is_an_end() -> None:
    assert EndWatch().reached(b"")
