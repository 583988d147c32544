"""An audit log in memory: the real log, signed and published, with no file behind it.

For a gateway that is embedded in a program or a test. Implements LogStore.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import trio

from actors.auditor.log import AuditLog
from actors.auditor.notes import Signer
from actors.auditor.ports import AuditBook
from actors.auditor.tiles import TileTree


class MemoryLogStore:
    """Keeps everything; `fails` makes every write fail, as a full disk does."""

    def __init__(self, segment: bytes) -> None:
        self.segment = bytearray(segment)
        self.files: dict[str, bytes] = {}
        self.checkpoint = b""
        self.witnessed = b""
        self.fails = False
        self.groups = 0

    def __repr__(self) -> str:
        """How much it keeps."""
        return f"<MemoryLogStore groups={self.groups} files={len(self.files)}>"

    async def append(self, group: bytes) -> None:
        """See LogStore; a failure leaves half of the group, as a full disk does."""
        await trio.lowlevel.checkpoint()
        if self.fails:
            self.segment += group[: len(group) // 2]
            self._fail()
        self.segment += group
        self.groups += 1

    async def mend(self, good_bytes: int) -> None:
        """See LogStore."""
        await trio.lowlevel.checkpoint()
        if self.fails:
            self._fail()
        del self.segment[good_bytes:]

    async def rotate(self, segment: bytes) -> None:
        """See LogStore."""
        await trio.lowlevel.checkpoint()
        self.segment = bytearray(segment)

    async def publish(self, files: Sequence[tuple[str, bytes]]) -> None:
        """See LogStore."""
        await trio.lowlevel.checkpoint()
        if self.fails:
            self._fail()
        self.files.update(files)

    async def show(self, note: bytes, witnessed: bytes | None) -> None:
        """See LogStore."""
        await trio.lowlevel.checkpoint()
        self.checkpoint = note
        self.witnessed = witnessed or self.witnessed

    def read(self, path: str) -> bytes | None:
        """See LogStore."""
        return self.files.get(path)

    def _fail(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def memory_book(
    origin: str = "memory", seed: bytes = bytes(32), boot: str = "00000000"
) -> tuple[AuditBook, MemoryLogStore]:
    """A log that begins empty and ends with the program."""
    log = AuditLog.new(Signer.of(origin, seed), boot)
    segment = log.segment()
    log.rotate(segment)
    store = MemoryLogStore(segment)
    return AuditBook(log, store), store


def entries_of(book: AuditBook, store: MemoryLogStore) -> list[bytes]:
    """All that is durable, published or not."""
    log = book.log
    published = TileTree(store.read, log.base)
    whole: list[bytes] = []
    for index in range(log.base // 256):
        whole += published.entries(index)
    return whole + log.kept
