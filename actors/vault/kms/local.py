"""The local KMS: a root key in a file, as it is or under a passphrase.

This is no HSM. Whoever reads the root key file (or the file and the passphrase) opens
the vault; it protects a stolen database or backup, not a taken-over machine. Wraps with
AES-256-GCM, the context as associated data.

Owns: the root key in locked memory, the file's format and its checks.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.ports import (
    ContextMismatch,
    KmsContext,
    KmsDenied,
    KmsUnavailable,
    Wrapped,
)
from actors.vault.sealing import KEY_BYTES, NONCE_BYTES, TAG_BYTES, Entropy, lp

BLOB_VERSION: Final = b"\x01"
BLOB_BYTES: Final = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES
FILE_BYTES_MAX: Final = 4096
SALT_BYTES: Final = 16
# RFC 9106's second recommendation: 64 MiB and three passes, 0.2 s once at the start.
ARGON2_PASSES: Final = 3
ARGON2_MEMORY_KIB: Final = 64 * 1024
ARGON2_LANES: Final = 4
# A file from elsewhere must not make the start take minutes or all the memory.
ARGON2_MEMORY_KIB_MAX: Final = 2**20
ARGON2_PASSES_MAX: Final = 16


class RootFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The root key as it is stored; `key` is wrapped where `salt` is given."""

    format: str
    key: msgspec.Raw  # A view of what was read: it goes when that is wiped.
    salt: str = ""
    passes: int = 0
    memory_kib: int = 0
    lanes: int = 0

    def __repr__(self) -> str:
        return f"<RootFile {self.format}>"


PLAIN: Final = "stagedoor root key 1"
WITH_ARGON2ID: Final = "stagedoor root key 1, argon2id"


class LocalKms:
    """Wraps with a root key of this machine."""

    def __init__(
        self,
        root: LockedBytes,
        memory: LockedMemory,
        *,
        entropy: Entropy = OS_ENTROPY,
    ) -> None:
        self._root = root
        self._memory = memory
        self._entropy = entropy

    def __repr__(self) -> str:
        return "<LocalKms>"

    @property
    def name(self) -> str:
        """See Kms."""
        return "local"

    async def generate(self, context: KmsContext) -> Wrapped:
        """See Kms."""
        key = self._memory.take(KEY_BYTES)
        self._entropy.fill(key.view)
        return Wrapped(key, self._wrap(key, context))

    async def unwrap(self, blob: bytes, context: KmsContext) -> LockedBytes:
        """See Kms."""
        if len(blob) != BLOB_BYTES or blob[:1] != BLOB_VERSION:
            raise ContextMismatch(self.name, "this is no key that it wrapped")
        key = self._memory.take(KEY_BYTES)
        try:
            AESGCM(self._root.view).decrypt_into(
                blob[1 : 1 + NONCE_BYTES],
                blob[1 + NONCE_BYTES :],
                _aad(context),
                key.view,
            )
        except InvalidTag:
            key.wipe()
            raise ContextMismatch(
                self.name,
                "the wrapped key is of another tenant, environment or root key",
            ) from None
        return key

    async def rewrap(
        self, blob: bytes, context: KmsContext, new_context: KmsContext
    ) -> bytes:
        """See Kms."""
        key = await self.unwrap(blob, context)
        try:
            return self._wrap(key, new_context)
        finally:
            key.wipe()

    async def health(self) -> None:
        """See Kms: it is here or the gateway would not have started."""

    def _wrap(self, key: LockedBytes, context: KmsContext) -> bytes:
        nonce = self._entropy(NONCE_BYTES)
        wrapped = AESGCM(self._root.view).encrypt(nonce, key.view, _aad(context))
        return BLOB_VERSION + nonce + wrapped


def _aad(context: KmsContext) -> bytes:
    pairs = [part for key in sorted(context) for part in (key, context[key])]
    return lp("gwv-kek", *pairs)


def open_root(
    path: Path,
    memory: LockedMemory,
    *,
    passphrase: bytes | None = None,
    make: bool = False,
    entropy: Entropy = OS_ENTROPY,
) -> LockedBytes:
    """The root key of a file; with `make` a new one where there is none.

    Raises:
        KmsUnavailable: the file is missing or cannot be read.
        KmsDenied: it is open to others, damaged, or wants another passphrase.
    """
    try:
        data = _read_private(path)
    except FileNotFoundError:
        if not make:
            raise KmsUnavailable(
                "local", f"there is no root key at {path}; restore it from its backup"
            ) from None
        root = memory.take(KEY_BYTES)
        entropy.fill(root.view)
        try:
            write_root(path, root, passphrase=passphrase, entropy=entropy)
        except FileExistsError:  # Another worker was first: its key is the key.
            root.wipe()
            return open_root(path, memory, passphrase=passphrase, entropy=entropy)
        return root
    try:
        return _parse(path, data, memory, passphrase)
    finally:
        data[:] = bytes(len(data))


