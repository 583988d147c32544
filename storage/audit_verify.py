"""Check an audit log's folder from nothing but its files and a public key. Offline.

Every entry is hashed into the tree anew and compared with every tile, checkpoint,
anchor and witness that is given; the segment is replayed; batches of records are hashed
where their files are at hand. Owns: what counts as a problem. Never: writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import attrs

from actors.auditor import entries
from actors.auditor.merkle import leaf_hash
from actors.auditor.notes import (
    NOTE_BYTES_MAX,
    BadNote,
    Checkpoint,
    Verifier,
    cosigners,
    open_checkpoint,
)
from actors.auditor.tiles import TILE_WIDTH, BadTile, Edge, TileTree, bundles
from actors.auditor.wal import LogRefused, Recovered, recover
from storage.audit_files import CHECKPOINT, SEGMENT, WITNESSED, worker_of
from storage.audit_opening import ANCHOR_BYTES_MAX, split_anchors
from storage.audit_records import FOUND, KEPT
from storage.audit_siblings import ACT as SIBLING
from storage.audit_siblings import Claim, claim_of
from storage.whole_files import read_file

LOOKS_MAX: Final = 5  # A checkpoint a second: two in one look are rare, five never.
PROBLEMS_MAX: Final = 20  # Beyond it the log is wrong in every way; enough said.


@attrs.define
class Report:
    """What was found."""

    folder: Path
    origin: str
    published: int = 0
    size: int = 0
    anchors: int = 0
    witnesses: tuple[str, ...] = ()
    witnessed: int = 0
    batches: int = 0
    # What its entries say of other workers' logs: the last about each.
    claims: dict[str, Claim] = attrs.field(factory=dict[str, Claim])
    problems: list[str] = attrs.field(factory=list[str])

    def problem(self, text: str) -> None:
        """Remember one, up to a bound."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)


@attrs.frozen
class Expectations:
    """What else must agree with the log."""

    anchors: tuple[Path, ...] = ()
    # Checkpoints from elsewhere, each with where it was found.
    notes: tuple[tuple[str, bytes], ...] = ()
    witnesses: tuple[Verifier, ...] = ()
    quorum: int = 0
    records: Path | None = None
    siblings: tuple[Path, ...] = ()  # What the other workers' logs remember.


def verify(folder: Path, log: Verifier, expected: Expectations) -> Report:
    """Check one log. Problems are in the report; raises OSError alone."""
    report = Report(folder, log.name)
    try:
        _verify(folder, log, expected, report)
    except (BadNote, BadTile, LogRefused) as error:
        report.problem(str(error))
    return report


def logs_in(folder: Path) -> list[Path]:
    """The logs in a folder: itself, or those below it."""
    if (folder / CHECKPOINT).exists() or (folder / SEGMENT).exists():
        return [folder]
    below = {path.parent for path in folder.glob(f"*/{CHECKPOINT}")}
    below |= {path.parent for path in folder.glob(f"*/{SEGMENT}")}
    return sorted(below)


def origin_in(folder: Path) -> str:
    """The name that a folder's log claims; empty when it does not say."""
    note = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX)
    if note is None:
        vkey = read_file(folder / "vkey", NOTE_BYTES_MAX) or b""
        return vkey.partition(b"+")[0].decode(errors="replace")
    return note.partition(b"\n")[0].decode(errors="replace")


