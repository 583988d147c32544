"""What outlives a life of the archivist."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from actors.archivist.policy import KeepDays
from actors.archivist.ports import Archive, JournalReader
from actors.auditor.ports import Place


@attrs.define
class ArchivistCell:
    """The journal, the database, and how far it is."""

    reader: JournalReader
    archive: Archive
    keep: Callable[[], KeepDays]
    wall: Callable[[], float]
    kept: int = 0
    skipped: int = 0
    place: Place | None = None
    trouble: str = ""
