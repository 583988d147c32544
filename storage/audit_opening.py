"""Open the log of an instance: as it was left, or refuse it, or begin it.

Owns: whether this is the log that was acknowledged, and who may write it: one process,
with the key that made it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

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
from storage.audit_files import CHECKPOINT, SEGMENT, VKEY, AuditFiles, log_folder
from storage.whole_files import make_folders, read_file, read_private, write_file

SEED_BYTES: Final = 32
ANCHOR_BYTES_MAX: Final = 1 << 24  # An anchor file that grew for years.


def open_log(
    state_dir: Path,
    origin: str,
    anchors: Iterable[Path] = (),
    also: Iterable[Checkpoint] = (),
) -> tuple[AuditBook, AuditFiles]:
    """The log of this instance, new or as it was left; whoever opens it is its writer.

    It must continue the anchor files' checkpoints, and `also` these.

    Raises:
        LogRefused: it is not the log that was acknowledged, or an anchor knows more.
        OSError: the folder cannot be read or written.
    """
    folder = log_folder(state_dir, origin)
    make_folders(folder, below=state_dir)
    lock = _lock(folder)
    try:
        signer = _signer(state_dir, folder, origin)
        anchored = read_anchors(anchors, signer.verifier)
        return _open(folder, signer, [*anchored, *also], lock)
    except BaseException:
        os.close(lock)
        raise


def _open(
    folder: Path, signer: Signer, anchored: Sequence[Checkpoint], lock: int
) -> tuple[AuditBook, AuditFiles]:
    log_key = signer.verifier
    known = [*_published(folder, log_key), *anchored]
    if not (folder / SEGMENT).exists():
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
    shown = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX) or b""
    return AuditBook(log, files, shown=shown), files


def _signer(state_dir: Path, folder: Path, origin: str) -> Signer:
    # One key signs the logs of all workers: with the first of them it is made.
    fresh = not any(_begun(one) for one in folder.parent.iterdir())
    return Signer.of(origin, _seed(state_dir / "audit.key", fresh=fresh))


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
        seed = read_private(path, SEED_BYTES)
    except OSError as error:
        raise LogRefused(error.strerror or str(error)) from None
    if seed is None:
        if not fresh:
            raise LogRefused(
                f"{path} is gone, and with it the right to continue the log; restore "
                f"it, or move the audit folder away and begin a new log"
            )
        seed = secrets.token_bytes(SEED_BYTES)
        write_file(path, seed)
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
