"""The vault's rows in one file: atomic, 0600, shared by the workers of one machine.

Owns: `state_dir/vault/rows.msgpack`. A commit locks the folder, reads what is there,
compares revisions, writes a new file beside it and renames it over; readers see the
old rows or the new ones. Only sealed records are in it. Implements `VaultStore`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.vault.ports import Drop, Put, Row, StaleRow

FOLDER: Final = "vault"
FILE: Final = "rows.msgpack"
LOCK: Final = "lock"
FORMAT: Final = 1
FILE_BYTES_MAX: Final = 64 * 2**20  # A hundred thousand keys; then use the database.


class _Stored(msgspec.Struct, frozen=True):
    format: int
    rows: tuple[Row, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(_Stored)


class VaultFiles:
    """Rows in a file."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / FOLDER
        self._path = self.folder / FILE

    def __repr__(self) -> str:
        return f"<VaultFiles {self.folder}>"

    @property
    def shared(self) -> bool:
        """See VaultStore."""
        return True

    async def load(self) -> tuple[Row, ...]:
        """See VaultStore."""
        return await trio.to_thread.run_sync(self._load)

    async def commit(self, *changes: Put | Drop) -> None:
        """See VaultStore."""
        await trio.to_thread.run_sync(self._commit, changes)

    def generation(self) -> int:
        """See VaultStore. A rename makes a new inode with a later change time."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0
        return hash((found.st_ino, found.st_mtime_ns, found.st_size))

    def _load(self) -> tuple[Row, ...]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        try:
            stored = _decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise OSError(
                f"{self._path} is damaged ({error}); restore it from its backup"
            ) from None
        if stored.format != FORMAT:
            raise OSError(f"{self._path} has format {stored.format}, not {FORMAT}")
        return stored.rows

    def _commit(self, changes: tuple[Put | Drop, ...]) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with self._locked():
            rows = applied({row.key: row for row in self._load()}, changes)
            data = _encode(_Stored(FORMAT, tuple(rows.values())))
            if len(data) > FILE_BYTES_MAX:
                raise OSError(f"{self._path} would exceed {FILE_BYTES_MAX} bytes")
            self._replace(data)

    def _replace(self, data: bytes) -> None:
        draft = self.folder / f".{FILE}.new"
        fd = os.open(
            draft,
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(self._path)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Generator[None]:
        fd = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class RotationTurn:
    """Which of a machine's workers rotates keys: the one that holds the lock.

    Two that did would mint twice and end each other's new keys. The lock ends with its
    process, so the worker that replaces a dead one takes over.
    """

    def __init__(self, state_dir: Path) -> None:
        folder = state_dir / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(
            folder / "rotation.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.ours = True
        except BlockingIOError:
            self.ours = False

    def __repr__(self) -> str:
        return f"<RotationTurn ours={self.ours}>"

    def close(self) -> None:
        """Let another have it."""
        os.close(self._fd)


class VaultMemory:
    """Rows in memory: for tests, and for embedding without a disk."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._commits = 0

    def __repr__(self) -> str:
        return f"<VaultMemory rows={len(self.rows)}>"

    @property
    def shared(self) -> bool:
        """See VaultStore."""
        return False

    async def load(self) -> tuple[Row, ...]:
        """See VaultStore."""
        await trio.lowlevel.checkpoint()
        return tuple(self.rows.values())

    async def commit(self, *changes: Put | Drop) -> None:
        """See VaultStore."""
        await trio.lowlevel.checkpoint()
        self.rows = applied(self.rows, changes)
        self._commits += 1

    def generation(self) -> int:
        """See VaultStore."""
        return self._commits


def applied(rows: dict[str, Row], changes: tuple[Put | Drop, ...]) -> dict[str, Row]:
    """The rows after the changes. Raises StaleRow, and then nothing has happened."""
    changed = dict(rows)
    for change in changes:
        row = change.row
        stored = rows.get(row.key)
        current = stored.revision if stored is not None else 0
        expected = row.revision - 1 if isinstance(change, Put) else row.revision
        if current != expected:
            raise StaleRow(row.key)
        if isinstance(change, Put):
            changed[row.key] = row
        else:
            del changed[row.key]
    return changed
