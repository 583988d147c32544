"""Both ends of a measurement must read the same directive."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lib import shape
from bench.lib.upstream import Incoming

tags = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
directives = st.one_of(
    st.builds(shape.Directive, tags),
    st.builds(
        shape.Directive,
        tags,
        st.just(True),
        st.integers(0, shape.DELTAS_MAX),
        st.integers(0, 999_999_999),
    ),
)


@given(directives)
def test_a_directive_survives_a_gateway_that_writes_the_json_anew(
    directive: shape.Directive,
) -> None:
    body = directive.body()
    written_anew = msgspec.json.format(body, indent=2)
    assert shape.directive_of(body) == directive
    assert shape.directive_of(written_anew) == directive


def test_more_deltas_than_the_mock_makes_are_refused() -> None:
    body = shape.Directive("t", stream=True, deltas=shape.DELTAS_MAX + 1).body()
    with pytest.raises(shape.DirectiveError, match="is the most"):
        shape.directive_of(body)


@given(directives, st.integers(min_value=1, max_value=600))
def test_a_request_is_read_whole_however_it_arrives(
    directive: shape.Directive, size: int
) -> None:
    whole = shape.request(directive, host="127.0.0.1:1", key="k")
    incoming = Incoming()
    found: list[tuple[bytes, bytes, bytes]] = []
    for start in range(0, len(whole), size):
        found += incoming.feed(whole[start : start + size])
    assert found == [(b"POST", shape.PATH.encode(), directive.body())]


def test_a_chunked_request_is_read_too() -> None:
    body = shape.Directive("t").body()
    head = b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    whole = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert Incoming().feed(whole) == [(b"POST", b"/v1/chat/completions", body)]
