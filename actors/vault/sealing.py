"""Envelope encryption of one secret. Pure: chance and keys come as arguments.

A record is a msgpack array

    [v, alg, rid, kek_id, kek_ver, wrap_nonce, wrapped_dek, commitment, nonce, ct]

    A    = lp("gwv-secret", v, alg, rid, tenant, env, provider, name, version)
    W    = lp("gwv-wrap", A, kek_id, kek_ver)
    DEK  = 32 random bytes, used for this one version of this one secret
    wrapped_dek       = AES-256-GCM(KEK, wrap_nonce, DEK, aad=W)
    key ‖ commitment  = HKDF-SHA256(DEK, salt=rid, info="gwv1" ‖ A)
    ct                = alg(key, nonce, plain, aad=A)

Everything that names the secret is authenticated, so a record opens in its own place or
nowhere. The commitment pins the key: a ciphertext made for two keys, which plain GCM
would open under both, is refused. Re-wrapping touches the wrap alone, never `ct`.

Never says why a record does not open: to whoever tampers, the causes are an oracle.
Keys live in buffers that the caller gives and wipes; nothing here makes `bytes` of one.
"""

from __future__ import annotations

import hmac
from typing import Final, Protocol

import attrs
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION: Final = 1
AES_256_GCM: Final = 1
AES_256_GCM_SIV: Final = 2
ALGORITHMS: Final[dict[int, type[AESGCM | AESGCMSIV]]] = {
    AES_256_GCM: AESGCM,
    AES_256_GCM_SIV: AESGCMSIV,
}

KEY_BYTES: Final = 32
ID_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32
SCRATCH_BYTES: Final = KEY_BYTES + KEY_BYTES + COMMITMENT_BYTES
PLAIN_BYTES_MAX: Final = 16 * 1024  # A service account file is 2.4 kB, a token 4 kB.
RECORD_BYTES_MAX: Final = PLAIN_BYTES_MAX + 1024
PART_BYTES_MAX: Final = 1024  # Names are shorter by the settings' own rules.


class Entropy(Protocol):
    """Chance: bytes for nonces, and keys straight into their buffer."""

    def __call__(self, size: int, /) -> bytes:
        """Random bytes that need not stay secret."""
        ...

    def fill(self, buffer: memoryview) -> None:
        """Make a key, leaving no copy of it."""
        ...


class Unsealable(Exception):
    """The record does not open here. One error, whatever the cause."""

    def __init__(self) -> None:
        super().__init__("the record does not open under this name and key")


@attrs.frozen
class SecretName:
    """What names one version of one secret: all of it is authenticated."""

    tenant: str
    environment: str
    provider: str
    name: str
    version: int

    def __str__(self) -> str:
        return (
            f"{self.tenant}/{self.environment}/{self.provider}/{self.name}"
            f"@{self.version}"
        )


