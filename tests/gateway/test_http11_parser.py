"""The parser alone: no socket, no clock; hypothesis chooses bytes and cuts."""

from dataclasses import dataclass
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http11_parser import (
    PREFACE,
    READ_BYTES_MAX,
    Http11Limits,
    RequestParser,
)

LIMITS = Http11Limits()


@dataclass
class Read:
    """What a parser made of some bytes."""

    requests: list[tuple[str, bytes, list[tuple[bytes, bytes]], bytes, bool]]
    refusal: tuple[int, str] | None
    upgrade: str
    rest: bytes


def read(pieces: list[bytes], limits: Http11Limits = LIMITS) -> Read:
    parser = RequestParser(limits)
    kept = []
    rest = b""
    for at, piece in enumerate(pieces):
        if parser.refusal is not None or parser.upgrade:
            rest = b"".join(pieces[at:])
            break
        if piece:
            parser.feed(piece)
        while parser.requests:
            kept.append(parser.requests.popleft())
    refusal = parser.refusal and (parser.refusal.status, parser.refusal.code)
    requests = [
        (r.method, r.target, r.headers, b"".join(r.body), r.complete) for r in kept
    ]
    return Read(requests, refusal, parser.upgrade, parser.rest + rest)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({p % (len(data) + 1) for p in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(
    lambda name: b"x-" + name.encode()
)
values = st.text([chr(c) for c in range(0x21, 0x7F)], min_size=1, max_size=30).map(
    str.encode
)
paths = st.text("abcXYZ019/._-~%20", max_size=30).map(lambda p: b"/" + p.encode())
fields = st.lists(st.tuples(tokens, values), max_size=8)


@st.composite
def wire_requests(draw: st.DrawFn) -> tuple[bytes, tuple[object, ...]]:
    """A well-formed request as bytes, and what it means."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]))
    target, extra = draw(paths), draw(fields)
    body = draw(st.binary(max_size=200))
    head = [f"{method} ".encode() + target + b" HTTP/1.1", b"Host: test"]
    head += [b"%b: %b" % field for field in extra]
    names = [(b"host", b"test"), *((n, v) for n, v in extra)]
    if draw(st.booleans()):
        head.append(b"Content-Length: %d" % len(body))
        names.append((b"content-length", b"%d" % len(body)))
        payload = body
    else:
        head.append(b"Transfer-Encoding: chunked")
        names.append((b"transfer-encoding", b"chunked"))
        payload = b""
        for piece in cut(body, draw(st.lists(st.integers(0, 200), max_size=4))):
            if piece:
                payload += b"%x;e=1\r\n%b\r\n" % (len(piece), piece)
        payload += b"0\r\nX-Trailer: t\r\n\r\n"
    data = b"\r\n".join(head) + b"\r\n\r\n" + payload
    return data, (method, target, names, body, True)


@given(st.lists(wire_requests(), min_size=1, max_size=4), st.lists(st.integers(0)))
def test_requests_mean_the_same_however_the_network_cuts_them(
    sent: list[tuple[bytes, tuple[object, ...]]], places: list[int]
) -> None:
    data = b"".join(wire for wire, _ in sent)
    seen = read(cut(data, places))

    assert seen.refusal is None
    assert seen.requests == [meaning for _, meaning in sent]


@given(wire_requests())
def test_h11_reads_the_same_request_from_what_we_accept(
    sent: tuple[bytes, tuple[object, ...]],
) -> None:
    """Two parsers that differ are how requests are smuggled."""
    data, (method, target, _, body, _) = sent
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(data)
    request = parser.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method.decode(), request.target) == (method, target)
    theirs = b""
    while isinstance(event := parser.next_event(), h11.Data):
        theirs += bytes(event.data)
    assert theirs == body


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_no_bytes_make_it_raise(data: bytes, places: list[int]) -> None:
    read(cut(data, places))


@given(
    wire_requests(),
    st.integers(0, 10_000),
    st.sampled_from([b"\0", b"\n", b"\r", b" ", b":", b";", b"\xff", b"G", b"0"]),
    st.booleans(),
    st.lists(st.integers(0, 600), max_size=5),
)
def test_a_damaged_request_never_raises_and_cuts_change_nothing(
    sent: tuple[bytes, tuple[object, ...]],
    place: int,
    damage: bytes,
    replaces: bool,
    places: list[int],
) -> None:
    data = sent[0]
    at = place % len(data)
    data = data[:at] + damage + data[at + replaces :]
    whole, pieces = read([data]), read(cut(data, places))

    assert (pieces.refusal is None) == (whole.refusal is None)
    assert [r[:3] for r in pieces.requests] == [r[:3] for r in whole.requests]
    if whole.refusal is not None:
        assert 400 <= whole.refusal[0] < 506
        assert whole.refusal[0] != 500


@pytest.mark.parametrize("over", [0, 1])
def test_each_limit_lets_its_last_value_pass(over: int) -> None:
    limits = Http11Limits(
        target_bytes_max=10, headers_max=3, body_bytes_max=5, head_bytes_max=1_000
    )
    host = b" HTTP/1.1\r\nHost: t\r\n"
    cases = {
        414: b"GET /" + b"a" * (9 + over) + host + b"\r\n",
        431: b"GET /" + host + b"X: a\r\n" * (2 + over) + b"\r\n",
        413: b"POST /" + host + b"Content-Length: %d\r\n\r\n" % (5 + over) + b"x" * 6,
    }
    for status, data in cases.items():
        refusal = read([data[: len(data) - 1 + over]], limits).refusal
        assert (refusal[0] if refusal else None) == (status if over else None)


def test_a_head_that_never_ends_is_refused_within_a_read_of_its_limit() -> None:
    parser = RequestParser(Http11Limits(head_bytes_max=20_000))
    parser.feed(b"GET / HTTP/1.1\r\nHost: t\r\nX: ")
    fed = 0
    while parser.refusal is None:
        parser.feed(b"a" * 1_000)
        fed += 1_000
    assert parser.refusal.status == 431
    assert fed <= 20_000 + READ_BYTES_MAX + 1_000


def test_blank_lines_for_ever_are_refused() -> None:
    """The parser below skips them before a request line and would skip for ever."""
    parser = RequestParser(Http11Limits(head_bytes_max=20_000))
    while parser.refusal is None:
        parser.feed(b"\r\n" * 1_000)
    assert parser.refusal.status == 414


def test_one_byte_chunks_are_an_honest_way_to_send_a_body() -> None:
    pieces = [b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"]
    pieces += [b"1\r\nx\r\n"] * 50_000
    assert read([*pieces, b"0\r\n\r\n"]).refusal is None


def test_refusals_never_quote_the_request() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(
        b"GET / HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer sk-se\0cret\r\n\r\n"
    )
    assert parser.refusal is not None
    assert "sk-se" not in str(parser.refusal) + repr(parser)


WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nhost: t\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_an_upgrade_is_handed_over_as_it_was_decided() -> None:
    """One `Connection` field, which leaves nothing to decide again."""
    get = b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"
    seen = read([get + WEBSOCKET.replace(b"Upgrade\r", b"Upgrade, close\r")])

    assert len(seen.requests) == 1
    assert seen.upgrade == "websocket"
    assert seen.rest.endswith(b"\r\nconnection: upgrade\r\n\r\n")
    assert seen.rest.lower().count(b"connection:") == 1


@pytest.mark.parametrize(
    "request_",
    [
        WEBSOCKET.replace(b"GET", b"POST"),
        WEBSOCKET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(
            b"Upgrade\r", b"Upgrade, keep-alive\r"
        ),
        WEBSOCKET.replace(b"upgrade: websocket", b"upgrade: h2c"),  # No settings.
        WEBSOCKET.replace(b"connection: Upgrade\r\n", b""),
        WEBSOCKET[:-2] + b"content-length: 2\r\n\r\nhi",
    ],
)
def test_an_upgrade_that_is_none_is_an_ordinary_request(request_: bytes) -> None:
    seen = read([request_ + WEBSOCKET])

    assert [complete for *_, complete in seen.requests] == [True]
    assert seen.upgrade == "websocket"  # The next one; the first was answered here.


@given(st.lists(st.integers(0, 60), max_size=8))
def test_the_preface_survives_any_cuts(places: list[int]) -> None:
    seen = read(cut(PREFACE + b"frames", places))
    assert (seen.upgrade, seen.rest) == ("h2", PREFACE + b"frames")


def test_limits_that_cannot_hold_a_tls_record_are_an_error() -> None:
    with pytest.raises(ValueError, match="unsent_bytes_max=100 is less than"):
        Http11Limits(unsent_bytes_max=100)
