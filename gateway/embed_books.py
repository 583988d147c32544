"""What an embedded gateway writes its records to, and whom its webhooks reach."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import trio

from actors.archivist.ports import Chunk, Line
from actors.auditor.messages import RequestRecord
from actors.auditor.ports import Place
from actors.herald.ports import PostFailed


class MemoryJournal:
    """Records in a list; `broken` makes the disk fail. It can be read again."""

    source = "memory"

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.broken = False

    async def append(self, lines: bytes) -> Place:
        """Keep them, or fail as a disk does."""
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError(28, "no space left on device")
        place = Place("memory", sum(len(line) + 1 for line in self.lines))
        self.lines.extend(lines.splitlines())
        return place

    @property
    def records(self) -> list[RequestRecord]:
        """What was recorded."""
        return [msgspec.json.decode(line, type=RequestRecord) for line in self.lines]

    async def read(self, after: Place | None) -> Chunk | None:
        """See JournalReader."""
        await trio.lowlevel.checkpoint()
        start = after.offset if after is not None else 0
        found: list[Line] = []
        at = 0
        for line in self.lines:
            if at >= start:
                found.append(Line(Place("memory", at), line))
            at += len(line) + 1
        return Chunk(tuple(found), Place("memory", at)) if found else None


async def nowhere(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """See Post: an embedded gateway has no network."""
    del url, headers, body
    await trio.lowlevel.checkpoint()
    raise PostFailed("an embedded gateway reaches nobody")
