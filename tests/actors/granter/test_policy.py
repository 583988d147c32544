"""Tokens of grants: one spelling, one key, one origin, one audience, one minute."""

from __future__ import annotations

from base64 import urlsafe_b64decode

from hypothesis import given
from hypothesis import strategies as st

from actors.granter import policy

KEY = bytes(range(32))
OTHER = bytes(32)
NOW_S = 1_800_000_000.0


def token(**changes: object) -> policy.Token:
    given_: dict[str, object] = {
        "secret": b"s" * policy.SECRET_BYTES,
        "origin": "https://a.example",
        "audience": "",
        "now_s": NOW_S,
        "ttl_s": 60.0,
        **changes,
    }
    return policy.make("req_" + "ab" * 12, **given_)  # type: ignore[arg-type]


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**31), st.text())
def test_a_signed_token_reads_back(secret: bytes, now_s: int, audience: str) -> None:
    made = token(secret=secret, now_s=float(now_s), audience=audience)
    text = policy.sign(made, KEY)

    assert policy.read(text, KEY) == made
    assert policy.epoch_of(text) == policy.epoch_at(now_s)
    assert len(text) == policy.TOKEN_CHARS


@given(st.integers(0, policy.PAYLOAD_BYTES + policy.MAC_BYTES - 1), st.integers(0, 7))
def test_no_bit_of_it_can_be_changed(place: int, bit: int) -> None:
    text = policy.sign(token(), KEY)
    raw = bytearray(urlsafe_b64decode(text[len(policy.PREFIX) :]))
    raw[place] ^= 1 << bit
    forged = policy.PREFIX + policy.urlsafe_b64encode(bytes(raw)).decode()

    assert policy.read(forged, KEY) is None


@given(st.text(max_size=200))
def test_anything_else_is_no_token(text: str) -> None:
    assert policy.read(text, KEY) is None
    assert policy.read(policy.PREFIX + text, KEY) is None


def test_another_key_reads_nothing() -> None:
    assert policy.read(policy.sign(token(), KEY), OTHER) is None


def test_the_secret_is_in_no_repr() -> None:
    assert "ssss" not in repr(token())


def test_it_is_judged_by_origin_audience_and_time_in_that_order() -> None:
    """A stranger learns nothing of a grant, not even that it is over."""
    made = token(audience="v")
    late_s = NOW_S + 100

    def judged(origin: str, audience: str, now_s: float, late_s: float = 0) -> object:
        return policy.judge(
            made, origin=origin, audience=audience, now_s=now_s, late_s=late_s
        )

    assert judged("https://b.example", "", late_s) == "grant_origin_mismatch"
    assert judged("https://a.example", "w", late_s) == "grant_audience_mismatch"
    assert judged("https://a.example", "v", late_s) == "grant_expired"
    assert judged("https://a.example", "v", late_s, late_s=60) is None
    assert judged("https://a.example", "v", NOW_S + 59.9) is None
    assert judged("https://a.example", "v", NOW_S + 60) == "grant_expired"


def test_no_grant_lives_longer_than_a_minute() -> None:
    assert token(ttl_s=3600.0) == token(ttl_s=60.0)


def test_an_epochs_key_is_good_for_its_day_and_the_next() -> None:
    epoch = policy.epoch_at(NOW_S)

    assert policy.accepts_epoch(epoch, NOW_S + policy.EPOCH_S)
    assert policy.accepts_epoch(epoch + 1, NOW_S)
    assert not policy.accepts_epoch(epoch, NOW_S + 2 * policy.EPOCH_S)


def test_what_is_sealed_opens_with_its_own_token_and_key_only() -> None:
    """The store and the gateway's key are not enough: the page holds the rest."""
    made = token()
    sealed = policy.seal(made, KEY, b"the prompt")

    assert b"prompt" not in sealed
    assert policy.unseal(made, KEY, sealed) == b"the prompt"
    assert policy.unseal(made, OTHER, sealed) is None
    assert policy.unseal(token(secret=b"t" * 16), KEY, sealed) is None
    assert policy.unseal(token(origin="https://b.example"), KEY, sealed) is None
    assert policy.unseal(made, KEY, sealed[:-1] + b"\0") is None
