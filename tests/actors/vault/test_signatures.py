"""Signed requests: the RFC's answer, and what an attacker would try."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.vault.signatures import (
    LIFETIME_S,
    SKEW_S,
    BadSignature,
    Claims,
    MemoryNonces,
    Ratchet,
    SignedHeaders,
    SignedRequest,
    content_digest,
    sign,
    signature_base,
    verify,
)
from storage.vault_nonces import NonceFiles

KEY = b"a made-up key of 32 random bytes"
NOW = 1_800_000_000
AUTHORITIES = frozenset({"gw.example:8443"})
REQUEST = SignedRequest(
    "POST", "gw.example:8443", "/admin/v1/vault/secrets", "", "acme", "prod", b"{}"
)


def signed(request: SignedRequest = REQUEST, now_s: float = NOW) -> SignedHeaders:
    return sign(request, key=KEY, key_id="ops", now_s=now_s, nonce=bytes(range(16)))


def check(
    request: SignedRequest = REQUEST,
    headers: SignedHeaders | None = None,
    key: bytes | None = KEY,
    now_s: float = NOW,
) -> Claims:
    return verify(
        request,
        headers or signed(),
        key=key,
        authorities=AUTHORITIES,
        now_s=now_s,
    )


def test_the_base_and_mac_are_those_of_rfc_9421_b_2_5() -> None:
    """HTTP Message Signatures, appendix B.2.5, with its test-shared-secret."""
    key = base64.b64decode(
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasj"
        "lTMtDQ=="
    )
    base = signature_base(
        [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
        ],
        '("date" "@authority" "content-type");created=1618884473'
        ';keyid="test-shared-secret"',
    )
    mac = base64.b64encode(hmac.digest(key, base, "sha256"))
    assert mac == b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_the_digest_is_that_of_rfc_9530() -> None:
    """Appendix B of Digest Fields: {"hello": "world"} and its line end."""
    assert (
        content_digest(b'{"hello": "world"}\n')
        == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    )


def test_a_good_request_is_admitted() -> None:
    claims = check()
    assert (claims.key_id, claims.created_s, claims.expires_s) == (
        "ops",
        NOW,
        NOW + LIFETIME_S,
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"method": "DELETE"}, "not that of a known key"),
        ({"path": "/admin/v1/vault/shred"}, "not that of a known key"),
        ({"query": "force=1"}, "not that of a known key"),
        ({"tenant": "other"}, "not that of a known key"),
        ({"environment": "dev"}, "not that of a known key"),
        ({"authority": "gw2.example"}, "not that of a known key"),
        ({"body": b'{"x":1}'}, "not the one that was signed"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_signature_is_of_one_request(change: dict[str, object], why: str) -> None:
    with pytest.raises(BadSignature, match=why):
        check(attrs.evolve(REQUEST, **change))  # type: ignore[arg-type]


def test_another_replicas_request_is_refused_here() -> None:
    """Properly signed, for another name."""
    theirs = attrs.evolve(REQUEST, authority="gw2.example")
    with pytest.raises(BadSignature, match="another server"):
        check(theirs, signed(theirs))


def test_unknown_and_wrong_keys_are_told_the_same() -> None:
    texts = set()
    for key in (None, b"another key"):
        with pytest.raises(BadSignature) as caught:
            check(key=key)
        texts.add(str(caught.value))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("late_s", "fits"),
    [
        (-SKEW_S - 1, False),
        (-SKEW_S, True),
        (LIFETIME_S, True),
        (LIFETIME_S + 1, False),
    ],
)
def test_a_request_lives_a_minute(late_s: int, fits: bool) -> None:
    if fits:
        assert check(now_s=NOW + late_s)
    else:
        with pytest.raises(BadSignature):
            check(now_s=NOW + late_s)


def replaced(old: str, new: str) -> SignedHeaders:
    headers = signed()
    assert old in headers.signature_input
    return attrs.evolve(
        headers, signature_input=headers.signature_input.replace(old, new)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"@query" ', ""),
        ('"@method" "@authority"', '"@authority" "@method"'),
        ('"gw-env")', '"gw-env" "date")'),
        ('"gw-env")', '"gw-env";sf)'),
        ("gw=(", "sig1=("),
        ("gw=(", "a=(), gw=("),
        ("gwv1", "gwv2"),
        ("hmac-sha256", "ed25519"),
        (";tag=", "; tag="),
        (f"expires={NOW + 60}", f"expires={NOW + 6000}"),
        (f"created={NOW}", f"created=0{NOW}"),
        (f"created={NOW}", f"created=+{NOW}"),
    ],
)
def test_only_the_profile_itself_is_read(old: str, new: str) -> None:
    with pytest.raises(BadSignature):
        check(headers=replaced(old, new))


@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_noise_is_refused(one: str, two: str, three: str) -> None:
    with pytest.raises(BadSignature):
        check(headers=SignedHeaders(one, two, three))


def test_a_line_break_makes_no_second_component() -> None:
    request = attrs.evolve(REQUEST, path='/a\n"@query": ?x')
    with pytest.raises(BadSignature, match="line break"):
        sign(request, key=KEY, key_id="ops", now_s=NOW, nonce=bytes(16))


class Clock:
    def __init__(self, now_s: float = NOW) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def claimed(nonces: MemoryNonces, clock: Clock, created_s: float, name: str) -> bool:
    del clock
    return nonces.claim_now(name, created_s, created_s + LIFETIME_S)


def test_a_nonce_serves_once_for_as_long_as_its_request_lives() -> None:
    """Every second of its life, whatever the generations do meanwhile."""
    for start in range(100, 100 + 200, 7):
        clock = Clock()
        nonces = MemoryNonces(clock)
        clock.now_s = NOW + start
        created = clock.now_s + SKEW_S  # The fastest clock: it lives longest.
        assert claimed(nonces, clock, created, "n")
        for _ in range(SKEW_S + LIFETIME_S + 1):
            assert not claimed(nonces, clock, created, "n")
            clock.now_s += 1


def test_a_full_store_refuses_and_never_forgets() -> None:
    clock = Clock()
    nonces = MemoryNonces(clock, nonces_max=3)
    clock.now_s += 100
    taken = [claimed(nonces, clock, clock.now_s, f"n{i}") for i in range(5)]
    assert taken == [True, True, True, False, False]
    assert not claimed(nonces, clock, clock.now_s, "n0")


def test_after_a_restart_nothing_that_an_earlier_life_took_is_taken_again() -> None:
    """A fast client's used request can bear a time after the restart."""
    clock = Clock()
    first = MemoryNonces(clock)
    clock.now_s += 1000
    created = clock.now_s + SKEW_S
    assert claimed(first, clock, created, "n")
    second = MemoryNonces(clock)
    for _ in range(LIFETIME_S + SKEW_S):
        assert not claimed(second, clock, created, "n")
        clock.now_s += 1
    assert claimed(second, clock, clock.now_s, "m")


def test_a_clock_that_is_set_back_revives_nothing() -> None:
    wall = Clock()
    ratchet = Ratchet(wall)
    assert ratchet() == NOW
    wall.now_s -= 4000
    assert ratchet() == NOW
    with pytest.raises(BadSignature, match="expired"):
        check(headers=signed(now_s=NOW - 100), now_s=ratchet())


async def test_claims_in_files_hold_across_workers_and_restarts(
    tmp_path: Path,
) -> None:
    clock = Clock()
    workers = [NonceFiles(tmp_path, clock) for _ in range(3)]
    taken = [await one.claim("ops:n", NOW, NOW + LIFETIME_S) for one in workers]
    assert taken == [True, False, False]
    assert not await NonceFiles(tmp_path, clock).claim("ops:n", NOW, NOW + 60)
    assert await workers[0].claim("other:n", NOW, NOW + LIFETIME_S)
    assert not await workers[0].claim("x", NOW, NOW + 1000)

    clock.now_s += 1000
    later = clock.now_s
    assert await workers[0].claim("y", later, later + LIFETIME_S)
    folders = list((tmp_path / "vault" / "nonces").iterdir())
    assert len(folders) == 1
