"""The journal of request records: one file of JSON lines a day, mode 0600.

    STATE/records/2026-11-24.jsonl        by the first worker, or the only one
    STATE/records/w2/2026-11-24.jsonl     by the second

Implements the auditor's `Journal`. A write is durable when it returns (one fdatasync a
batch). A tail torn by a crash is cut off at the next start: every line is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.auditor.messages import RequestRecord
from actors.auditor.ports import Place
from actors.ledger.messages import Spend
from actors.ledger.windows import QUARTER_S, quarter

FOLDER: Final = "records"
DAYS: Final = "????-??-??.jsonl"
OPEN_S_MAX: Final = 2 * 86_400  # From a request's arrival to its last hold, amply.
TAIL_BYTES_MAX: Final = 1 << 20  # A record is under 8 kB; look no further for its end.


class RecordFiles:
    """Appends to a file a day in `records_folder`; `clock` gives Unix time."""

    def __init__(
        self, state_dir: Path, clock: Callable[[], float], worker: int = 1
    ) -> None:
        self.folder = records_folder(state_dir, worker)
        self.clock = clock
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name = ""
        self._fd = -1

    def __repr__(self) -> str:
        """Where the records go."""
        return f"<RecordFiles {self.folder}/{self._name or 'not opened yet'}>"

    async def append(self, lines: bytes) -> Place:
        """Write and sync in a thread; the loop goes on. Raises OSError."""
        # Not abandoned on cancel: half a batch would be a torn one.
        return await trio.to_thread.run_sync(self._append, lines)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._name = ""

    def _append(self, lines: bytes) -> Place:
        name = datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%d.jsonl")
        if name != self._name:
            self._open(name)
        start = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
        except OSError:
            # The batch is written again as a whole; a half of it must not stay.
            os.ftruncate(self._fd, start)
            raise
        return Place(name, start)

    def _open(self, name: str) -> None:
        self.close()
        path = self.folder / name
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._name = name
        mend(self._fd)


def records_folder(state_dir: Path, worker: int) -> Path:
    """Where a worker writes its records: no two share a file."""
    folder = state_dir / FOLDER
    return folder / f"w{worker}" if worker > 1 else folder


def record_files(state_dir: Path) -> list[Path]:
    """The files of all workers that there ever were, by day."""
    folder = state_dir / FOLDER
    found = [*folder.glob(DAYS), *folder.glob(f"w*/{DAYS}")]
    return sorted(found, key=lambda path: (path.name, path.parent.name))


def mend(fd: int) -> int:
    """Cut a torn last line off. Returns how many bytes went."""
    end = os.lseek(fd, 0, os.SEEK_END)
    if end == 0:
        return 0
    start = max(0, end - TAIL_BYTES_MAX)
    tail = os.pread(fd, end - start, start)
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        os.ftruncate(fd, end - torn)
        os.fsync(fd)
    return torn


def read_since(state_dir: Path, since_s: float) -> Iterator[RequestRecord]:
    """All records since a Unix time, by worker and day. Unreadable lines are skipped.

    Other workers may be writing: their last line may be half there, and is skipped.
    """
    first = datetime.fromtimestamp(since_s, UTC).strftime("%Y-%m-%d.jsonl")
    decoder = msgspec.json.Decoder(RequestRecord)
    for path in record_files(state_dir):
        if path.name < first:
            continue
        with path.open("rb") as lines:
            for line in lines:
                try:
                    record = decoder.decode(line)
                except msgspec.MsgspecError:
                    continue
                if record.opened_at_ms >= since_s * 1000:
                    yield record


def spends_since(state_dir: Path, since_s: float) -> tuple[Spend, ...]:
    """What was spent since then, for the ledger's first accounts.

    Summed up by who spent it, on what, and the quarter of an hour: as exact as any
    window needs it, and small however many records there are.
    """
    if not (state_dir / FOLDER).is_dir():
        return ()
    sums: dict[tuple[str, str, str, str, int], int] = {}
    # A record is written after its holds were taken: none of them is in older files.
    for record in read_since(state_dir, max(0.0, since_s - OPEN_S_MAX)):
        for attempt in record.attempts:
            if attempt.cost_nanousd and attempt.held_at_ms >= since_s * 1000:
                key = (
                    record.site,
                    record.key_id,
                    attempt.route,
                    attempt.provider,
                    quarter(attempt.held_at_ms / 1000),
                )
                sums[key] = sums.get(key, 0) + attempt.cost_nanousd
    return tuple(
        Spend(site, key_id, asked, provider, float(at * QUARTER_S), nanousd)
        for (site, key_id, asked, provider, at), nanousd in sums.items()
    )
