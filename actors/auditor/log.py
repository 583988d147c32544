"""The log as a value: entries in, groups and tiles out. Pure: no file, no clock.

Owns the order: an entry has a number when it is added, is durable when its group is
committed, is published when its tiles are. What was signed once is never signed
otherwise: a group that could not be written keeps its entries and their numbers, and
is written again before anything else. Two roots for one size would be a fork.
"""

from __future__ import annotations

import attrs

from actors.auditor import entries, wal
from actors.auditor.merkle import leaf_hash
from actors.auditor.messages import AuditEvent
from actors.auditor.notes import Checkpoint, Signer
from actors.auditor.tiles import (
    TILE_WIDTH,
    Edge,
    Grown,
    bundle_path,
    bundles,
    pack_bundle,
)
from actors.auditor.veiling import Veil

GROUP_ENTRIES_MAX = 4096  # One group's hashes take about 10 ms.
GROUP_BYTES_MAX = 4 * 2**20  # One write's size; the rest goes with the next group.
PENDING_MAX = 65_536  # 30 MB: a disk that is gone a minute at 1,000 a second.
SEGMENT_BYTES_MAX = 16 * 2**20  # Replayed at a start in about a second.


@attrs.frozen
class Group:
    """Entries that are written together, and the checkpoint over them."""

    data: bytes = attrs.field(repr=False)
    count: int
    size: int
    root: bytes
    note: bytes = attrs.field(repr=False)
    grown: Grown = attrs.field(repr=False)


@attrs.frozen
class Publication:
    """What readers of the folder shall see: files first, then the checkpoint."""

    files: tuple[tuple[str, bytes], ...] = attrs.field(repr=False)
    note: bytes = attrs.field(repr=False)
    size: int
    had: int


@attrs.define
class AuditLog:
    """One log: what is durable, what waits, what readers see."""

    signer: Signer = attrs.field(repr=False)
    boot: str
    edge: Edge
    base: int = 0
    kept: list[bytes] = attrs.field(factory=list[bytes], repr=False)  # From `base` on.
    pending: list[bytes] = attrs.field(factory=list[bytes], repr=False)
    note: bytes = attrs.field(default=b"", repr=False)
    segment_bytes: int = 0
    published: int = 0
    ts_ms: int = 0
    veil: Veil | None = attrs.field(default=None, repr=False)  # On all that is added.

    @classmethod
    def new(cls, signer: Signer, boot: str) -> AuditLog:
        """A log with nothing in it."""
        return cls(signer, boot, Edge())

    @classmethod
    def of(
        cls, signer: Signer, boot: str, found: wal.Recovered, published: int
    ) -> AuditLog:
        """The log that a segment holds."""
        log = cls(signer, boot, found.edge, found.base, found.entries)
        log.note = found.note
        log.segment_bytes = found.good_bytes
        log.published = published
        log.ts_ms = max(found.ts_ms, _last_time(found.entries))
        log.trim()
        return log

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.signer.verifier.name

    @property
    def size(self) -> int:
        """How many entries are durable."""
        return self.edge.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self.edge.root()

    @property
    def full(self) -> bool:
        """Whether no more can wait for the disk."""
        return len(self.pending) >= PENDING_MAX

    def add(self, event: AuditEvent, wall_ms: int, count: int = 1) -> int:
        """Give an event its number. It is durable when its group is committed.

        Raises BadEvent. Time never goes back, whatever the wall clock does.
        """
        if self.veil is not None:
            event = self.veil(event, wall_ms)
        entries.check(event)
        seq = self.size + len(self.pending)
        ts_ms = max(self.ts_ms, wall_ms)
        self.pending.append(
            entries.leaf(event, seq=seq, ts_ms=ts_ms, boot=self.boot, count=count)
        )
        self.ts_ms = ts_ms
        return seq

    def seal(self) -> Group:
        """The next group, to be written. Nothing changes until `commit`."""
        leaves: list[bytes] = []
        size = 0
        for leaf in self.pending[:GROUP_ENTRIES_MAX]:
            size += len(leaf)
            if leaves and size > GROUP_BYTES_MAX:
                break
            leaves.append(leaf)
        grown = self.edge.grown([leaf_hash(leaf) for leaf in leaves])
        checkpoint = Checkpoint(self.origin, grown.tree.size, grown.tree.root())
        note = self.signer.sign(checkpoint.text()).encode()
        return Group(
            data=wal.group(leaves, note),
            count=len(leaves),
            size=checkpoint.size,
            root=checkpoint.root,
            note=note,
            grown=grown,
        )

    def commit(self, group: Group) -> None:
        """The group is durable."""
        self.edge.adopt(group.grown)
        self.kept += self.pending[: group.count]
        del self.pending[: group.count]
        self.note = group.note
        self.segment_bytes += len(group.data)

    def publication(self) -> Publication | None:
        """What readers have not seen yet; None when they have seen all."""
        size, had = self.size, self.published
        if size == had:
            return None
        files = list(self.edge.tiles(had, size))
        for index, width in bundles(size, self.base // TILE_WIDTH):
            at = index * TILE_WIDTH - self.base
            bundle = pack_bundle(self.kept[at : at + width])
            files.append((bundle_path(index, width), bundle))
        return Publication(tuple(files), self.note, size, had)

    def publish(self, done: Publication) -> None:
        """Readers see it."""
        self.published = done.size
        self.trim()

    def trim(self) -> None:
        """Forget what is on disk as complete tiles and bundles."""
        done = self.published // TILE_WIDTH * TILE_WIDTH
        if done > self.base:
            del self.kept[: done - self.base]
            self.base = done
        self.edge.trim(self.published)

    @property
    def rotation_due(self) -> bool:
        """Whether the segment is long enough to begin another."""
        # Not when little would be saved: unpublished entries are carried along.
        return (
            self.segment_bytes > SEGMENT_BYTES_MAX
            and sum(map(len, self.kept)) < SEGMENT_BYTES_MAX // 2
        )

    def segment(self) -> bytes:
        """A segment that begins where complete bundles end and holds the rest."""
        start = wal.start_frame(
            self.origin, self.base, self.edge.pack(self.base), self.ts_ms
        )
        return start + (wal.group(self.kept, self.note) if self.note else b"")

    def rotate(self, segment: bytes) -> None:
        """The new segment is in the place of the old one."""
        self.segment_bytes = len(segment)


def _last_time(leaves: list[bytes]) -> int:
    """The time of the last entry; a log's time goes on from there."""
    if not leaves:
        return 0
    ts_ms = entries.read(leaves[-1])["ts"]
    assert isinstance(ts_ms, int), "entries.read checks it"
    return ts_ms
