"""The audit log's folder: its segment, what is published, its key. Implements LogStore.

    STATE/audit/ORIGIN/wal            the segment: what is durable     (0600)
    STATE/audit/ORIGIN/tile/…         entries and hashes, never changed again
    STATE/audit/ORIGIN/checkpoint     what covers them, signed
    STATE/audit/ORIGIN/witnessed      the last checkpoint that witnesses have signed
    STATE/audit/ORIGIN/vkey           the public key
    STATE/audit.key                   the secret one, beside the folder: a copy of the
                                      folder to be verified elsewhere must not hold it

A file appears by rename, after its bytes are durable, and its folder is synced: what
is there is whole. `open_log` decides whether this is the log that was acknowledged.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import trio

from actors.auditor.log import AuditLog
from actors.auditor.merkle import range_root
from actors.auditor.notes import (
    NOTE_BYTES_MAX,
    BadNote,
    Checkpoint,
    Signer,
    Verifier,
    open_checkpoint,
)
from actors.auditor.ports import AuditBook
from actors.auditor.tiles import BadTile, TileTree
from actors.auditor.wal import LogRefused, Recovered, recover

SEED_BYTES: Final = 32
SEGMENT_READ_MAX: Final = (
    1 << 30
)  # Far above any segment; a larger one is none of ours.
ANCHOR_BYTES_MAX: Final = 1 << 24  # An anchor file that grew for years.
SEGMENT_BYTES_MAX: Final = 1 << 29  # Publishing has failed for long: stop, say so.

ORIGIN_BYTES_MAX: Final = 512

SEGMENT: Final = "wal"
CHECKPOINT: Final = "checkpoint"
WITNESSED: Final = "witnessed"
VKEY: Final = "vkey"

_WORKER: Final = re.compile(r"(.+)/w([1-9][0-9]{0,3})")


class AuditFiles:
    """Writes one log's folder; what blocks runs in a thread.

    `lock` is held as long as this is open: two writers would fork the log.
    """

    def __init__(self, folder: Path, good_bytes: int, lock: int = -1) -> None:
        self.folder = folder
        self._lock = lock
        self._fd = os.open(folder / SEGMENT, os.O_RDWR | os.O_CLOEXEC)
        self._end = good_bytes

    def __repr__(self) -> str:
        """Where it is."""
        return f"<AuditFiles {self.folder} wal_bytes={self._end}>"

    async def append(self, group: bytes) -> None:
        """See LogStore."""
        # Not abandoned on cancel: a group is written as a whole, then synced.
        await trio.to_thread.run_sync(self._append, group)

    async def mend(self, good_bytes: int) -> None:
        """See LogStore."""
        await trio.to_thread.run_sync(self._mend, good_bytes)

    async def rotate(self, segment: bytes) -> None:
        """See LogStore."""
        await trio.to_thread.run_sync(self._rotate, segment)

    async def publish(self, files: Sequence[tuple[str, bytes]]) -> None:
        """See LogStore."""
        await trio.to_thread.run_sync(self._publish, files)

    async def show(self, note: bytes, witnessed: bytes | None) -> None:
        """See LogStore."""
        await trio.to_thread.run_sync(self._show, note, witnessed)

    def read(self, path: str) -> bytes | None:
        """See LogStore."""
        return read_file(self.folder / path)

    def close(self) -> None:
        """Close the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append(self, group: bytes) -> None:
        if self._end + len(group) > SEGMENT_BYTES_MAX:
            raise OSError(27, "the segment is full: nothing could be published")
        view, at = memoryview(group), self._end
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        os.fdatasync(self._fd)
        self._end = at

    def _mend(self, good_bytes: int) -> None:
        os.ftruncate(self._fd, good_bytes)
        os.fsync(self._fd)
        self._end = good_bytes

    def _rotate(self, segment: bytes) -> None:
        path = self.folder / SEGMENT
        write_file(path, segment)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.close(self._fd)
        self._fd, self._end = fd, len(segment)

    def _publish(self, files: Sequence[tuple[str, bytes]]) -> None:
        for name, data in files:
            path = self.folder / name
            if not path.parent.is_dir():
                make_folders(path.parent, below=self.folder)
            write_file(path, data)
            if ".p/" not in name:
                _drop_partial(path)

    def _show(self, note: bytes, witnessed: bytes | None) -> None:
        write_file(self.folder / CHECKPOINT, note)
        if witnessed is not None:
            write_file(self.folder / WITNESSED, witnessed)


