"""What the auditor needs of storage, of witnesses and anchors. Each raises OSError."""

from collections.abc import Sequence
from typing import Protocol

import attrs

from actors.auditor.anchoring import Anchoring
from actors.auditor.log import AuditLog, Publication
from actors.auditor.notes import Checkpoint, Signature, Verifier


@attrs.frozen
class Place:
    """Where a batch of records is, for the log to name."""

    file: str
    offset: int


class Journal(Protocol):
    """An append-only file of lines. Raises OSError when it cannot keep them."""

    async def append(self, lines: bytes) -> Place:
        """Write; return when durable, with where they are.

        All or nothing after a crash: a torn tail is cut off when it is opened again.
        """
        ...


class LogStore(Protocol):
    """The files of the log."""

    async def append(self, group: bytes) -> None:
        """Write a group at the segment's end; return when durable."""
        ...

    async def mend(self, good_bytes: int) -> None:
        """After a failed write: cut what it left beyond this length."""
        ...

    async def rotate(self, segment: bytes) -> None:
        """Put a new segment in the place of the old one, whole and durable."""
        ...

    async def publish(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write files that never change again; return when durable."""
        ...

    async def show(self, note: bytes, witnessed: bytes | None) -> None:
        """Put a checkpoint where readers look; its files are published already."""
        ...

    def read(self, path: str) -> bytes | None:
        """A published file, or None."""
        ...


class Cosigner(Protocol):
    """Witnesses: others who remember what the log has said."""

    async def cosign(
        self, shown: Publication, store: LogStore
    ) -> tuple[Signature, ...]:
        """Their signatures over a checkpoint; fewer, or none, when they do not answer.

        Raises WitnessRefused when one holds that the log has been rewritten.
        """
        ...


class WitnessRefused(Exception):
    """A witness has seen another history of this log. Nothing here can mend that."""


class Anchorage(Protocol):
    """Storage that keeps what it was given, whoever asks for something else."""

    @property
    def every_s(self) -> float:
        """How often a checkpoint is to be kept."""
        ...

    async def keep(self, note: bytes, log: Verifier) -> None:
        """Return when this checkpoint is kept, and locked.

        Raises AnchorsUnavailable, or AnchorRefused: another one of this size is kept.
        """
        ...

    async def newest(self, log: Verifier) -> tuple[Checkpoint, ...]:
        """The largest checkpoints of a log that are kept.

        Raises AnchorsUnavailable.
        """
        ...


class AnchorsUnavailable(Exception):
    """The storage does not answer, or does not do what it is there for."""


class AnchorRefused(Exception):
    """What is kept is not this log. Nothing here can mend that."""


@attrs.define
class AuditBook:
    """The log with all it needs: made once, and outlives every life of the actor."""

    log: AuditLog
    store: LogStore
    cosigner: Cosigner | None = None
    anchorage: Anchorage | None = None
    anchoring: Anchoring | None = None  # With an anchorage, how its anchors stand.
    # After a write that failed: what may be in the file beyond the last group, and
    # which entries were refused to those who waited for them.
    torn: bool = False
    refused: tuple[int, int] | None = None
    shown: bytes = attrs.field(default=b"", repr=False)  # The published checkpoint.
    witnessed: int = 0
    trouble: str = ""
    publish_trouble: str = ""
    journal_trouble: str = ""  # The records cannot be written.
    # By a witness or an anchor: no event is acknowledged any more.
    disowned: str = ""
