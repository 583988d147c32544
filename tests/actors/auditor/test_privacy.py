"""People as keyed hashes that end with their key."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.auditor.privacy import (
    EPOCH_DAYS,
    PEPPER_BYTES,
    Kind,
    epoch_of,
    expired,
    normalised,
    pseudonym,
)

DAY_MS = 86_400_000


class MemoryPeppers:
    """One secret a tenant and epoch, until it is shredded."""

    def __init__(self) -> None:
        self.gone: set[tuple[str, int | None]] = set()

    def pepper(self, tenant: str, epoch: int) -> bytes | None:
        if {(tenant, epoch), (tenant, None)} & self.gone:
            return None
        return f"{tenant}/{epoch}".encode().ljust(PEPPER_BYTES, b".")

    def shred(self, tenant: str, epoch: int | None = None) -> None:
        self.gone.add((tenant, epoch))


PEPPERS = MemoryPeppers()


def test_the_hash_is_the_one_that_is_documented() -> None:
    """Anybody with the pepper can check a person, with any HMAC at hand."""
    pepper = PEPPERS.pepper("acme", 0)
    assert pepper is not None
    message = b"\0\0\0\x05email\0\0\0\x0dann@acme.test"
    digest = hmac.digest(pepper, message, "sha256")

    name = pseudonym(PEPPERS, "acme", "email", " Ann@ACME.test ", 5)
    assert name == f"e0:{digest[:16].hex()}"


@given(st.text(), st.sampled_from(["user", "email", "ip"]), st.integers(0, 2**42))
def test_a_pseudonym_is_short_and_says_nothing(
    value: str, kind: Kind, time_ms: int
) -> None:
    name = pseudonym(PEPPERS, "acme", kind, value, time_ms)
    epoch, _, digest = name.partition(":")

    assert epoch == f"e{epoch_of(time_ms)}"
    assert len(bytes.fromhex(digest)) == 16


def test_tenants_epochs_and_kinds_cannot_be_joined() -> None:
    names = {
        pseudonym(PEPPERS, tenant, kind, "10.0.0.1", time_ms)
        for tenant in ("acme", "other")
        for kind in ("user", "email", "ip")
        for time_ms in (0, EPOCH_DAYS * DAY_MS)
    }

    assert len(names) == 12


def test_after_shredding_nobody_is_named() -> None:
    peppers = MemoryPeppers()
    before = pseudonym(peppers, "acme", "user", "u1", 0)
    peppers.shred("acme", 0)

    assert pseudonym(peppers, "acme", "user", "u1", 0) == "e0:shredded" != before
    later = pseudonym(peppers, "acme", "user", "u1", EPOCH_DAYS * DAY_MS)
    assert later.startswith("e1:")
    peppers.shred("acme")
    assert pseudonym(peppers, "acme", "user", "u1", EPOCH_DAYS * DAY_MS) == (
        "e1:shredded"
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("192.0.2.77", b"192.0.2.0/24"),
        ("::ffff:192.0.2.77", b"192.0.2.0/24"),
        ("2001:db8:1:2::3", b"2001:db8:1::/48"),
        ("fe80::1%eth0", b"fe80::/48"),
        ("not an address", b"unreadable"),
    ],
)
def test_addresses_are_shortened_first(given: str, kept: bytes) -> None:
    assert normalised("ip", given) == kept


def test_an_epoch_is_ninety_days_and_expires() -> None:
    assert epoch_of(EPOCH_DAYS * DAY_MS - 1) == 0
    assert epoch_of(EPOCH_DAYS * DAY_MS) == 1
    assert not expired(0, EPOCH_DAYS * DAY_MS, keep_epochs=1)
    assert expired(0, 2 * EPOCH_DAYS * DAY_MS, keep_epochs=1)
