"""What the archivist can be asked and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from runtime import ControlTell, Request

if TYPE_CHECKING:
    from actors.archivist.actor import Archivist


class Appended(ControlTell["Archivist"], frozen=True):
    """The journal has more lines."""


class ReportArchive(Request["Archivist", "ArchiveReport"], frozen=True):
    """How far it is."""


class CatchUp(Request["Archivist", "ArchiveReport"], frozen=True):
    """Reply once all that is in the journal now is in the database."""


class ArchiveReport(Struct, frozen=True):
    """How the copy stands."""

    kept: int
    """Records taken in by this process."""
    skipped: int
    """Lines that are no records; they stay in the journal."""
    file: str
    at_bytes: int
    behind: bool
    trouble: str
    """Why nothing is taken in now; empty when all is well."""
