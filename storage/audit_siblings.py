"""What the logs of one gateway's workers know of each other.

Each worker keeps a log of its own. So that none can disappear, or be replaced by an
older copy, unseen, each remembers the others: an entry `audit.sibling` in its log with
the other's name, size and root hash (which only somebody with the signing key could
write anew), and the other's last signed checkpoint in a file:

    STATE/audit/ORIGIN/siblings     checkpoints of the other logs, as in an anchor file

A start reads these files as anchors of its own log; `audit verify` reads them and the
entries. Owns: that file and that entry. Never: writes to another log's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from actors.auditor.messages import AuditEvent
from actors.auditor.notes import (
    NOTE_BYTES_MAX,
    BadNote,
    Verifier,
    open_checkpoint,
)
from storage.audit_files import CHECKPOINT, VKEY, log_folder, worker_of
from storage.whole_files import read_file, write_file

SIBLINGS: Final = "siblings"
ACT: Final = "audit.sibling"


@attrs.frozen
class Sibling:
    """Another worker's log, as it was seen; size 0 while nothing is published."""

    origin: str
    size: int
    root: bytes
    note: bytes = attrs.field(repr=False)

    def event(self) -> AuditEvent:
        """What is noted of it."""
        detail = (("root", self.root.hex()), ("size", self.size))
        return AuditEvent(ACT, name=self.origin, detail=detail)


@attrs.frozen
class Claim:
    """What an entry says of another log."""

    index: int  # Of the entry.
    origin: str
    size: int
    root: bytes


def claim_of(index: int, fields: dict[str, str | int]) -> Claim | None:
    """The claim in an entry, if it is one."""
    size, root, origin = fields.get("size"), fields.get("root"), fields.get("name")
    if not (
        isinstance(size, int) and isinstance(root, str) and isinstance(origin, str)
    ):
        return None
    try:
        return Claim(index, origin, size, bytes.fromhex(root))
    except ValueError:
        return None


def folders_beside(state_dir: Path, origin: str) -> Iterator[Path]:
    """The folders of the other workers' logs."""
    own = log_folder(state_dir, origin)
    name = worker_of(origin)[0]
    first = log_folder(state_dir, name)
    for folder in sorted(own.parent.glob(f"{first.name}*")):
        vkey = read_file(folder / VKEY, NOTE_BYTES_MAX) if folder != own else None
        if vkey is not None:
            other = vkey.partition(b"+")[0].decode(errors="replace")
            if worker_of(other)[0] == name:
                yield folder


def anchors_beside(state_dir: Path, origin: str) -> tuple[Path, ...]:
    """What the other logs remember of this one."""
    return tuple(folder / SIBLINGS for folder in folders_beside(state_dir, origin))


def look(state_dir: Path, own: Verifier) -> list[Sibling]:
    """The other logs as they are published now. Raises OSError.

    One whose checkpoint does not verify is left out: it is that log's own start, and
    `audit verify`, that refuse it.
    """
    found: list[Sibling] = []
    for folder in folders_beside(state_dir, own.name):
        vkey = read_file(folder / VKEY, NOTE_BYTES_MAX) or b""
        origin = vkey.partition(b"+")[0].decode(errors="replace")
        note = read_file(folder / CHECKPOINT, NOTE_BYTES_MAX)
        if note is None:
            found.append(Sibling(origin, 0, b"", b""))
            continue
        try:
            seen = open_checkpoint(note, key_of(own, origin))
        except BadNote:
            continue
        found.append(Sibling(origin, seen.size, seen.root, note))
    return found


def keep(state_dir: Path, origin: str, siblings: Iterable[Sibling]) -> None:
    """Remember their checkpoints beside our log. Raises OSError."""
    notes = b"\n".join(one.note for one in siblings if one.note)
    write_file(log_folder(state_dir, origin) / SIBLINGS, notes)


def key_of(log: Verifier, origin: str) -> Verifier:
    """The public key of another worker's log: the same key, under its own name."""
    return Verifier(origin, log.kind, log.public)