def open_log(
    state_dir: Path, origin: str, anchors: Iterable[Path] = ()
) -> tuple[AuditBook, AuditFiles]:
    """The log of this instance, new or as it was left; whoever opens it is its writer.

    Raises:
        LogRefused: it is not the log that was acknowledged, or an anchor knows more.
        OSError: the folder cannot be read or written.
    """
    folder = log_folder(state_dir, origin)
    make_folders(folder, below=state_dir)
    lock = _lock(folder)
    try:
        return _open(state_dir, folder, origin, anchors, lock)
    except BaseException:
        os.close(lock)
        raise


def _open(
    state_dir: Path, folder: Path, origin: str, anchors: Iterable[Path], lock: int
) -> tuple[AuditBook, AuditFiles]:
    gone = not (folder / SEGMENT).exists()
    # One key signs the logs of all workers: with the first of them it is made.
    fresh = not any(_begun(one) for one in folder.parent.iterdir())
    signer = Signer.of(origin, _seed(state_dir / "audit.key", fresh=fresh))
    log_key = signer.verifier
    known = [*_published(folder, log_key), *read_anchors(anchors, log_key)]
    if gone:
        _create(folder, signer, known)
    segment = (folder / SEGMENT).read_bytes()
    found = recover(segment, log_key, {one.size for one in known})
    published = _published(folder, log_key)
    size = published[0].size if published else 0
    check_known(found, known, _tree(folder, size), log_key)
    if found.torn_bytes:
        with (folder / SEGMENT).open("r+b") as file:
            file.truncate(found.good_bytes)
            os.fsync(file.fileno())
    files = AuditFiles(folder, found.good_bytes, lock)
    log = AuditLog.of(signer, secrets.token_hex(4), found, size)
    return AuditBook(log, files), files


def _begun(folder: Path) -> bool:
    """Whether there is, or was, a log in a folder."""
    return (folder / SEGMENT).exists() or (folder / CHECKPOINT).exists()


def check_known(
    found: Recovered, known: Sequence[Checkpoint], tree: TileTree, log: Verifier
) -> None:
    """Raise LogRefused unless the log continues everything that is known of it."""
    for one in known:
        if one.size > found.edge.size:
            raise LogRefused(
                f"the log of {log.name} ends at {found.edge.size}, but a checkpoint of "
                f"size {one.size} has been signed: entries have been cut off. Keep the "
                f"folder as it is for an inquiry, and restore the latest copy"
            )
        root = found.roots.get(one.size)
        try:
            if root is None:
                root = range_root(tree.node, 0, one.size)
        except BadTile as error:
            raise LogRefused(
                f"the log of {log.name} cannot show its first {one.size} entries: "
                f"{error}; restore the folder from a copy"
            ) from None
        if root != one.root:
            raise LogRefused(
                f"the log of {log.name} is another than the one whose checkpoint of "
                f"size {one.size} is known: it has been rewritten. Keep the folder as "
                f"it is for an inquiry, and restore the latest copy"
            )


def read_anchors(anchors: Iterable[Path], log: Verifier) -> list[Checkpoint]:
    """The last checkpoint in each anchor file. Raises LogRefused.

    A file that is not there yet anchors nothing; one that cannot be read might.
    """
    found: list[Checkpoint] = []
    for path in anchors:
        try:
            notes = read_file(path, ANCHOR_BYTES_MAX)
        except OSError as error:
            raise LogRefused(
                f"anchor {path} cannot be read: {error.strerror}"
            ) from None
        if notes is None:
            continue
        try:
            own = [one for one in split_anchors(notes) if _origin(one) == log.name]
            found += [open_checkpoint(one, log) for one in own[-1:]]
        except BadNote as error:
            raise LogRefused(f"anchor {path}: {error}") from None
    return found


