"""What the log knows of the request records, and what it should know.

A batch of records is durable before the entry with its hash is. A crash between the
two leaves lines that no entry covers; `cover_rest` finds them at the next start and
lets the log cover them then, as found. Also here: entries back to a time, for those who
must remember across a restart which signed requests were used.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from actors.auditor import entries
from actors.auditor.messages import AuditEvent
from actors.auditor.ports import AuditBook
from actors.auditor.tiles import TILE_WIDTH, TileTree
from storage.records import DAYS, records_folder

KEPT: Final = "records.kept"
FOUND: Final = "records.found"


def newest_first(book: AuditBook) -> Iterator[dict[str, str | int]]:
    """Every durable entry, the last one first. Reads tiles as far as it is asked."""
    log = book.log
    for leaf in reversed(log.kept):
        yield entries.read(leaf)
    tree = TileTree(book.store.read, log.base)
    for index in range(log.base // TILE_WIDTH - 1, -1, -1):
        for leaf in reversed(tree.entries(index)):
            yield entries.read(leaf)


def nonces_since(book: AuditBook, since_ms: int) -> dict[str, int]:
    """The nonces that signed requests used since a time, with when they did."""
    found: dict[str, int] = {}
    for fields in newest_first(book):
        ts_ms, nonce = fields["ts"], fields.get("nonce")
        assert isinstance(ts_ms, int), "entries.read checks it"
        if ts_ms < since_ms:
            break
        if isinstance(nonce, str):
            found[nonce] = ts_ms
    return found


def cover_rest(book: AuditBook, state_dir: Path, now_ms: int, worker: int = 1) -> int:
    """Add entries for lines of records that no entry covers. Returns their bytes."""
    covered, since = _covered(book)
    total = 0
    for path in sorted(records_folder(state_dir, worker).glob(DAYS)):
        start = covered if path.name == since else 0
        if path.name < since:
            continue
        size, digest, lines = _whole_lines(path, start)
        if size:
            detail = (
                ("bytes", size),
                ("file", path.name),
                ("offset", start),
                ("records", lines),
                ("sha256", digest),
            )
            book.log.add(AuditEvent(FOUND, detail=detail), now_ms)
            total += size
    return total


def _covered(book: AuditBook) -> tuple[int, str]:
    """Where the last batch ends that the log knows, and in which file."""
    for fields in newest_first(book):
        if fields.get("act") in (KEPT, FOUND):
            offset, size, name = (
                fields.get("offset"),
                fields.get("bytes"),
                fields.get("file"),
            )
            if isinstance(offset, int) and isinstance(size, int):
                return offset + size, str(name)
    return 0, ""


def _whole_lines(path: Path, start: int) -> tuple[int, str, int]:
    """The size, hash and number of the whole lines after a place.

    A torn last line is left out: the journal cuts it off before it writes on.
    """
    digest, size, lines = sha256(), 0, 0
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                break
            digest.update(line)
            size += len(line)
            lines += 1
    return size, digest.hexdigest(), lines
