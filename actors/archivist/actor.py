"""Archivist. Takes what the auditor has made durable into the database, and forgets.

The journal is the queue: it is on disk, in order, and read again from the place that
the database itself remembers. So a database that is gone costs nothing but time, memory
stays bounded by one chunk, and a crash at any point counts no record twice. Talks to:
nobody; what is in the database others read there.
"""

from __future__ import annotations

import trio

from actors.archivist import policy
from actors.archivist.cell import ArchivistCell
from actors.archivist.messages import Appended, ArchiveReport, CatchUp, ReportArchive
from actors.archivist.ports import (
    Chunk,
    Overtaken,
    Unavailable,
)
from runtime import Actor, Deferred, MailboxSpec, answers, handles

MESSAGES_QUEUED_MAX = 64


class Archivist(Actor):
    """One journal's way into the database."""

    mailbox = MailboxSpec(MESSAGES_QUEUED_MAX, full="shed", down="hold")
    accepts = (Appended, ReportArchive, CatchUp)

    def __init__(self, cell: ArchivistCell) -> None:
        self.cell = cell
        self.more = trio.Event()
        self.hurry = trio.Event()
        self.behind = True
        self.waiting: list[Deferred[ArchiveReport]] = []
        self.failures = 0

    def __repr__(self) -> str:
        trouble = f" trouble={self.cell.trouble!r}" if self.cell.trouble else ""
        return f"<Archivist kept={self.cell.kept} behind={self.behind}{trouble}>"

    def on_start(self) -> None:
        """Go on from the place that the database knows."""
        self.ctx.start_soon(self._follow)
        self.ctx.start_soon(self._forget)

    @handles(Appended)
    def appended(self, _msg: Appended) -> None:
        """Look."""
        self.behind = True
        self.more.set()

    @answers(ReportArchive)
    def report(self, _msg: ReportArchive) -> ArchiveReport:
        """How far it is."""
        return self._report()

    @answers(CatchUp)
    def catch_up(self, _msg: CatchUp) -> Deferred[ArchiveReport]:
        """Reply when the journal has been read to its end."""
        deferred: Deferred[ArchiveReport] = Deferred()
        self.waiting.append(deferred)
        self.behind = True
        self.more.set()
        self.hurry.set()
        return deferred

    def _report(self) -> ArchiveReport:
        place = self.cell.place
        return ArchiveReport(
            kept=self.cell.kept,
            skipped=self.cell.skipped,
            file=place.file if place is not None else "",
            at_bytes=place.offset if place is not None else 0,
            behind=self.behind,
            trouble=self.cell.trouble,
        )

    async def _follow(self) -> None:
        cell = self.cell
        known = False
        while True:
            try:
                if not known:
                    cell.place = await cell.archive.place(cell.reader.source)
                    known = True
                await self._take_in()
            except Overtaken:
                known = False  # Another process reads this journal: see how far it is.
            except (Unavailable, OSError) as error:
                cell.trouble = str(error)
                self.failures += 1
                await trio.sleep(policy.retry_s(self.failures))
            else:
                cell.trouble = ""
                self.failures = 0
                await self._rest()

    async def _take_in(self) -> None:
        """All that there is, chunk by chunk."""
        cell = self.cell
        while True:
            self.more = trio.Event()
            chunk = await cell.reader.read(cell.place)
            if chunk is None:
                return
            await self._keep(chunk)

    async def _keep(self, chunk: Chunk) -> None:
        cell = self.cell
        count = await cell.archive.keep(cell.reader.source, cell.place, chunk)
        cell.place = chunk.end
        cell.kept += count
        cell.skipped += len(chunk.lines) - count

    async def _rest(self) -> None:
        """Until there is more. What was asked for while reading is read first."""
        if not self.more.is_set():
            self.behind = False
            waiting, self.waiting = self.waiting, []
            for deferred in waiting:
                deferred.reply(self._report())
        with trio.move_on_after(policy.LOOK_AGAIN_S):
            await self.more.wait()
        with trio.move_on_after(policy.GATHER_S):
            await self.hurry.wait()
        self.hurry = trio.Event()

    async def _forget(self) -> None:
        """Delete what is too old: one process at a time, a part at a time."""
        cell = self.cell
        while True:
            await trio.sleep(policy.PURGE_EVERY_S)
            try:
                await self._purge()
            except Unavailable as error:
                cell.trouble = str(error)

    async def _purge(self) -> None:
        cell = self.cell
        while True:
            now_ms = int(cell.wall() * 1000)
            for_ms = int(policy.PURGE_TURN_S * 1000)
            holder = cell.reader.source
            if not await cell.archive.take_turn("purge", holder, now_ms, for_ms):
                return
            if not await cell.archive.purge(cell.keep().since(now_ms), now_ms):
                return
