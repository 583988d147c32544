"""Signed notes, checkpoints and cosignatures, as C2SP writes them. No I/O, no clock.

    signed-note        text, a blank line, "— name base64(key id ‖ signature)" lines
    tlog-checkpoint    a note whose text is origin, size and root hash, a line each
    tlog-cosignature   a witness's signature over a checkpoint and the time

Owns: which bytes are signed and which signatures count. A signature of an unknown key
is ignored; one of a known key that does not verify condemns the whole note.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from actors.auditor.merkle import HASH_BYTES

NOTE_BYTES_MAX: Final = 1 << 17  # 32 post-quantum signatures and a little text.
SIGNATURES_MAX: Final = 32  # Twice what C2SP asks verifiers to accept.
TREE_SIZE_MAX: Final = (1 << 63) - 1

ED25519: Final = 0x01  # By the log itself.
COSIGNED_ED25519: Final = 0x04
COSIGNED_MLDSA44: Final = 0x06
KEY_BYTES: Final = {ED25519: 32, COSIGNED_ED25519: 32, COSIGNED_MLDSA44: 1312}
SIGNATURE_BYTES: Final = {ED25519: 64, COSIGNED_ED25519: 72, COSIGNED_MLDSA44: 2428}

_MARK: Final = "\u2014 "
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class BadNote(ValueError):
    """A note, a key or a checkpoint that cannot be believed. The text says why."""


@attrs.frozen
class Signature:
    """One signature line: whose it says it is, and the bytes."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """As it stands below a note."""
        return f"{_MARK}{self.name} {b64encode(self.key_id + self.value).decode()}\n"


@attrs.frozen
class Verifier:
    """A public key with its name: what a `vkey` line holds."""

    name: str
    kind: int
    public: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        """A name that cannot stand in a note, or a key of the wrong length: no key."""
        if not _NAME.fullmatch(self.name):
            raise BadNote(f"{self.name!r} cannot name a key: no spaces, no plus")
        if KEY_BYTES.get(self.kind) != len(self.public):
            raise BadNote(f"the key of {self.name} is of no kind that is known")

    @property
    def key_id(self) -> bytes:
        """The first bytes of its hash; an identifier, not a proof."""
        head = self.name.encode() + b"\n" + bytes([self.kind])
        return sha256(head + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """As users keep it."""
        key = b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """From a vkey line. Raises BadNote."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        key = _decode(encoded, "a vkey is NAME+ID+KEY")
        verifier = cls(name, key[0] if key else 0, key[1:])
        if verifier.key_id.hex() != key_id:
            raise BadNote(f"the vkey of {name} has an id that is not its key's")
        return verifier

    def check(self, signature: Signature, text: str) -> bool:
        """Whether this is a signature of this key, by name and id.

        Raises BadNote when it says so and does not verify.
        """
        if signature.name != self.name or signature.key_id != self.key_id:
            return False
        if not self._verifies(signature.value, text):
            raise BadNote(f"the signature of {self.name} does not verify")
        return True

    def _verifies(self, value: bytes, text: str) -> bool:
        if len(value) != SIGNATURE_BYTES[self.kind]:
            return False
        try:
            self._verify(value, text)
        except InvalidSignature:
            return False
        return True

    def _verify(self, value: bytes, text: str) -> None:
        if self.kind == ED25519:
            key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(value, text.encode())
            return
        time_s, value = int.from_bytes(value[:8], "big"), value[8:]
        if self.kind == COSIGNED_ED25519:
            key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(value, cosigned_text(text, time_s))
        else:
            post_quantum = MLDSA44PublicKey.from_public_bytes(self.public)
            message = cosigned_message(self.name, text, time_s)
            post_quantum.verify(value, message)


@attrs.frozen
class Signer:
    """The log's own key. Only the auditor has it."""

    verifier: Verifier
    _key: Ed25519PrivateKey = attrs.field(repr=False)

    @classmethod
    def of(cls, name: str, seed: bytes) -> Signer:
        """From the 32 secret bytes."""
        key = Ed25519PrivateKey.from_private_bytes(seed)
        public = key.public_key().public_bytes_raw()
        return cls(Verifier(name, ED25519, public), key)

    def sign(self, text: str) -> str:
        """The note: the text with our signature."""
        value = self._key.sign(text.encode())
        own = self.verifier
        return f"{text}\n{Signature(own.name, own.key_id, value).line()}"

    def __reduce__(self) -> str:
        """Never pickled."""
        raise TypeError("a signing key cannot be pickled or copied")


