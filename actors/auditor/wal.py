"""The write-ahead log of the audit log: frames, and what a start makes of them. Pure.

    frame     kind(1) ‖ length(4) ‖ crc32(4) ‖ data        crc over kind, length, data
    segment   S  (E* C)*         S start, E entry, C checkpoint note

S holds the tree's edge at a multiple of 256; the Es after it continue from there. Each
group ends in the checkpoint that covers it, written and synced as one: what was
acknowledged is before some C. A start reads up to the last C. A torn tail was never
acknowledged and goes; but an intact, signed C beyond damage means that somebody has
changed what was durable, and the log is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final
from zlib import crc32

import attrs
import msgspec

from actors.auditor.merkle import leaf_hash
from actors.auditor.notes import (
    NOTE_BYTES_MAX,
    BadNote,
    Checkpoint,
    Verifier,
    open_checkpoint,
)
from actors.auditor.tiles import ENTRY_BYTES_MAX, TILE_WIDTH, BadTile, Edge

START: Final = b"S"
ENTRY: Final = b"E"
CHECKPOINT: Final = b"C"
HEAD_BYTES: Final = 9
START_BYTES_MAX: Final = 1 << 17  # Eight levels of unfinished tiles and a name.
DATA_BYTES_MAX: Final = {
    START: START_BYTES_MAX,
    ENTRY: ENTRY_BYTES_MAX,
    CHECKPOINT: NOTE_BYTES_MAX,
}


class LogRefused(Exception):
    """The log on disk is not the one that was acknowledged: nobody may write to it.

    Says what was found and what to do next; holds no entry.
    """


class Start(msgspec.Struct, frozen=True, array_like=True):
    """What a segment continues from."""

    version: int
    origin: str
    base: int
    tails: list[bytes]
    ts_ms: int  # The time of the last entry before; time never goes back.


@attrs.frozen
class Frame:
    """One frame that is whole."""

    kind: bytes
    data: bytes
    end: int


@attrs.define
class Recovered:
    """What a segment holds up to its last checkpoint."""

    edge: Edge
    base: int
    entries: list[bytes]  # From `base` on.
    note: bytes  # The last checkpoint; empty in a log that is new.
    good_bytes: int
    torn_bytes: int
    roots: dict[int, bytes]  # By size, for the sizes that were asked for.
    ts_ms: int


def frame(kind: bytes, data: bytes) -> bytes:
    """One frame's bytes."""
    head = kind + len(data).to_bytes(4, "big")
    return head + crc32(data, crc32(head)).to_bytes(4, "big") + data


def start_frame(origin: str, base: int, tails: Sequence[bytes], ts_ms: int) -> bytes:
    """The frame that a segment begins with."""
    start = Start(1, origin, base, list(tails), ts_ms)
    return frame(START, msgspec.msgpack.encode(start))


def group(entries: Sequence[bytes], note: bytes) -> bytes:
    """Entries and the checkpoint that covers them: one write, one sync."""
    frames = [frame(ENTRY, entry) for entry in entries]
    frames.append(frame(CHECKPOINT, note))
    return b"".join(frames)


def read_frame(data: bytes, at: int) -> Frame | None:
    """The frame at this place; None where there is no whole one."""
    head = data[at : at + HEAD_BYTES]
    limit = DATA_BYTES_MAX.get(head[:1], -1)
    length = int.from_bytes(head[1:5], "big")
    end = at + HEAD_BYTES + length
    if len(head) < HEAD_BYTES or length > limit or end > len(data):
        return None
    body = data[at + HEAD_BYTES : end]
    if crc32(body, crc32(head[:5])) != int.from_bytes(head[5:], "big"):
        return None
    return Frame(head[:1], body, end)


