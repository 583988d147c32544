"""Reads the audit logs of a state folder while they grow. Implements LogReader.

All workers' logs are there for each worker to read: files that only grow, under signed
checkpoints. Owns: how far one look goes back, and that checks run one at a time. Never:
writes.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from actors.auditor.notes import NOTE_BYTES_MAX, BadNote, Verifier, open_checkpoint
from actors.auditor.ports import AnchorsUnavailable
from actors.auditor.reading import (
    Entry,
    Found,
    Log,
    NoEntry,
    Proof,
    Unreadable,
    Verdict,
    Wanted,
    entry_of,
)
from actors.auditor.tiles import TILE_WIDTH, BadTile
from storage.audit_bucket import AuditBucket
from storage.audit_check import Asked
from storage.audit_export import zip_of
from storage.audit_files import CHECKPOINT, WITNESSED, worker_of
from storage.audit_proof import proof_of
from storage.audit_siblings import key_of
from storage.audit_verify import logs_in, origin_in, reader
from storage.whole_files import read_file

# Of one look: about 80 bundles, a tenth of a second. What a filter wants may be rare;
# the answer then says where to go on, and nobody waits for a year of entries.
SCANNED_MAX: Final = 20_000
READERS_MAX: Final = 2  # Looks at once: each is a thread that holds the interpreter.
VERIFY_S_MAX: Final = 300.0  # Some millions of entries; beyond, use the command line.
KEPT_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")

T = TypeVar("T")
_Fields = dict[str, str | int]
_decode: Final = msgspec.json.Decoder(_Fields).decode


class AuditReader:
    """Reads `folder`, which holds the logs that are signed with `log`'s key.

    Args:
        anchors, witnesses, records, bucket: what a check compares the logs with.
    """

    def __init__(
        self,
        folder: Path,
        log: Verifier,
        *,
        anchors: tuple[Path, ...] = (),
        witnesses: tuple[str, ...] = (),
        records: Path | None = None,
        bucket: AuditBucket | None = None,
    ) -> None:
        self.folder = folder
        self._first = key_of(log, worker_of(log.name)[0])
        self._asked = Asked(
            str(folder),
            self._first.vkey,
            tuple(map(str, anchors)),
            witnesses,
            str(records) if records is not None else "",
        )
        self._bucket = bucket
        self._readers = trio.CapacityLimiter(READERS_MAX)
        self._checking = trio.Lock()

    def __repr__(self) -> str:
        return f"<AuditReader {self.folder}>"

    async def logs(self) -> tuple[Log, ...]:
        """See LogReader."""
        return await self._read(self._logs)

    async def search(
        self, wanted: Wanted, places: Mapping[int, int] | None, most: int
    ) -> Found:
        """See LogReader."""
        return await self._read(partial(self._search, wanted, places, most))

    async def prove(self, number: int, seq: int) -> Proof:
        """See LogReader."""
        return await self._read(partial(self._prove, number, seq))

    async def verify(self) -> Verdict:
        """See LogReader."""
        environ = {k: os.environ[k] for k in KEPT_ENVIRONMENT if k in os.environ}
        async with self._checking:
            began = trio.current_time()
            with trio.move_on_after(VERIFY_S_MAX):
                asked = await self._with_kept()
                done = await trio.run_process(
                    [sys.executable, "-m", "storage.audit_check"],
                    stdin=msgspec.json.encode(asked),
                    capture_stdout=True,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    env=environ,
                )
                took_ms = int((trio.current_time() - began) * 1000)
                if done.returncode:
                    raise Unreadable(
                        f"the check ended with {done.returncode}; "
                        f"`stagedoor audit verify` says why"
                    )
                found = msgspec.json.decode(done.stdout, type=Verdict)
                return msgspec.structs.replace(found, took_ms=took_ms)
        late = (
            f"the check took longer than {VERIFY_S_MAX:.0f} s and was ended; run "
            f"`stagedoor audit verify` on a copy"
        )
        return Verdict(False, (), (late,), int(VERIFY_S_MAX * 1000))

    async def export(self) -> AsyncGenerator[bytes]:
        """See LogReader."""
        folders = await self._read(self._folders)
        pieces = zip_of(list(folders.values()), self._first)
        while piece := await self._read(lambda: next(pieces, b"")):
            yield piece

    async def _with_kept(self) -> Asked:
        """What is asked, with the anchors of a bucket: the check has no keys to it."""
        if self._bucket is None:
            return self._asked
        folders = await self._read(self._folders)
        keys = tuple(key for _, key in folders.values())
        try:
            kept = await self._bucket.of(keys)
        except AnchorsUnavailable as error:
            return msgspec.structs.replace(self._asked, problems=(str(error),))
        return msgspec.structs.replace(
            self._asked,
            notes=tuple((where, note.decode()) for where, note in kept.notes),
            problems=kept.problems,
        )

    async def _read(self, look: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(look, limiter=self._readers)
        except (BadNote, BadTile, ValueError) as error:
            raise Unreadable(str(error)) from None
        except OSError as error:
            raise Unreadable(f"the audit log: {error.strerror or error}") from None

    # -- in a thread ---------------------------------------------------------------

    def _folders(self) -> dict[int, tuple[Path, Verifier]]:
        """By number. Raises BadNote: a folder there is no log of this gateway."""
        found: dict[int, tuple[Path, Verifier]] = {}
        for folder in logs_in(self.folder):
            base, number = worker_of(origin := origin_in(folder))
            if base != self._first.name:
                raise BadNote(f"{folder.name} is no log of {self._first.name}")
            found[number] = folder, key_of(self._first, origin)
        return dict(sorted(found.items()))

    def _logs(self) -> tuple[Log, ...]:
        found: list[Log] = []
        for number, (folder, key) in self._folders().items():
            size, root = _published(folder, key, CHECKPOINT)
            witnessed, _ = _published(folder, key, WITNESSED)
            found.append(Log(number, key.name, key.vkey, size, root.hex(), witnessed))
        return tuple(found)

    def _search(
        self, wanted: Wanted, places: Mapping[int, int] | None, most: int
    ) -> Found:
        below: dict[int, int] = {}
        walks: list[Iterator[tuple[int, _Fields]]] = []
        for number, (folder, key) in self._folders().items():
            if wanted.log and number != wanted.log:
                continue
            size, _ = _published(folder, key, CHECKPOINT)
            # A log that was not there at the first page is not in this list.
            end = size if places is None else min(size, places.get(number, 0))
            if end:
                below[number] = end
                walks.append(_walk(number, folder, size, end))
        found: list[Entry] = []
        newest_first = heapq.merge(*walks, key=_ts, reverse=True)
        for looked, (number, fields) in enumerate(newest_first, 1):
            ts = _ts((number, fields))
            if ts < wanted.since_ms:
                return Found(tuple(found), {})  # Times never go back in a log.
            below[number] = _seq(fields)
            if wanted.until_ms is not None and ts >= wanted.until_ms:
                pass
            elif wanted.takes(fields):
                found.append(entry_of(number, fields))
            if len(found) == most or looked == SCANNED_MAX:
                rest = {n: at for n, at in below.items() if at}
                return Found(tuple(found), rest)
        return Found(tuple(found), {})

    def _prove(self, number: int, seq: int) -> Proof:
        ours = self._folders().get(number)
        if ours is None:
            raise NoEntry(f"there is no log {number}")
        folder, key = ours
        size, _ = _published(folder, key, CHECKPOINT)
        if seq >= size:
            raise NoEntry(f"log {number} has no published entry {seq}, of {size}")
        proof, leaf = proof_of(folder, key, seq)
        return Proof(entry_of(number, _decode(leaf)), leaf.decode(), proof, key.vkey)


def _published(folder: Path, key: Verifier, name: str) -> tuple[int, bytes]:
    note = read_file(folder / name, NOTE_BYTES_MAX)
    if note is None:
        return 0, b""
    checkpoint = open_checkpoint(note, key)
    return checkpoint.size, checkpoint.root


def _walk(
    number: int, folder: Path, size: int, end: int
) -> Iterator[tuple[int, _Fields]]:
    """Entries below `end`, the newest first."""
    tree = reader(folder, size)
    for bundle in range((end - 1) // TILE_WIDTH, -1, -1):
        leaves = tree.entries(bundle)[: end - bundle * TILE_WIDTH]
        for leaf in reversed(leaves):
            yield number, _decode(leaf)


def _ts(one: tuple[int, _Fields]) -> int:
    ts = one[1].get("ts", 0)
    return ts if isinstance(ts, int) else 0


def _seq(fields: _Fields) -> int:
    seq = fields.get("seq", 0)
    return seq if isinstance(seq, int) else 0
