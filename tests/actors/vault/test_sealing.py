"""Records: the format, its known answers, and everything that must not open."""

from __future__ import annotations

import struct

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.vault.sealing import (
    AES_256_GCM,
    AES_256_GCM_SIV,
    PLAIN_BYTES_MAX,
    SCRATCH_BYTES,
    Kek,
    Record,
    SecretName,
    Unsealable,
    lp,
    open_into,
    parse,
    plain_bytes,
    rewrap,
    seal,
)

NAME = SecretName("acme", "prod", "openai", "default", 1)
PLAIN = b"sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
ENCODE = msgspec.msgpack.encode


class Counting:
    """Chance that a test can foretell."""

    def __init__(self, first: int = 0) -> None:
        self.next = first

    def __call__(self, size: int, /) -> bytes:
        self.next += 1
        return bytes((self.next + place) % 256 for place in range(size))

    def fill(self, buffer: memoryview) -> None:
        buffer[:] = self(len(buffer))


def kek(version: int = 1, seed: int = 7, name: str = "acme/prod") -> Kek:
    return Kek(name, version, memoryview(bytearray([seed]) * 32))


def scratch() -> memoryview:
    return memoryview(bytearray(SCRATCH_BYTES))


def sealed(plain: bytes = PLAIN, alg: int = AES_256_GCM) -> bytes:
    return seal(plain, NAME, kek(), entropy=Counting(), scratch=scratch(), alg=alg)


def opened(data: bytes, name: SecretName = NAME, key: Kek | None = None) -> bytes:
    record = parse(data)
    out = memoryview(bytearray(max(plain_bytes(record), 1)))
    used = scratch()
    try:
        size = open_into(record, name, key or kek(), out, scratch=used)
    finally:
        assert bytes(used) == bytes(SCRATCH_BYTES)
    return bytes(out[:size])


@pytest.mark.parametrize("alg", [AES_256_GCM, AES_256_GCM_SIV])
@pytest.mark.parametrize("size", [0, 1, 44, PLAIN_BYTES_MAX])
def test_what_was_sealed_opens(alg: int, size: int) -> None:
    plain = bytes(place % 251 for place in range(size))
    assert opened(sealed(plain, alg)) == plain


def test_more_than_a_key_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="are no key"):
        sealed(bytes(PLAIN_BYTES_MAX + 1))


def test_the_format_is_the_documented_one_step_by_step() -> None:
    """Opened here by hand, from the page that defines it; nothing of ours is used."""
    v, alg, rid, kid, kver, wrap_nonce, wrapped, commitment, nonce, ct = (
        msgspec.msgpack.decode(sealed())
    )

    def prefixed(*parts: bytes) -> bytes:
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)

    names = (b"acme", b"prod", b"openai", b"default", b"1")
    context = prefixed(b"gwv-secret", b"1", b"1", rid, *names)
    wrap = prefixed(b"gwv-wrap", context, kid.encode(), str(kver).encode())
    dek = AESGCM(bytes(kek().key)).decrypt(wrap_nonce, wrapped, wrap)
    derived = HKDF(SHA256(), 64, rid, b"gwv1" + context).derive(dek)
    assert (v, alg, kid, kver) == (1, 1, "acme/prod", 1)
    assert derived[32:] == commitment
    assert AESGCM(derived[:32]).decrypt(nonce, ct, context) == PLAIN


def test_the_record_of_a_key_is_as_long_as_written_down() -> None:
    """One made today is opened by every later version: its bytes are fixed."""
    data = sealed()
    assert len(data) == 206
    assert data.hex().startswith("9a0101c410")


def test_every_bit_counts() -> None:
    data = sealed()
    for place in range(len(data) * 8):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(Unsealable):
            opened(bytes(changed))


def test_every_cut_and_every_addition_is_refused() -> None:
    data = sealed()
    for size in range(len(data)):
        with pytest.raises(Unsealable):
            opened(data[:size])
    for more in (b"\0", b"\xc0", data):
        with pytest.raises(Unsealable):
            opened(data + more)


@pytest.mark.parametrize(
    "moved",
    [
        SecretName("other", "prod", "openai", "default", 1),
        SecretName("acme", "dev", "openai", "default", 1),
        SecretName("acme", "prod", "azure", "default", 1),
        SecretName("acme", "prod", "openai", "spare", 1),
        SecretName("acme", "prod", "openai", "default", 2),
        SecretName("acmeprod", "", "openai", "default", 1),
    ],
    ids=["tenant", "environment", "provider", "name", "version", "boundary"],
)
def test_a_record_opens_in_its_own_place_only(moved: SecretName) -> None:
    """Rows swapped between tenants, environments or versions are refused."""
    with pytest.raises(Unsealable):
        opened(sealed(), moved)


@pytest.mark.parametrize(
    "wrong",
    [kek(seed=8), kek(version=2), kek(name="other/prod")],
    ids=["key", "version", "id"],
)
def test_another_kek_opens_nothing(wrong: Kek) -> None:
    with pytest.raises(Unsealable):
        opened(sealed(), key=wrong)


def test_fields_of_two_records_cannot_be_spliced() -> None:
    """Two genuine records of one name; every mixture of their fields."""
    one = msgspec.msgpack.decode(sealed(b"sk-first-key-000"))
    entropy = Counting(100)
    other = msgspec.msgpack.decode(
        seal(b"sk-other-key-000", NAME, kek(), entropy=entropy, scratch=scratch())
    )
    differing = [at for at in range(10) if one[at] != other[at]]
    assert differing == [2, 5, 6, 7, 8, 9]
    for mask in range(1, 2 ** len(differing) - 1):
        mixed = list(one)
        for bit, at in enumerate(differing):
            if mask >> bit & 1:
                mixed[at] = other[at]
        with pytest.raises(Unsealable):
            opened(ENCODE(mixed))


