"""W3C Trace Context: what is valid is carried on, the rest is as if not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.trace_context import STATE_CHARS_MAX, Trace, child_of, parent_of, parse

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01".encode()


def parent(*values: bytes) -> object:
    return parent_of([(b"traceparent", value) for value in values])


def test_a_parent_is_read_with_its_state() -> None:
    found = parent_of(
        [
            (b"host", b"x"),
            (b"tracestate", b"congo=t61rcWkgMzE"),
            (b"traceparent", VALID),
            (b"tracestate", b""),
            (b"tracestate", b"rojo=00f067aa0ba902b7"),
        ]
    )
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, True)
    assert found.state == "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{TRACE[:-1]}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-1".encode(),
        f"00-{TRACE}-{SPAN}-0x".encode(),
        VALID + b"-extra",
        VALID + b"extra",
        f"01-{TRACE}-{SPAN}-01extra".encode(),
        b"\xff" * 55,
        f"01-{TRACE}-{SPAN}-01-".encode() + b"x" * 1000,
    ],
)
def test_what_is_not_valid_is_as_if_it_were_not_there(value: bytes) -> None:
    assert parent(value) is None


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    assert parent(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings".encode()) is not None


def test_two_parents_are_none() -> None:
    assert parent(VALID, VALID) is None


def test_only_the_sampled_bit_of_the_flags_counts() -> None:
    for flags, sampled in (("00", False), ("02", False), ("03", True), ("ff", True)):
        found = parent_of([(b"traceparent", f"00-{TRACE}-{SPAN}-{flags}".encode())])
        assert found is not None
        assert found.sampled is sampled


@pytest.mark.parametrize(
    "state", [b"a=" + b"x" * STATE_CHARS_MAX, b"a=\x00", b"a=\xe9"]
)
def test_a_state_that_cannot_be_carried_on_is_left_out(state: bytes) -> None:
    found = parent_of([(b"traceparent", VALID), (b"tracestate", state)])
    assert found is not None
    assert found.state == ""


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_raise(one: bytes, two: bytes) -> None:
    parent_of([(b"traceparent", one), (b"tracestate", two)])


@given(
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.integers(1, 2**40),
)
def test_what_goes_out_is_what_the_next_one_reads(
    trace_id: int, span_id: int, sampled: bool, place: int
) -> None:
    trace = Trace(f"{trace_id:032x}", f"{span_id:016x}", sampled=sampled, state="a=b")
    child = trace.child(place)
    found = parent_of(trace.fields(child))
    assert found is not None
    assert (found.trace_id, found.span_id) == (trace.trace_id, child)
    assert (found.sampled, found.state) == (sampled, "a=b")
    again = parse(trace.text)
    assert (again.trace_id, again.span_id) == (trace.trace_id, trace.span_id)
    assert again.sampled is sampled


def test_no_child_is_zero_and_no_two_are_the_same() -> None:
    last = f"{2**64 - 2:016x}"
    found = [child_of(last, place) for place in range(1, 5)]
    assert "0" * 16 not in found
    assert len(set(found)) == 4


def test_nothing_goes_to_providers_who_are_not_to_know() -> None:
    assert Trace(TRACE, SPAN, outward=False).fields(SPAN) == ()
