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
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Final

import msgspec
import trio

from actors.vault.ports import Drop, Mark, Put, Row, StaleRow, WentBack
from storage.whole_files import read_private

FOLDER: Final = "vault"
FILE: Final = "rows.msgpack"
LOCK: Final = "lock"
FORMAT: Final = 1
FILE_BYTES_MAX: Final = 64 * 2**20  # A hundred thousand keys; then use the database.


class _Stored(msgspec.Struct, frozen=True):
    format: int
    rows: tuple[Row, ...]
    commits: int = 0  # Stores that were made before it was counted have none.


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(_Stored)


class VaultFiles:
    """Rows in a file."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / FOLDER
        self._path = self.folder / FILE
        self._mark = Mark()
        # Within this process, so that no look from before a commit comes after it.
        self._turn = RLock()

    def __repr__(self) -> str:
        return f"<VaultFiles {self.folder}>"

    @property
    def shared(self) -> bool:
        """See VaultStore."""
        return True

    @property
    def mark(self) -> Mark:
        """See VaultStore."""
        return self._mark

    async def load(self) -> tuple[Row, ...]:
        """See VaultStore."""
        return await trio.to_thread.run_sync(self.read)

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

    def read(self) -> tuple[Row, ...]:
        """The rows as they are now; blocks. Raises OSError, WentBack."""
        with self._turn:
            return self._read()

    def _read(self) -> tuple[Row, ...]:
        data = read_private(self._path, FILE_BYTES_MAX)
        if data is None:
            self._see(Mark())
            return ()
        try:
            stored = _decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise OSError(
                f"{self._path} is damaged ({error}); restore it from its backup"
            ) from None
        if stored.format != FORMAT:
            raise OSError(
                f"{self._path} has format {stored.format}, not {FORMAT}: another "
                "version wrote it; start that one, or restore a backup of this one's"
            )
        self._see(Mark(stored.commits, _digest(data)))
        return stored.rows

    def _see(self, found: Mark) -> None:
        """Remember the newest state. Raises WentBack: this one is older, or another."""
        problem = went_back(self._mark, found)
        if problem:
            raise WentBack(f"{self._path} {problem}")
        self._mark = found

    def _commit(self, changes: tuple[Put | Drop, ...]) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with self._turn, self._locked():
            rows = applied({row.key: row for row in self.read()}, changes)
            commits = self._mark.commits + 1
            data = _encode(_Stored(FORMAT, tuple(rows.values()), commits))
            if len(data) > FILE_BYTES_MAX:
                raise OSError(f"{self._path} would exceed {FILE_BYTES_MAX} bytes")
            self._replace(data)
            self._mark = Mark(commits, _digest(data))

    def _replace(self, data: bytes) -> None:
        draft = self.folder / f".{FILE}.new"
        fd = os.open(
            draft,
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            os.fchmod(fd, 0o600)  # It may be there since a crash, as somebody left it.
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


def went_back(seen: Mark, found: Mark) -> str:
    """What is wrong with a store after which another state was seen, if anything."""
    if found.commits < seen.commits:
        return (
            f"went back: it has {found.commits} commits, and {seen.commits} have been "
            "seen. An older copy is in its place"
        )
    if found.commits == seen.commits and found.digest != seen.digest:
        return (
            f"is another store than the one that was seen: both have {found.commits} "
            "commits, and they differ"
        )
    return ""


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


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

    @property
    def mark(self) -> Mark:
        """See VaultStore. Nobody can put memory back."""
        return Mark(self._commits)

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
