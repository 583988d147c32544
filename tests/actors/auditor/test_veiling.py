"""No entry of the log names a person, whoever made it and in whichever field."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.auditor.entries import read
from actors.auditor.log import AuditLog
from actors.auditor.messages import AuditEvent
from actors.auditor.notes import Signer
from actors.auditor.privacy import EPOCH_DAYS, epoch_of
from actors.auditor.veiling import KINDS, PersonVeil
from tests.actors.auditor.test_privacy import MemoryPeppers
from tests.support_canary import forms

ROOT = Path(__file__).parents[3]
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
FIELDS = ("actor", "tenant", "env", "provider", "name", "req")
MAIL = r"[a-z0-9][a-z0-9._%+-]{1,20}[a-z]@[a-z]{2,9}\.example"
PEOPLE = st.one_of(
    st.from_regex(MAIL, fullmatch=True),
    st.ip_addresses(v=4).filter(lambda one: not one.is_loopback and int(one)).map(str),
    st.ip_addresses(v=6, network="2001:db8::/32").map(str),
)  # fmt: skip


def veil(peppers: MemoryPeppers | None = None) -> PersonVeil:
    return PersonVeil(peppers or MemoryPeppers(), "home", b"b" * 32)


def leaf_of(
    event: AuditEvent, how: PersonVeil | None = None, at: int = NOW_MS
) -> bytes:
    log = AuditLog.new(Signer.of("log.example", b"s" * 32), "boot")
    log.veil = how or veil()
    log.add(event, at)
    return log.pending[0]


@given(
    st.sampled_from(FIELDS),
    PEOPLE,
    st.sampled_from(["{}", "sites.{} changed", "gpt-4/{}", "from {} (again)", "{},x"]),
)
def test_no_field_of_an_entry_keeps_an_address(
    field: str, person: str, around: str
) -> None:
    event = replace(AuditEvent("any.act"), **{field: around.format(person)})
    leaf = leaf_of(event)
    assert not [name for name, one in forms(person.encode()).items() if one in leaf]


@given(st.text(st.characters(categories=("L", "N")), min_size=3, max_size=40))
def test_who_acts_is_a_hash_whatever_they_are_called(name: str) -> None:
    entry = read(leaf_of(AuditEvent("person.invite", actor=f"user:{name}")))
    assert str(entry["actor"]).startswith(f"user:e{epoch_of(NOW_MS)}:")
    assert name not in str(entry["actor"]).removeprefix("user:e")[8:] or len(name) < 6


@pytest.mark.parametrize("kind", KINDS)
def test_details_that_are_a_persons_are_hashed_whatever_they_hold(kind: str) -> None:
    leaf = leaf_of(AuditEvent("x.y", detail=((kind, "ann-from-acme"), ("count", 3))))
    assert b"ann-from-acme" not in leaf
    assert read(leaf)["count"] == 3


def test_machines_models_and_places_keep_their_names() -> None:
    for text in (
        "site:acme", "token:ci", "client:acme:prod:k1", "operator:control",
        "claude-3-5-sonnet@20240620", "gpt-4.1-mini", "sha256:9c41", "127.0.0.1:8080",
        "e229:9c41aa00bb11cc22dd33ee44ff556677", "v1.2.3.4.5", "::1", "12:30:45",
    ):  # fmt: skip
        event = AuditEvent("x.y", actor=text, name=text, detail=(("d", text),))
        assert veil()(event, NOW_MS) is event, text


def test_one_person_has_one_name_in_an_epoch_and_another_in_the_next() -> None:
    how = veil()
    ann = how.actor("user:Ann@acme.example", NOW_MS)
    again = how.actor("user:ann@ACME.example", NOW_MS)
    assert ann == again != how.actor("user:bob@acme.example", NOW_MS)
    later = NOW_MS + EPOCH_DAYS * DAY_MS
    assert how.actor("user:ann@acme.example", later) != ann
    epoch = epoch_of(NOW_MS)
    assert how.names_of("ann@acme.example", (epoch,)) == (ann,)


def test_without_a_pepper_a_person_has_a_name_of_this_life_alone() -> None:
    peppers = MemoryPeppers()
    peppers.shred("home")
    one, same = veil(peppers), veil(peppers)
    other = PersonVeil(peppers, "home", b"o" * 32)
    name = one.actor("user:ann", NOW_MS)
    assert name.startswith("user:boot:")
    assert name == same.actor("user:ann", NOW_MS) != other.actor("user:ann", NOW_MS)
    assert one.names_of("ann", range(epoch_of(NOW_MS) + 1)) == ()
    assert "home" not in repr(one)


def test_every_entry_goes_through_the_log_that_veils_it() -> None:
    """Nobody else makes leaves: then what holds here holds for every kind of entry."""
    makers = [
        path.relative_to(ROOT).as_posix()
        for package in ("actors", "gateway", "storage")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == "leaf"
        and isinstance(node.value, ast.Name)
        and node.value.id == "entries"
    ]
    assert makers == ["actors/auditor/log.py"]
