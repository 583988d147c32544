"""The strict reader of responses: every way to cut, break and stretch one."""

import gc
import itertools
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.provider import response_parser
from actors.provider.response_parser import BadResponse, ResponseParser

H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"


def parsed(*reads: bytes, head_only: bool = False) -> tuple[ResponseParser, bytes]:
    parser = ResponseParser(head_only=head_only)
    body = b""
    for data in reads:
        parser.feed(data)
        body += parser.take()
    return parser, body


COMPLETE = {
    "a length": (H + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "an empty body": (H + b"Content-Length: 0\r\n\r\n", b""),
    "chunks": (CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", b"hello"),
    "chunk extensions": (CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "not modified": (b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", b""),
    "an interim response before": (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 7\r\n\r\n"
        + H
        + b"Content-Length: 5\r\n\r\nhello",
        b"hello",
    ),
    "1.0 kept alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
    ),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_response_ends_by_itself(name: str) -> None:
    """Whatever its framing, its connection can be used again."""
    data, body = COMPLETE[name]

    parser, got = parsed(data)

    assert got == body
    assert parser.reusable


@given(name=st.sampled_from(sorted(COMPLETE)), cuts=st.lists(st.integers(1, 200)))
def test_it_does_not_matter_how_the_network_cuts_a_response(
    name: str, cuts: list[int]
) -> None:
    """Reads end anywhere, inside CRLF and chunk sizes too."""
    data, body = COMPLETE[name]
    edges = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    reads = [data[a:b] for a, b in itertools.pairwise(edges)]

    parser, got = parsed(*reads)

    whole, _ = parsed(data)
    assert (got, parser.status, parser.headers) == (body, whole.status, whole.headers)
    assert parser.reusable


@given(name=st.sampled_from(sorted(COMPLETE)), data=st.data())
def test_a_cut_response_is_never_taken_for_a_whole_one(
    name: str, data: st.DataObject
) -> None:
    """A close before the declared end is an error, wherever it comes."""
    whole, _ = COMPLETE[name]
    cut = data.draw(st.integers(0, len(whole) - 1))
    parser, _ = parsed(*([whole[:cut]] if cut else []))

    with pytest.raises(BadResponse, match="the peer closed"):
        parser.feed_eof()


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_a_response_or_a_refusal(data: bytes) -> None:
    """Garbage raises one class, which quotes nothing of it."""
    parser = ResponseParser()
    refusal = ""
    try:
        parser.feed(data)
        parser.feed(data)
    except BadResponse as error:
        refusal = str(error)

    assert len(refusal) < 120


MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "leading line ends": b"\r\n" + H + b"\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "a short status": b"HTTP/1.1 99 No\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nx: y\n\n",
    "folded fields": H + b"x: y\r\n z\r\n\r\n",
    "a blank in a name": H + b"x : y\r\n\r\n",
    "NUL in a value": H + b"x: a\0b\r\n\r\n",
    "two lengths": H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a signed length": H + b"Content-Length: +2\r\n\r\n{}",
    "length and chunks": H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and length": H + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
    "another coding": H + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": H + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": H + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",
    "chunks in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a bare 101": b"HTTP/1.1 101 Switching\r\n\r\n",
    "a chunk size of 2^68": CHUNKED + b"ffffffffffffffffff\r\n",
    "no chunk size": CHUNKED + b"zz\r\n",
    "no end of chunk": CHUNKED + b"1\r\nabc",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused(name: str) -> None:
    """Strictness here is what keeps two parsers from disagreeing."""
    with pytest.raises(BadResponse):
        parsed(MALFORMED[name])


def test_a_body_may_end_with_the_connection() -> None:
    """Neither length nor chunks: all until the close, which ends the connection."""
    parser, body = parsed(H + b"\r\n", b"all ", b"of it")
    parser.feed_eof()

    assert body == b"all of it"
    assert parser.complete
    assert not parser.reusable


def test_a_response_to_head_has_no_body() -> None:
    """It declares one that never comes; the connection is not used again."""
    parser, body = parsed(H + b"Content-Length: 5\r\n\r\n", head_only=True)

    assert parser.complete
    assert body == b""
    assert not parser.reusable


def test_connection_close_is_heeded() -> None:
    parser, _ = parsed(H + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}")

    assert parser.complete
    assert not parser.reusable


@pytest.mark.parametrize(
    "surplus",
    [H + b"Content-Length: 4\r\n\r\nevil", b"garbage", b"\0"],
    ids=["a second response", "text", "NUL"],
)
@pytest.mark.parametrize("later", [False, True], ids=["same read", "later read"])
def test_bytes_after_the_end_poison_the_connection_only(
    surplus: bytes, *, later: bool
) -> None:
    """A second response nobody asked for must not answer the next request."""
    first = H + b"Content-Length: 2\r\n\r\n{}"
    reads = [first, surplus] if later else [first + surplus]

    parser, body = parsed(*reads)

    assert body == b"{}"
    assert parser.complete
    assert not parser.reusable


def test_the_head_is_bounded() -> None:
    """In bytes, whether as one endless field or as many, and in fields."""
    endless = b"x: " + b"y" * response_parser.HEAD_BYTES_MAX
    with pytest.raises(BadResponse, match="bytes"):
        parsed(H, endless, b"y")
    many = b"".join(b"x-%d: %b\r\n" % (n, b"y" * 1000) for n in range(70))
    with pytest.raises(BadResponse, match="larger than"):
        parsed(H + many)
    short = b"".join(b"x: y\r\n" for _ in range(response_parser.HEADERS_MAX + 2))
    with pytest.raises(BadResponse, match="fields"):
        parsed(H + short)


def test_trailers_are_dropped_and_bounded() -> None:
    """They are no place to hide an endless response in, nor a header."""
    parser, _ = parsed(CHUNKED + b"1\r\na\r\n0\r\nset-cookie: x\r\n\r\n")
    assert [name for name, _ in parser.headers] == [b"Transfer-Encoding"]

    parser, _ = parsed(CHUNKED + b"1\r\na\r\n0\r\n")
    for _ in range(64):
        parser.feed(b"x: " + b"y" * 1000 + b"\r\n")
    with pytest.raises(BadResponse):
        parser.feed((b"x: " + b"y" * 1000 + b"\r\n") * 6)


def test_interim_responses_are_bounded() -> None:
    with pytest.raises(BadResponse, match="interim"):
        parsed(b"HTTP/1.1 100 Continue\r\n\r\n" * (response_parser.INTERIM_MAX + 1))


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    parser, _ = parsed(H + b"X:  a\t \r\nContent-Length: 0\r\n\r\n")

    assert parser.headers[0] == (b"X", b"a")


def test_a_finished_parser_leaves_no_cycle() -> None:
    """Thousands a second would otherwise wait for the collector."""

    class Weak(ResponseParser):
        pass

    gc.disable()
    try:
        parser = Weak()
        parser.feed(H + b"Content-Length: 2\r\n\r\n{}")
        gone = weakref.ref(parser)
        del parser
        assert gone() is None
    finally:
        gc.enable()
