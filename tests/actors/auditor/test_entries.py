"""Leaves: one form, bounded, nothing but short texts and integers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.auditor.entries import (
    DETAILS_MAX,
    FIELD_CHARS_MAX,
    BadEvent,
    check,
    leaf,
    nonces,
    read,
)
from actors.auditor.messages import AuditEvent
from actors.auditor.tiles import ENTRY_BYTES_MAX

TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=FIELD_CHARS_MAX)
NUMBER = st.integers(-(2**53) + 1, 2**53 - 1)


def test_a_leaf_is_sorted_json_without_empty_fields() -> None:
    event = AuditEvent("key.grant", actor="site:acme", tenant="acme", env="prod")

    assert leaf(event, seq=7, ts_ms=1_800_000_000_000, boot="9f") == (
        b'{"act":"key.grant","actor":"site:acme","boot":"9f","env":"prod",'
        b'"out":"ok","seq":7,"tenant":"acme","ts":1800000000000,"v":1}'
    )


@given(
    TEXT,
    TEXT,
    st.dictionaries(st.text("abcdefg", min_size=3, max_size=9), TEXT | NUMBER),
)
def test_a_checked_event_fits_and_reads_back(
    actor: str, name: str, detail: dict[str, str | int]
) -> None:
    taken = tuple(sorted(detail.items()))[:DETAILS_MAX]
    event = AuditEvent("a.b", actor=actor, name=name, detail=taken)
    check(event)
    data = leaf(event, seq=0, ts_ms=0, boot="b", count=3)

    assert len(data) <= ENTRY_BYTES_MAX
    fields = read(data)
    assert fields == json.loads(data)
    assert fields.get("actor", "") == actor
    assert fields["n"] == 3


def test_the_largest_event_fits_a_leaf() -> None:
    """Every field at its bound, in characters that take the most bytes."""
    wide = "\U0001f511" * FIELD_CHARS_MAX
    fields: dict[str, Any] = dict.fromkeys(
        ("actor", "out", "tenant", "env", "provider", "name", "lease", "req", "nonce"),
        wide,
    )
    detail = tuple((f"{number:02d}{wide[:-2]}", wide) for number in range(DETAILS_MAX))
    event = AuditEvent("a.b", ver=1, detail=detail, **fields)
    check(event)

    data = leaf(event, seq=2**53, ts_ms=2**53, boot="b")
    assert len(data) <= ENTRY_BYTES_MAX


@pytest.mark.parametrize(
    "event",
    [
        AuditEvent(""),
        AuditEvent("Key.Grant"),
        AuditEvent("a b"),
        AuditEvent("a", name="x" * (FIELD_CHARS_MAX + 1)),
        AuditEvent("a", actor="two\nlines"),
        AuditEvent("a", ver=-1),
        AuditEvent("a", detail=(("seq", 1),)),
        AuditEvent("a", detail=(("", 1),)),
        AuditEvent("a", detail=(("big", 2**53),)),
        AuditEvent("a", detail=(("x", "\x00"),)),
        AuditEvent("a", detail=(("x", 1.5),)),  # type: ignore[arg-type]
        AuditEvent("a", detail=(("x", True),)),
        AuditEvent("a", detail=tuple((f"k{n}", n) for n in range(DETAILS_MAX + 1))),
    ],
)
def test_an_event_without_a_place_is_refused_and_not_quoted(event: AuditEvent) -> None:
    with pytest.raises(BadEvent) as refused:
        check(event)
    assert "x" * 20 not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"v":1,"seq":0}',
        b'{"v":1,"seq":0,"ts":0}',
        b'{"seq":0,"ts":0,"v":1} ',
        b'{"seq":0.5,"ts":0,"v":1}',
        b'{"a":{"b":1},"seq":0,"ts":0,"v":1}',
        b'{"seq":"0","ts":0,"v":1}',
    ],
)
def test_another_form_is_no_entry(data: bytes) -> None:
    with pytest.raises(ValueError, match="an entry"):
        read(data)


def test_nonces_come_back_from_the_tail() -> None:
    """A restart must know which signed requests were used."""
    leaves = [
        leaf(AuditEvent("a", nonce="old"), seq=0, ts_ms=10, boot="b"),
        leaf(AuditEvent("a"), seq=1, ts_ms=60, boot="b"),
        leaf(AuditEvent("a", nonce="new"), seq=2, ts_ms=70, boot="b"),
    ]

    assert nonces(leaves, since_ms=50) == [("new", 70)]