@attrs.frozen
class Checkpoint:
    """How large a log is, and the root of its tree at that size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """From a note's text; extension lines are passed over. Raises BadNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not lines[0]:
            raise BadNote("a checkpoint is an origin, a size and a root, a line each")
        if not _SIZE.fullmatch(lines[1]) or int(lines[1]) > TREE_SIZE_MAX:
            raise BadNote("the checkpoint's size is no number")
        root = _decode(lines[2], "the checkpoint's root is no base64")
        if len(root) != HASH_BYTES:
            raise BadNote("the checkpoint's root is no hash")
        return cls(lines[0], int(lines[1]), root)


def split_note(note: bytes) -> tuple[str, list[Signature]]:
    """A note's text and its signatures, none of them verified. Raises BadNote."""
    if len(note) > NOTE_BYTES_MAX:
        raise BadNote(f"a note has at most {NOTE_BYTES_MAX} bytes")
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise BadNote("a note is UTF-8") from None
    if any(c < " " and c != "\n" for c in whole):
        raise BadNote("a note has no control characters")
    text, blank, below = whole.rpartition("\n\n")
    if not blank or not below.endswith("\n"):
        raise BadNote("a note ends in signature lines below a blank line")
    return text + "\n", parse_signatures(below)


def parse_signatures(lines: str) -> list[Signature]:
    """Signature lines, as below a note or as a witness answers. Raises BadNote."""
    found: list[Signature] = []
    for line in lines.removesuffix("\n").split("\n"):
        name, space, encoded = line.removeprefix(_MARK).partition(" ")
        if not line.startswith(_MARK) or not space or not _NAME.fullmatch(name):
            raise BadNote("a signature line is a dash, a name and base64")
        value = _decode(encoded, "a signature is no base64")
        if len(value) < 5:
            raise BadNote("a signature is too short")
        found.append(Signature(name, value[:4], value[4:]))
    if len(found) > SIGNATURES_MAX:
        raise BadNote(f"a note has at most {SIGNATURES_MAX} signatures")
    return found


def open_checkpoint(note: bytes, log: Verifier) -> Checkpoint:
    """The checkpoint that the log has signed. Raises BadNote."""
    text, signatures = split_note(note)
    checkpoint = Checkpoint.parse(text)
    if checkpoint.origin != log.name:
        raise BadNote(f"the checkpoint is of {checkpoint.origin}, not of {log.name}")
    # All are checked, not just enough of them: one false is too many.
    if not sum(log.check(one, text) for one in signatures):
        raise BadNote(f"{log.name} has not signed this checkpoint")
    return checkpoint


def cosigners(note: bytes, witnesses: Iterable[Verifier]) -> list[str]:
    """Which of these witnesses have signed. Raises BadNote at a false signature."""
    text, signatures = split_note(note)
    return [
        witness.name
        for witness in witnesses
        if sum(witness.check(one, text) for one in signatures)
    ]


def with_signatures(note: bytes, more: Sequence[Signature]) -> bytes:
    """The note with more signatures below it."""
    return note + "".join(one.line() for one in more).encode()


def cosigned_text(text: str, time_s: int) -> bytes:
    """What an Ed25519 witness signs."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def cosigned_message(name: str, text: str, time_s: int) -> bytes:
    """What an ML-DSA-44 witness signs: the whole tree as a subtree from 0."""
    checkpoint = Checkpoint.parse(text)
    who, origin = name.encode(), checkpoint.origin.encode()
    if max(len(who), len(origin)) > 255:
        raise BadNote("a cosigner's name and an origin have at most 255 bytes")
    return b"".join(
        (
            b"subtree/v1\n\x00",
            bytes([len(who)]) + who,
            time_s.to_bytes(8, "big"),
            bytes([len(origin)]) + origin,
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def _decode(encoded: str, complaint: str) -> bytes:
    """Strict base64: what is read back is what was written, to the letter."""
    try:
        value = b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        raise BadNote(complaint) from None
    if b64encode(value).decode() != encoded:
        raise BadNote(complaint)
    return value