def write_root(
    path: Path,
    root: LockedBytes,
    *,
    passphrase: bytes | None = None,
    entropy: Entropy = OS_ENTROPY,
) -> None:
    """Write a new root key file, whole or not at all.

    Raises FileExistsError; OSError.
    """
    if passphrase is None:
        file, kept = RootFile(PLAIN, _blank(KEY_BYTES)), bytearray(root.view)
    else:
        salt, nonce = entropy(SALT_BYTES), entropy(NONCE_BYTES)
        file = RootFile(
            WITH_ARGON2ID,
            _blank(NONCE_BYTES + KEY_BYTES + TAG_BYTES),
            base64.b64encode(salt).decode(),
            ARGON2_PASSES,
            ARGON2_MEMORY_KIB,
            ARGON2_LANES,
        )
        key = _stretch(passphrase, file)
        try:
            kept = bytearray(
                nonce + AESGCM(key).encrypt(nonce, root.view, _root_aad(file))
            )
        finally:
            key[:] = bytes(len(key))
    text = bytearray(msgspec.json.format(msgspec.json.encode(file)) + b"\n")
    _write_key(kept, text)
    kept[:] = bytes(len(kept))
    draft = path.with_name(f".{path.name}.{os.getpid()}.{entropy(4).hex()}")
    fd = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IRUSR
    )
    try:
        os.write(fd, text)
        os.fsync(fd)
        os.link(draft, path)  # Unlike a rename, this never replaces a root key.
    finally:
        text[:] = bytes(len(text))
        os.close(fd)
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_private(path: Path) -> bytearray:
    """The file's bytes, if it is a plain file of ours that nobody else may read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise KmsDenied("local", f"{path} cannot be opened: {why}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise KmsDenied("local", f"{path} is no plain file")
        if found.st_uid != os.geteuid():
            raise KmsDenied(
                "local", f"{path} belongs to user {found.st_uid}, not to this one"
            )
        if found.st_mode & 0o077:
            raise KmsDenied(
                "local",
                f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); "
                "chmod 600 it",
            )
        if found.st_size > FILE_BYTES_MAX:
            raise KmsDenied("local", f"{path} is too large to be a root key")
        data = bytearray(found.st_size)
        os.readv(fd, [data])
        return data
    finally:
        os.close(fd)


def _parse(
    path: Path, data: bytearray, memory: LockedMemory, passphrase: bytes | None
) -> LockedBytes:
    try:
        file = msgspec.json.decode(data, type=RootFile)
        raw = _read_key(memoryview(file.key))
    except (msgspec.MsgspecError, ValueError):
        raise KmsDenied("local", f"{path} is no root key file") from None
    try:
        if file.format == PLAIN and not file.salt and len(raw) == KEY_BYTES:
            return memory.hold(raw)
        if file.format != WITH_ARGON2ID:
            raise KmsDenied("local", f"{path} has an unknown format")
        if passphrase is None:
            raise KmsDenied("local", f"{path} needs its passphrase")
        return _unlock(path, file, raw, memory, passphrase)
    finally:
        raw[:] = bytes(len(raw))


def _blank(size: int) -> msgspec.Raw:
    """The place of a key in a file's text."""
    return msgspec.Raw(b'"' + b"A" * (-(-size // 3) * 4) + b'"')


def _write_key(key: bytearray, text: bytearray) -> None:
    """Put a key into its place, as base64.

    Three bytes at a time, as it is read: whatever works on all of it leaves a copy in
    freed memory, where a core would have it.
    """
    size = -(-len(key) // 3) * 4
    at = text.index(b"A" * size)
    for piece in range(0, len(key), 3):
        four = binascii.b2a_base64(key[piece : piece + 3], newline=False)
        text[at : at + 4] = four
        at += 4


def _read_key(quoted: memoryview) -> bytearray:
    """The bytes of a JSON text in base64. Raises ValueError."""
    text = quoted[1:-1]
    if bytes(quoted[:1]) != b'"' or len(text) % 4 or len(text) > FILE_BYTES_MAX:
        raise ValueError("no base64")
    key = bytearray(len(text) // 4 * 3)
    size = 0
    for at in range(0, len(text), 4):
        three = binascii.a2b_base64(text[at : at + 4], strict_mode=True)
        if len(three) < 3 and at + 4 < len(text):
            raise ValueError("no base64")
        key[size : size + len(three)] = three
        size += len(three)
    del key[size:]
    return key


def _unlock(
    path: Path,
    file: RootFile,
    raw: bytearray,
    memory: LockedMemory,
    passphrase: bytes,
) -> LockedBytes:
    sane = (
        1 <= file.passes <= ARGON2_PASSES_MAX
        and 1 <= file.lanes <= 64
        and 8 * file.lanes <= file.memory_kib <= ARGON2_MEMORY_KIB_MAX
        and len(raw) == NONCE_BYTES + KEY_BYTES + TAG_BYTES
    )
    if not sane:
        raise KmsDenied("local", f"{path} asks for absurd work; restore its backup")
    key = _stretch(passphrase, file)
    root = memory.take(KEY_BYTES)
    try:
        AESGCM(key).decrypt_into(
            raw[:NONCE_BYTES], raw[NONCE_BYTES:], _root_aad(file), root.view
        )
    except InvalidTag:
        root.wipe()
        raise KmsDenied(
            "local", f"{path}: the passphrase is wrong or the file was changed"
        ) from None
    finally:
        key[:] = bytes(len(key))
    return root


def _stretch(passphrase: bytes, file: RootFile) -> bytearray:
    key = bytearray(KEY_BYTES)
    Argon2id(
        salt=base64.b64decode(file.salt),
        length=KEY_BYTES,
        iterations=file.passes,
        lanes=file.lanes,
        memory_cost=file.memory_kib,
    ).derive_into(passphrase, key)
    return key


def _root_aad(file: RootFile) -> bytes:
    return lp("gwv-root", file.format, file.salt, file.passes, file.memory_kib)
