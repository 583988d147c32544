"""Reads the journal of request records again, from a place on.

Implements the archivist's `JournalReader` over the files that `RecordFiles` writes, in
a thread. Only whole lines are given: what is being written is read when it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trio

from actors.archivist.ports import Chunk, Line
from actors.auditor.ports import Place
from storage.records import records_folder

# About 400 records: their way into the database holds the interpreter for some 5 ms in
# all, of which the loop waits for no more than a switch between threads.
CHUNK_BYTES: Final = 256 * 1024
LINE_BYTES_MAX: Final = 1 << 20  # A record is under 16 kB.
PATTERN: Final = "????-??-??.jsonl"


class JournalFiles:
    """The journal of one worker in a state folder."""

    def __init__(self, state_dir: Path, source: str, worker: int = 1) -> None:
        self._folder = records_folder(state_dir, worker)
        self._source = source

    def __repr__(self) -> str:
        return f"<JournalFiles {self._folder}>"

    @property
    def source(self) -> str:
        """See JournalReader."""
        return self._source

    async def read(self, after: Place | None) -> Chunk | None:
        """See JournalReader."""
        return await trio.to_thread.run_sync(self._read, after)

    def _read(self, after: Place | None) -> Chunk | None:
        # Before the look at the file: only the last one can still grow, so one that
        # had a successor then, and nothing more to read now, is done.
        names = sorted(path.name for path in self._folder.glob(PATTERN))
        start = after.file if after is not None else ""
        offset = after.offset if after is not None else 0
        for name in names:
            if name < start:
                continue
            chunk = self._lines(name, offset if name == start else 0)
            if chunk is not None:
                return chunk
        return None

    def _lines(self, name: str, offset: int) -> Chunk | None:
        with (self._folder / name).open("rb") as file:
            file.seek(offset)
            data = file.read(CHUNK_BYTES)
            end = data.rfind(b"\n") + 1
            if not end and len(data) == CHUNK_BYTES:
                # One line is longer than a chunk.
                data += file.read(LINE_BYTES_MAX)
                end = data.rfind(b"\n") + 1
        if not end:
            return None
        lines: list[Line] = []
        at = offset
        for line in data[: end - 1].split(b"\n"):
            lines.append(Line(Place(name, at), line))
            at += len(line) + 1
        return Chunk(tuple(lines), Place(name, offset + end))