def split_anchors(notes: bytes) -> list[bytes]:
    """The checkpoints of an anchor file, one after another, a blank line between."""
    found: list[bytes] = []
    current: list[bytes] = []
    for line in notes.splitlines(keepends=True):
        signed = line.startswith("\u2014 ".encode())
        if current and current[-1].startswith("\u2014 ".encode()) and not signed:
            found.append(b"".join(current))
            current = []
            if line == b"\n":
                continue
        current.append(line)
    if current:
        found.append(b"".join(current))
    return found


def origin_of(state_dir: Path, configured: str, worker: int = 1) -> str:
    """The log's name: as configured, or made once and kept. Raises OSError.

    Each worker of a gateway keeps a log of its own; the first has the bare name, which
    is also that of a gateway without workers.
    """
    name = configured or _made_origin(state_dir)
    return f"{name}/w{worker}" if worker > 1 else name


def worker_of(origin: str) -> tuple[str, int]:
    """The name that all workers' logs have in common, and whose log it is."""
    found = _WORKER.fullmatch(origin)
    return (found[1], int(found[2])) if found else (origin, 1)


def _made_origin(state_dir: Path) -> str:
    kept = state_dir / "audit" / "origin"
    name = read_file(kept, ORIGIN_BYTES_MAX)
    if name is None:
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"
        name = f"{host}/stagedoor-{secrets.token_hex(4)}\n".encode()
        make_folders(kept.parent, below=state_dir)
        write_file(kept, name)
    return name.decode().strip()


def log_folder(state_dir: Path, origin: str) -> Path:
    """Where the log of an origin is."""
    return state_dir / "audit" / origin.replace("/", "_")


def read_file(path: Path, bytes_max: int = SEGMENT_READ_MAX) -> bytes | None:
    """A file's bytes; None where there is none. Raises OSError."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > bytes_max:
        raise OSError(27, f"{path.name} is longer than {bytes_max} bytes")
    return data


def write_file(path: Path, data: bytes) -> None:
    """Put a whole file there, durable, or change nothing. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(folder: Path, *, below: Path) -> None:
    """Make a folder and those above it, each name durable."""
    missing: list[Path] = []
    while folder != below and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_folder(one.parent)


def _lock(folder: Path) -> int:
    """Be the only writer, or say that there is one. Ends with the process."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise LogRefused(
            f"another process writes to {folder}; each needs a state folder of its own"
        ) from None
    return fd


def _create(folder: Path, signer: Signer, known: Sequence[Checkpoint]) -> None:
    """A new log, unless there was one."""
    largest = max((one.size for one in known), default=0)
    if largest:
        raise LogRefused(
            f"the log of {signer.verifier.name} is gone, but a checkpoint of size "
            f"{largest} has been signed: restore {folder} from a copy"
        )
    write_file(folder / VKEY, f"{signer.verifier.vkey}\n".encode())
    write_file(folder / SEGMENT, AuditLog.new(signer, "").segment())


def _seed(path: Path, *, fresh: bool) -> bytes:
    """The secret key. Made with the first log, and never again."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if not fresh:
            raise LogRefused(
                f"{path} is gone, and with it the right to continue the log; restore "
                f"it, or move the audit folder away and begin a new log"
            ) from None
        write_file(path, secrets.token_bytes(SEED_BYTES))
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise LogRefused(f"{path} is open to others; make it yours, mode 0600")
        seed = os.read(fd, SEED_BYTES + 1)
    finally:
        os.close(fd)
    if len(seed) != SEED_BYTES:
        raise LogRefused(f"{path} is no key: it has not {SEED_BYTES} bytes")
    return seed


def _published(folder: Path, log: Verifier) -> list[Checkpoint]:
    """The checkpoint that readers see, if there is one. Raises LogRefused."""
    note = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX)
    if note is None:
        return []
    try:
        return [open_checkpoint(note, log)]
    except BadNote as error:
        raise LogRefused(f"{folder / CHECKPOINT}: {error}") from None


def _tree(folder: Path, size: int) -> TileTree:
    return TileTree(lambda path: read_file(folder / path), size)


def _origin(note: bytes) -> str:
    return note.partition(b"\n")[0].decode(errors="replace")


def _drop_partial(path: Path) -> None:
    """The full tile is there: its beginnings are not needed any more."""
    partial = path.with_name(f"{path.name}.p")
    if partial.is_dir():
        for one in partial.iterdir():
            one.unlink(missing_ok=True)
        partial.rmdir()