def two_key_ciphertext(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes) -> bytes:
    """A ciphertext that plain AES-GCM accepts under both keys (Dodis and others).

    GCM's tag is a polynomial in the key's H: choose one block so that both agree.
    """
    from tests.actors.vault.gcm_field import collide  # noqa: PLC0415 - only here

    return collide(keys, nonce, aad)


def test_a_ciphertext_of_two_keys_is_refused_by_the_commitment() -> None:
    """Without it, one record could open as two different keys."""
    name, key = NAME, kek()
    entropy = Counting()
    rid, nonce = entropy(16), entropy(12)
    context = lp("gwv-secret", 1, 1, rid, "acme", "prod", "openai", "default", 1)
    deks = (bytes([1]) * 32, bytes([2]) * 32)
    derived = [HKDF(SHA256(), 64, rid, b"gwv1" + context).derive(dek) for dek in deks]
    ct = two_key_ciphertext((derived[0][:32], derived[1][:32]), nonce, context)
    for one in derived:  # It is genuine: the library opens it under both.
        AESGCM(one[:32]).decrypt(nonce, ct, context)

    def record(dek: bytes, commitment: bytes) -> bytes:
        wrap = lp("gwv-wrap", context, key.id, key.version)
        wrapped = AESGCM(bytes(key.key)).encrypt(nonce, dek, wrap)
        return ENCODE(
            Record(1, 1, rid, key.id, 1, nonce, wrapped, commitment, nonce, ct)
        )

    assert opened(record(deks[0], derived[0][32:]), name)
    with pytest.raises(Unsealable):
        opened(record(deks[1], derived[0][32:]), name)


def test_other_spellings_of_the_same_values_are_refused() -> None:
    """Not canonical: msgpack's longer forms, a map, another order, more fields."""
    data = sealed()
    fields = msgspec.msgpack.decode(data)
    longer = b"\xdc\x00\x0a" + data[1:]
    assert msgspec.msgpack.decode(longer) == fields
    wide = b"\x9a\xcc\x01" + data[2:]
    assert msgspec.msgpack.decode(wide) == fields
    for spelt in (longer, wide, ENCODE([*fields, 1]), ENCODE(fields[:9])):
        with pytest.raises(Unsealable):
            opened(spelt)


def test_a_failed_opening_leaves_nothing_behind() -> None:
    data = bytearray(sealed())
    data[-1] ^= 1
    record = parse(bytes(data))
    out = memoryview(bytearray(b"x" * plain_bytes(record)))
    with pytest.raises(Unsealable):
        open_into(record, NAME, kek(), out, scratch=scratch())
    assert bytes(out) == bytes(len(out))


def test_all_refusals_say_the_same() -> None:
    """What differs is an oracle."""
    texts = set()
    for data, name, key in (
        (b"", NAME, kek()),
        (sealed()[:-1], NAME, kek()),
        (sealed(), SecretName("x", "prod", "openai", "default", 1), kek()),
        (sealed(), NAME, kek(seed=9)),
    ):
        with pytest.raises(Unsealable) as caught:
            opened(data, name, key)
        texts.add(str(caught.value))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert len(texts) == 1


def test_rewrapping_touches_no_ciphertext() -> None:
    old, new = kek(), kek(version=2, seed=9)
    data = sealed()
    moved = rewrap(parse(data), NAME, old, new, entropy=Counting(50), scratch=scratch())

    before, after = msgspec.msgpack.decode(data), msgspec.msgpack.decode(moved)
    changed = [at for at in range(10) if before[at] != after[at]]
    assert changed == [4, 5, 6]
    assert opened(moved, key=new) == PLAIN
    with pytest.raises(Unsealable):
        opened(moved, key=old)


def test_rewrapping_needs_the_record_in_its_place() -> None:
    """Else a row could be moved by re-wrapping it under another name."""
    for name, old in ((SecretName("x", "y", "z", "n", 1), kek()), (NAME, kek(seed=3))):
        with pytest.raises(Unsealable):
            rewrap(
                parse(sealed()),
                name,
                old,
                kek(2),
                entropy=Counting(),
                scratch=scratch(),
            )


def test_a_new_record_has_new_chance_throughout() -> None:
    entropy = Counting()
    records = [
        msgspec.msgpack.decode(
            seal(PLAIN, NAME, kek(), entropy=entropy, scratch=scratch())
        )
        for _ in range(2)
    ]
    assert all(records[0][at] != records[1][at] for at in (2, 5, 6, 7, 8, 9))


@given(st.binary(max_size=600))
def test_noise_is_no_record(data: bytes) -> None:
    with pytest.raises(Unsealable):
        parse(data)


@settings(max_examples=50)
@given(
    st.lists(st.one_of(st.text(max_size=8), st.integers(), st.binary(max_size=8))),
    st.lists(st.one_of(st.text(max_size=8), st.integers(), st.binary(max_size=8))),
)
def test_two_lists_never_share_an_encoding(
    one: list[str | int | bytes], two: list[str | int | bytes]
) -> None:
    def plain(parts: list[str | int | bytes]) -> list[bytes]:
        return [p if isinstance(p, bytes) else str(p).encode() for p in parts]

    assert (lp(*one) == lp(*two)) == (plain(one) == plain(two))


def test_reprs_show_no_key() -> None:
    assert repr(kek()) == "<Kek acme/prod@1>"
    assert "commitment" not in repr(parse(sealed()))