def recover(segment: bytes, log: Verifier, wanted: Collection[int] = ()) -> Recovered:
    """Replay up to the last checkpoint; `wanted` are sizes whose roots to tell.

    Raises LogRefused when what was durable has been changed.
    """
    first = read_frame(segment, 0)
    if first is None or first.kind != START:
        # A segment appears by rename, whole: no crash leaves half of its start.
        raise LogRefused(
            f"the log of {log.name} has no readable beginning; restore it from a copy"
        )
    edge, begun = _begin(first.data, log)
    found = Recovered(
        edge=edge,
        base=begun.base,
        entries=[],
        note=b"",
        good_bytes=first.end,
        torn_bytes=0,
        roots={},
        ts_ms=begun.ts_ms,
    )
    _remember(found, edge, wanted)
    at, group_entries = first.end, list[bytes]()
    while (one := read_frame(segment, at)) is not None and one.kind != START:
        at = one.end
        if one.kind == ENTRY:
            group_entries.append(one.data)
            continue
        _accept(found, group_entries, one.data, log, wanted)
        found.good_bytes = at
        group_entries = []
    found.torn_bytes = len(segment) - found.good_bytes
    for beyond in _checkpoints(segment, at, log):
        raise LogRefused(
            f"the log of {log.name} is damaged at byte {at}, before a signed "
            f"checkpoint of size {beyond}: what was durable has been changed. Keep "
            f"the folder as it is for an inquiry, and restore a copy"
        )
    if found.note:
        _check_last(found.note, log)
    elif begun.base:
        raise LogRefused(
            f"the log of {log.name} begins at {begun.base} with no checkpoint"
        )
    return found


def _begin(start: bytes, log: Verifier) -> tuple[Edge, Start]:
    try:
        begun = msgspec.msgpack.decode(start, type=Start)
    except msgspec.MsgspecError:
        raise LogRefused(f"the log of {log.name} begins with no start frame") from None
    if begun.version != 1:
        raise LogRefused(
            f"the log of {log.name} is of version {begun.version}; "
            f"a newer Stagedoor wrote it"
        )
    if begun.origin != log.name:
        raise LogRefused(f"this is the log of {begun.origin}, not of {log.name}")
    if begun.base < 0 or begun.base % TILE_WIDTH:
        raise LogRefused(f"the log of {log.name} begins within a bundle")
    try:
        return Edge.unpack(begun.base, begun.tails), begun
    except BadTile as error:
        raise LogRefused(f"the log of {log.name}: {error}") from None


def _accept(
    found: Recovered,
    entries: list[bytes],
    note: bytes,
    log: Verifier,
    wanted: Collection[int],
) -> None:
    """Take a group whose checkpoint is the one over it; refuse any other.

    Its signature is not checked here: the last checkpoint's covers all before it.
    """
    for entry in entries:
        found.edge.append(leaf_hash(entry))
        _remember(found, found.edge, wanted)
    made = Checkpoint(log.name, found.edge.size, found.edge.root())
    if not note.startswith(made.text().encode() + b"\n"):
        raise LogRefused(
            f"the entries of {log.name} up to {found.edge.size} are not those that "
            f"their checkpoint covers: an entry has been changed. Keep the folder as "
            f"it is for an inquiry, and restore a copy"
        )
    found.entries += entries
    found.note = note


def _check_last(note: bytes, log: Verifier) -> None:
    try:
        open_checkpoint(note, log)
    except BadNote as error:
        raise LogRefused(
            f"the last checkpoint in the log cannot be believed: {error}"
        ) from None


def _remember(found: Recovered, edge: Edge, wanted: Collection[int]) -> None:
    if edge.size in wanted:
        found.roots[edge.size] = edge.root()


def _checkpoints(segment: bytes, at: int, log: Verifier) -> Iterator[int]:
    """The sizes of intact checkpoints, signed by us, anywhere after a place."""
    while (at := segment.find(CHECKPOINT, at)) >= 0:
        one = read_frame(segment, at)
        if one is not None:
            with suppress(BadNote):
                yield open_checkpoint(one.data, log).size
        at += 1
