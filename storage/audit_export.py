"""The audit logs of a state folder as one zip file, made while they grow.

What is in it is a folder that `stagedoor audit verify` takes, offline: of each log its
checkpoint, key, tiles, and what it remembers of the others, all as of one moment. Owns:
which files those are. Never: writes to the logs, or holds more than a few tiles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from actors.auditor.notes import (
    NOTE_BYTES_MAX,
    BadNote,
    Checkpoint,
    Verifier,
    open_checkpoint,
)
from actors.auditor.tiles import (
    LEVELS_MAX,
    TILE_HEIGHT,
    TILE_WIDTH,
    bundle_path,
    bundles,
    pack_bundle,
    tile_path,
)
from storage.audit_files import CHECKPOINT, VKEY, WITNESSED
from storage.audit_opening import ANCHOR_BYTES_MAX
from storage.audit_siblings import SIBLINGS
from storage.audit_verify import reader
from storage.whole_files import read_file

LOOKS_MAX: Final = 5  # A checkpoint a second and log: two in one look are rare.
PIECE_BYTES: Final = 256 * 1024  # Handed on at a time; a reader that is slow holds one.
TOP: Final = "audit"
# One time for all: what is exported twice at one size is the same twice.
AT: Final = (1980, 1, 1, 0, 0, 0)
HOW: Final = """\
The audit logs of {origin}, as they were signed.

On any machine, without the gateway:

    stagedoor audit verify {top} --vkey 'VKEY'

VKEY is the public key that you kept elsewhere on the first day. The one in here,

    {vkey}

shows that the logs agree with themselves, no more.
"""


@attrs.frozen
class _Snapshot:
    """What is signed, of one log."""

    folder: Path
    key: Verifier
    checkpoint: Checkpoint
    notes: dict[str, bytes]


def zip_of(logs: Sequence[tuple[Path, Verifier]], first: Verifier) -> Iterator[bytes]:
    """The file, a piece at a time. Raises BadNote, BadTile, OSError."""
    snapshots = _snapshots(logs)
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        how = HOW.format(origin=first.name, top=TOP, vkey=first.vkey)
        _put(archive, "README.txt", how.encode())
        for one in snapshots:
            for path, data in _files(one):
                _put(archive, f"{TOP}/{one.folder.name}/{path}", data)
                if sink.size >= PIECE_BYTES:
                    yield sink.taken()
    yield sink.taken()


class _Sink:
    """A file that is only written to: what was, until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """As a file does."""
        self._pieces.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """It is no file."""

    def taken(self) -> bytes:
        """All since the last time."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return data


def _put(archive: zipfile.ZipFile, path: str, data: bytes) -> None:
    info = zipfile.ZipInfo(path, AT)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _snapshots(logs: Sequence[tuple[Path, Verifier]]) -> list[_Snapshot]:
    """The signed notes of all logs at one moment, those that have any.

    Logs tell of each other: one that was looked at later might know more of another one
    than that is exported with.
    """
    before: list[dict[str, bytes]] = []
    for _ in range(LOOKS_MAX):
        now = [_notes(folder) for folder, _ in logs]
        if now == before:
            break
        before = now
    else:
        raise BadNote("the logs are published faster than they can be looked at")
    found: list[_Snapshot] = []
    for (folder, key), notes in zip(logs, before, strict=True):
        if CHECKPOINT in notes:
            checkpoint = open_checkpoint(notes[CHECKPOINT], key)
            found.append(_Snapshot(folder, key, checkpoint, notes))
    return found


def _notes(folder: Path) -> dict[str, bytes]:
    wanted = {
        CHECKPOINT: NOTE_BYTES_MAX,
        WITNESSED: NOTE_BYTES_MAX,
        SIBLINGS: ANCHOR_BYTES_MAX,
        VKEY: NOTE_BYTES_MAX,
    }
    found: dict[str, bytes] = {}
    for name, most in wanted.items():
        data = read_file(folder / name, most)
        if data is not None:
            found[name] = data
    return found


def _files(one: _Snapshot) -> Iterator[tuple[str, bytes]]:
    """A log's files at its size: partial tiles are cut to it."""
    yield from one.notes.items()
    size = one.checkpoint.size
    tree = reader(one.folder, size)
    for index, width in bundles(size):
        yield bundle_path(index, width), pack_bundle(tree.entries(index))
    for level in range(LEVELS_MAX):
        count = size >> (TILE_HEIGHT * level)
        for index in range(-(-count // TILE_WIDTH)):
            hashes = tree.tile(level, index)
            yield tile_path(level, index, len(hashes)), b"".join(hashes)
