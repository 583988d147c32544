"""Keys as texts: what they look like, what can be told of them, when they end."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from actors.directory.messages import SECRET_PREFIX, KeyFacts, KeyTerms, NewKey
from actors.directory.policy import (
    digest,
    ends_ms,
    id_of,
    is_live,
    is_secret,
    may_ask,
    new_id,
    new_secret,
)

IDS = st.binary(min_size=8, max_size=8).map(new_id)
CHANCE = st.binary(min_size=32, max_size=32)
TIMES = st.integers(0, 2**50)


@given(key_id=IDS, chance=CHANCE)
def test_a_secret_has_one_form_and_names_its_key(key_id: str, chance: bytes) -> None:
    secret = new_secret(key_id, chance)

    assert re.fullmatch(r"sk-stagedoor-[0-9A-Za-z]{57}", secret)
    assert is_secret(secret)
    for text in (secret, key_id, f"shop:{key_id}", f"{SECRET_PREFIX}{key_id}"):
        assert id_of(text) == key_id


@given(key_id=IDS, one=CHANCE, other=CHANCE)
def test_no_two_chances_make_one_secret(key_id: str, one: bytes, other: bytes) -> None:
    """All 256 bits are in it."""
    same = new_secret(key_id, one) == new_secret(key_id, other)

    assert same == (one == other)
    assert math.log2(62) * 43 >= 256


@given(key_id=IDS, chance=CHANCE, at=st.integers(0, 69), sign=st.sampled_from("aZ5-"))
def test_a_mistyped_key_is_no_key(
    key_id: str, chance: bytes, at: int, sign: str
) -> None:
    """So that a scanner of leaks reports no look-alike."""
    secret = new_secret(key_id, chance)
    mistyped = secret[:at] + sign + secret[at + 1 :]

    assert is_secret(mistyped) == (mistyped == secret)


@given(text=st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert not is_secret(text)
    assert len(id_of(text)) <= 8
    assert len(digest(text.encode("ascii", "replace").decode())) == 32


@given(expires_ms=st.none() | TIMES, now_ms=TIMES, overlap_s=st.integers(0, 10**6))
def test_a_rotation_lengthens_no_life(
    expires_ms: int | None, now_ms: int, overlap_s: int
) -> None:
    end_ms = ends_ms(expires_ms, now_ms, overlap_s)

    assert end_ms <= now_ms + overlap_s * 1000
    assert expires_ms is None or end_ms <= expires_ms
    if not is_live(expires_ms, now_ms):
        assert not is_live(end_ms, now_ms)
    if overlap_s == 0:
        assert not is_live(end_ms, now_ms)


NAMES = st.sampled_from(["gpt-5", "gpt-4", "claude", "fast"])
PATTERNS = st.lists(st.sampled_from(["*", "gpt-*", "gpt-4", "claude", "f?st", "x"]))


@given(allowed=PATTERNS, denied=PATTERNS, asked=NAMES, name=NAMES)
def test_a_denial_goes_before_everything(
    allowed: list[str], denied: list[str], asked: str, name: str
) -> None:
    terms = KeyTerms(models=tuple(allowed), models_denied=tuple(denied))

    if may_ask(terms, (asked, name)):
        without = KeyTerms(models_denied=tuple(denied))
        assert may_ask(without, (asked,))
        assert may_ask(without, (name,))
    assert not may_ask(KeyTerms(models=("*",), models_denied=("*",)), (asked,))
    assert may_ask(KeyTerms(), (asked, name))


def test_a_new_key_shows_its_secret_to_nobody_but_its_reader() -> None:
    facts = KeyFacts("4fTq9zKm", "shop", KeyTerms(), (), None, 1, 0, "ops", 0, "ops")
    made = NewKey(facts, "sk-stagedoor-4fTq9zKmcanary")

    assert repr(made) == "<NewKey shop:4fTq9zKm>"
    assert made.facts.prefix == "sk-stagedoor-4fTq9zKm"