@attrs.frozen(repr=False)
class Kek:
    """A key-encryption key in the caller's buffer."""

    id: str
    version: int
    key: memoryview

    def __repr__(self) -> str:
        return f"<Kek {self.id}@{self.version}>"


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A sealed secret, as stored. Holds nothing that is secret."""

    v: int
    alg: int
    rid: bytes
    kek_id: str
    kek_ver: int
    wrap_nonce: bytes
    wrapped_dek: bytes
    commitment: bytes
    nonce: bytes
    ct: bytes

    def __repr__(self) -> str:
        return f"<Record {self.rid.hex()} under {self.kek_id}@{self.kek_ver}>"


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Record, strict=True)


def lp(*parts: str | int | bytes) -> bytes:
    """The parts, each behind its length: no two lists have the same encoding."""
    out = bytearray()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out += len(data).to_bytes(4, "big")
        out += data
    return bytes(out)


def parse(data: bytes) -> Record:
    """Read a record, in its one canonical encoding. Raises Unsealable."""
    if len(data) > RECORD_BYTES_MAX:
        raise Unsealable
    try:
        record = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Unsealable from None
    # msgpack has several spellings of one value; only ours is a record.
    if _encode(record) != data or not _well_formed(record):
        raise Unsealable
    return record


def seal(
    plain: bytes | bytearray | memoryview,
    name: SecretName,
    kek: Kek,
    *,
    entropy: Entropy,
    scratch: memoryview,
    alg: int = AES_256_GCM,
) -> bytes:
    """Encrypt `plain` under a new data key. `scratch` is wiped before returning."""
    if len(plain) > PLAIN_BYTES_MAX:
        raise ValueError(
            f"{name}: {len(plain)} bytes are no key; at most {PLAIN_BYTES_MAX}"
        )
    rid = entropy(ID_BYTES)
    wrap_nonce, nonce = entropy(NONCE_BYTES), entropy(NONCE_BYTES)
    context = _context(VERSION, alg, rid, name)
    dek = scratch[:KEY_BYTES]
    try:
        entropy.fill(dek)
        wrapped = AESGCM(kek.key).encrypt(
            wrap_nonce, dek, _wrap_context(context, kek.id, kek.version)
        )
        key, commitment = _derive(rid, context, scratch)
        ct = ALGORITHMS[alg](key).encrypt(nonce, plain, context)
        record = Record(
            VERSION,
            alg,
            rid,
            kek.id,
            kek.version,
            wrap_nonce,
            wrapped,
            bytes(commitment),
            nonce,
            ct,
        )
    finally:
        wipe(scratch)
    return _encode(record)


def open_into(
    record: Record, name: SecretName, kek: Kek, out: memoryview, *, scratch: memoryview
) -> int:
    """Decrypt into `out`; the number of bytes. Raises Unsealable, `out` wiped.

    `out` must hold `plain_bytes(record)`. `scratch` is wiped before returning.
    """
    size = plain_bytes(record)
    context = _context(record.v, record.alg, record.rid, name)
    try:
        _unwrap(record, context, kek, scratch[:KEY_BYTES])
        key, commitment = _derive(record.rid, context, scratch)
        # Before the ciphertext: under a key that was not committed to, it may open.
        if not hmac.compare_digest(commitment, record.commitment):
            raise Unsealable
        ALGORITHMS[record.alg](key).decrypt_into(
            record.nonce, record.ct, context, out[:size]
        )
    except (InvalidTag, ValueError):
        wipe(out)
        raise Unsealable from None
    finally:
        wipe(scratch)
    return size


def rewrap(
    record: Record,
    name: SecretName,
    old: Kek,
    new: Kek,
    *,
    entropy: Entropy,
    scratch: memoryview,
) -> bytes:
    """The same secret under another KEK; its ciphertext stays as it is.

    Raises Unsealable.
    """
    context = _context(record.v, record.alg, record.rid, name)
    dek = scratch[:KEY_BYTES]
    nonce = entropy(NONCE_BYTES)
    try:
        _unwrap(record, context, old, dek)
        wrapped = AESGCM(new.key).encrypt(
            nonce, dek, _wrap_context(context, new.id, new.version)
        )
    except (InvalidTag, ValueError):
        raise Unsealable from None
    finally:
        wipe(scratch)
    return _encode(
        msgspec.structs.replace(
            record,
            kek_id=new.id,
            kek_ver=new.version,
            wrap_nonce=nonce,
            wrapped_dek=wrapped,
        )
    )


def plain_bytes(record: Record) -> int:
    """How long the secret is."""
    return len(record.ct) - TAG_BYTES


def wipe(buffer: memoryview | bytearray) -> None:
    """Zero it."""
    buffer[:] = bytes(len(buffer))


def _well_formed(record: Record) -> bool:
    return (
        record.v == VERSION
        and record.alg in ALGORITHMS
        and len(record.rid) == ID_BYTES
        and 0 < len(record.kek_id.encode("utf-8", "replace")) <= PART_BYTES_MAX
        and record.kek_ver > 0
        and len(record.wrap_nonce) == NONCE_BYTES
        and len(record.wrapped_dek) == KEY_BYTES + TAG_BYTES
        and len(record.commitment) == COMMITMENT_BYTES
        and len(record.nonce) == NONCE_BYTES
        and TAG_BYTES <= len(record.ct) <= PLAIN_BYTES_MAX + TAG_BYTES
    )


def _context(v: int, alg: int, rid: bytes, name: SecretName) -> bytes:
    return lp(
        "gwv-secret",
        v,
        alg,
        rid,
        name.tenant,
        name.environment,
        name.provider,
        name.name,
        name.version,
    )


def _wrap_context(context: bytes, kek_id: str, kek_ver: int) -> bytes:
    return lp("gwv-wrap", context, kek_id, kek_ver)


def _unwrap(record: Record, context: bytes, kek: Kek, dek: memoryview) -> None:
    if (kek.id, kek.version) != (record.kek_id, record.kek_ver):
        raise Unsealable
    AESGCM(kek.key).decrypt_into(
        record.wrap_nonce,
        record.wrapped_dek,
        _wrap_context(context, kek.id, kek.version),
        dek,
    )


def _derive(
    rid: bytes, context: bytes, scratch: memoryview
) -> tuple[memoryview, memoryview]:
    """Key and commitment of the data key at the start of `scratch`, behind it."""
    derived = scratch[KEY_BYTES:SCRATCH_BYTES]
    HKDF(SHA256(), len(derived), salt=rid, info=b"gwv1" + context).derive_into(
        scratch[:KEY_BYTES], derived
    )
    return derived[:KEY_BYTES], derived[KEY_BYTES:]