def leaves(folder: Path, log: Verifier, first: int = 0) -> Iterator[tuple[int, bytes]]:
    """Entries from one on: those published, then those of the segment. Unverified."""
    shown, segment = _both(folder)
    size = open_checkpoint(shown, log).size if shown is not None else 0
    tree = reader(folder, size)
    for index, _ in bundles(size, first // TILE_WIDTH):
        for at, leaf in enumerate(tree.entries(index), index * TILE_WIDTH):
            if at >= first:
                yield at, leaf
    if segment is not None:
        found = recover(segment, log)
        for at, leaf in enumerate(found.entries, found.base):
            if at >= max(first, size):
                yield at, leaf


def reader(folder: Path, size: int) -> TileTree:
    """The published tree of a folder."""
    return TileTree(lambda path: read_file(folder / path), size)


def _verify(
    folder: Path, log: Verifier, expected: Expectations, report: Report
) -> None:
    notes = _known(folder, log, expected, report)
    shown, segment = _both(folder)
    if shown is None and segment is None:
        report.problem(f"{folder} holds no log")
        return
    wanted = {one.size for _, one in notes}
    roots: dict[int, bytes] = {}
    batches: list[dict[str, str | int]] = []
    look = _Look(report, batches)
    if shown is not None:
        checkpoint = open_checkpoint(shown, log)
        report.published = report.size = checkpoint.size
        wanted.add(checkpoint.size)
        roots |= _replay_tiles(folder, checkpoint.size, wanted, look)
        if roots.get(checkpoint.size) != checkpoint.root:
            report.problem(
                f"the entries are not those that the checkpoint of "
                f"{checkpoint.size} covers"
            )
    if segment is not None:
        found = recover(segment, log, wanted)
        _join(found, roots, report, look)
    for where, one in notes:
        if one.size > report.size:
            report.problem(
                f"{where} knows {one.size} entries, the log has {report.size}"
            )
        elif roots.get(one.size) != one.root:
            report.problem(f"{where} knows another log at size {one.size}")
    _count_witnesses(folder, log, expected, report)
    if expected.records is not None:
        worker = worker_of(log.name)[1]
        own = expected.records / f"w{worker}" if worker > 1 else expected.records
        _check_records(own, batches, report)


def _both(folder: Path) -> tuple[bytes | None, bytes | None]:
    """The checkpoint and the segment of one moment, also while a gateway writes."""
    shown = segment = None
    for _ in range(LOOKS_MAX):
        shown = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX)
        segment = read_file(folder / SEGMENT)
        if read_file(folder / CHECKPOINT, NOTE_BYTES_MAX) == shown:
            break
    return shown, segment


def _known(
    folder: Path, log: Verifier, expected: Expectations, report: Report
) -> list[tuple[str, Checkpoint]]:
    """Every checkpoint that the log must continue, and where it is from."""
    found: list[tuple[str, Checkpoint]] = []
    for path in expected.anchors:
        notes = read_file(path, ANCHOR_BYTES_MAX)
        if notes is None:
            report.problem(f"anchor {path} is missing")
            continue
        for note in split_anchors(notes):
            if note.startswith(f"{log.name}\n".encode()):
                found.append((f"anchor {path}", open_checkpoint(note, log)))
                report.anchors += 1
    for where, note in expected.notes:
        if note.startswith(f"{log.name}\n".encode()):
            found.append((where, open_checkpoint(note, log)))
            report.anchors += 1
    for path in expected.siblings:
        kept = split_anchors(read_file(path, ANCHOR_BYTES_MAX) or b"")
        own = [note for note in kept if note.startswith(f"{log.name}\n".encode())]
        found += [(path.parent.name, open_checkpoint(note, log)) for note in own]
    witnessed = read_file(folder / WITNESSED, NOTE_BYTES_MAX)
    if witnessed is not None:
        found.append(("the witnessed checkpoint", open_checkpoint(witnessed, log)))
    return found


@attrs.define
class _Look:
    """One entry after another: is each what it says, in its place?"""

    report: Report
    batches: list[dict[str, str | int]]
    ts: int = 0

    def at(self, index: int, leaf: bytes) -> None:
        try:
            fields = entries.read(leaf)
        except ValueError as error:
            self.report.problem(f"entry {index}: {error}")
            return
        ts = fields["ts"]
        assert isinstance(ts, int), "entries.read checks it"
        if fields["seq"] != index:
            self.report.problem(f"entry {index} says that it is entry {fields['seq']}")
        if ts < self.ts:
            self.report.problem(f"entry {index} is older than the one before it")
        self.ts = max(self.ts, ts)
        act = fields.get("act")
        if act in (KEPT, FOUND):
            self.batches.append(fields)
        elif act == SIBLING:
            self._claimed(index, fields)

    def _claimed(self, index: int, fields: dict[str, str | int]) -> None:
        claim = claim_of(index, fields)
        if claim is None:
            self.report.problem(f"entry {index} names no sibling")
            return
        before = self.report.claims.get(claim.origin)
        if before is not None and before.size > claim.size:
            self.report.problem(
                f"entry {index} has {claim.origin} with fewer entries than before: "
                f"{claim.size} after {before.size}"
            )
        self.report.claims[claim.origin] = claim


