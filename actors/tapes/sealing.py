"""How tapes lie in a store: packed, and sealed with the epoch's key. Pure.

    sealed = nonce:12 ‖ AES-256-GCM(HKDF(epoch key, "tape" ‖ request id), nonce,
                                    zlib(msgpack(items)), aad = what ‖ number)

Each part is bound to its tape and its place: none can be moved, swapped or left out
unnoticed (the next one's number tells).
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from actors.tapes.tape import TAPE_BYTES_MAX, Fields, Tape

T = TypeVar("T")

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
PLAIN_BYTES_MAX: Final = TAPE_BYTES_MAX + 2**20  # Packing adds little.


class Head(msgspec.Struct, frozen=True, array_like=True):
    """How an answer begins, and how it is told."""

    status: int
    fields: Fields
    streamed: bool
    ids: bool
    heartbeat: bytes
    last_word: bytes
    key_id: str = ""


def head_of(tape: Tape) -> Head:
    """Of a tape; `status` is 0 before the answer's head."""
    return Head(
        tape.status,
        tape.fields,
        tape.streamed,
        tape.ids,
        tape.heartbeat,
        tape.last_word,
        tape.key_id,
    )


def key_for(epoch_key: bytes, request_id: str) -> AESGCM:
    """The key of one tape."""
    info = b"stagedoor tape 1 " + request_id.encode("ascii")
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(epoch_key))


def seal_head(key: AESGCM, head: Head, nonce: bytes) -> bytes:
    """For the store."""
    return _seal(key, head, nonce, b"head")


def open_head(key: AESGCM, sealed: bytes) -> Head | None:
    """From the store; None where it is not what was sealed."""
    return _open(key, sealed, b"head", Head)


def seal_items(key: AESGCM, items: list[bytes], number: int, nonce: bytes) -> bytes:
    """For the store."""
    return _seal(key, items, nonce, b"part %d" % number)


def open_items(key: AESGCM, sealed: bytes, number: int) -> list[bytes] | None:
    """From the store; None where they are not what was sealed there."""
    return _open(key, sealed, b"part %d" % number, list[bytes])


def name_for(site: str, key_id: str, name: str) -> str:
    """A client's name for a request, as the store has it."""
    parts = b"".join(
        b"%d:%b" % (len(part), part)
        for part in (text.encode() for text in (site, key_id, name))
    )
    return hashlib.sha256(parts).hexdigest()


def _seal(key: AESGCM, value: object, nonce: bytes, what: bytes) -> bytes:
    packed = zlib.compress(msgspec.msgpack.encode(value), 1)
    return nonce + key.encrypt(nonce, packed, what)


def _open(key: AESGCM, sealed: bytes, what: bytes, kind: type[T]) -> T | None:
    try:
        packed = key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], what)
        plain = zlib.decompressobj().decompress(packed, PLAIN_BYTES_MAX)
        return msgspec.msgpack.decode(plain, type=kind)
    except (InvalidTag, ValueError, zlib.error, msgspec.DecodeError):
        return None
