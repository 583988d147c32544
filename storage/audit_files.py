"""The audit log's folder: its segment, what is published, its key. Implements LogStore.

    STATE/audit/ORIGIN/wal            the segment: what is durable     (0600)
    STATE/audit/ORIGIN/tile/…         entries and hashes, never changed again
    STATE/audit/ORIGIN/checkpoint     what covers them, signed
    STATE/audit/ORIGIN/witnessed      the last checkpoint that witnesses have signed
    STATE/audit/ORIGIN/vkey           the public key
    STATE/audit.key                   the secret one, beside the folder: a copy of the
                                      folder to be verified elsewhere must not hold it

A file appears by rename, after its bytes are durable, and its folder is synced: what
is there is whole. Whether it is what was acknowledged, audit_opening.py decides.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from storage.whole_files import make_folders, read_file, write_file

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


def _drop_partial(path: Path) -> None:
    """The full tile is there: its beginnings are not needed any more."""
    partial = path.with_name(f"{path.name}.p")
    if partial.is_dir():
        for one in partial.iterdir():
            one.unlink(missing_ok=True)
        partial.rmdir()