def _replay_tiles(
    folder: Path, size: int, wanted: set[int], look: _Look
) -> dict[int, bytes]:
    """Build the tree from its entries and compare all tiles. Raises BadTile."""
    tree = reader(folder, size)
    edge = Edge()
    roots = {0: edge.root()} if 0 in wanted else {}
    for bundle, _ in bundles(size):
        for leaf in tree.entries(bundle):
            look.at(edge.size, leaf)
            edge.append(leaf_hash(leaf))
            if edge.size in wanted:
                roots[edge.size] = edge.root()
        done = edge.size // TILE_WIDTH * TILE_WIDTH
        for number, level in enumerate(edge.levels):
            for first in range(level.start, level.end, TILE_WIDTH):
                at = first - level.start
                made = level.hashes[at : at + TILE_WIDTH]
                complete = len(made) == TILE_WIDTH or edge.size == size
                index = first // TILE_WIDTH
                if complete and tree.tile(number, index) != made:
                    raise BadTile(f"tile {number}/{index} is not made of the entries")
        edge.trim(done)
    return roots


def _join(
    found: Recovered, roots: dict[int, bytes], report: Report, look: _Look
) -> None:
    """The segment goes on where the tiles end, or before; it must be the same log."""
    for size in found.roots.keys() & roots.keys():
        if found.roots[size] != roots[size]:
            report.problem(f"the segment is of another log: they differ at {size}")
    if found.edge.size < report.published:
        report.problem(
            f"the segment ends at {found.edge.size}, before the published checkpoint "
            f"of {report.published}: it was cut"
        )
    if found.base > report.published:
        report.problem(
            f"entries {report.published} to {found.base - 1} are missing: the segment "
            f"begins after the published checkpoint"
        )
    for index, leaf in enumerate(found.entries, found.base):
        if index >= report.published:
            look.at(index, leaf)
    for size, root in found.roots.items():
        roots.setdefault(size, root)
    report.size = max(report.size, found.edge.size)


def _count_witnesses(
    folder: Path,
    log: Verifier,
    expected: Expectations,
    report: Report,
) -> None:
    """The latest checkpoint with enough known signatures."""
    for name in (CHECKPOINT, WITNESSED):
        note = read_file(folder / name, NOTE_BYTES_MAX)
        if note is None:
            continue
        names = tuple(sorted(set(cosigners(note, expected.witnesses))))
        checkpoint = open_checkpoint(note, log)
        if len(names) > len(report.witnesses):
            report.witnesses, report.witnessed = names, checkpoint.size
        if len(names) >= max(1, expected.quorum):
            break
    if len(report.witnesses) < expected.quorum:
        report.problem(
            f"{len(report.witnesses)} of {expected.quorum} witnesses have signed"
        )


def _check_records(
    folder: Path, batches: Sequence[dict[str, str | int]], report: Report
) -> None:
    """Hash each batch where it is, one after another. Pruned files are no problem."""
    ends: dict[str, int] = {}
    for batch in batches:
        name, offset, length = (
            batch.get("file"),
            batch.get("offset"),
            batch.get("bytes"),
        )
        if not (
            isinstance(name, str)
            and isinstance(offset, int)
            and isinstance(length, int)
        ):
            report.problem(f"entry {batch['seq']} names no batch of records")
            continue
        path = folder / Path(name).name
        if not path.exists():
            continue
        with path.open("rb") as file:
            file.seek(offset)
            digest = sha256(file.read(length)).hexdigest()
        if digest != batch.get("sha256"):
            report.problem(f"{name}: the records at byte {offset} have been changed")
        if offset != ends.get(name, 0):
            report.problem(
                f"{name}: bytes {ends.get(name, 0)} to {offset} are in no log entry"
            )
        ends[name] = offset + length
        report.batches += 1
    for path in folder.glob("????-??-??.jsonl"):
        beyond = path.stat().st_size - ends.get(path.name, 0)
        if beyond:
            report.problem(
                f"{path.name}: the last {beyond} bytes are in no log entry. If the "
                f"gateway crashed, start it once: it covers them (records.found). If "
                f"it runs, these are its last moments: copy records/ before audit/, "
                f"and look again. If it was stopped in order, somebody added them"
            )


def proved(
    folder: Path,
    log: Verifier,
    index: int,
    make: Callable[[TileTree, int], list[bytes]],
) -> tuple[bytes, list[bytes], bytes]:
    """The checkpoint, the proof and the entry at an index. Raises BadNote, BadTile."""
    note = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX)
    if note is None:
        raise BadNote(f"{folder} has no published checkpoint yet")
    size = open_checkpoint(note, log).size
    if not 0 <= index < size:
        raise BadNote(f"the published log has {size} entries, no entry {index}")
    tree = reader(folder, size)
    return note, make(tree, size), tree.entries(index // TILE_WIDTH)[index % TILE_WIDTH]
