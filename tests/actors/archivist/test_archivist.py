"""The archivist: from the journal into a database that comes and goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.archivist import policy
from actors.archivist.actor import Archivist
from actors.archivist.cell import ArchivistCell
from actors.archivist.messages import Appended, CatchUp, ReportArchive
from actors.archivist.policy import KeepDays
from actors.archivist.ports import Chunk, Keep, Line, Overtaken, Unavailable
from actors.auditor.ports import Place
from runtime import ChildSpec, Ref, Supervisor, open_system

CHUNK = 10


class FakeJournal:
    """Numbered lines, ten a chunk."""

    source = "w1"

    def __init__(self, count: int = 0) -> None:
        self.count = count

    async def read(self, after: Place | None) -> Chunk | None:
        await trio.lowlevel.checkpoint()
        start = after.offset if after is not None else 0
        end = min(self.count, start + CHUNK)
        if end <= start:
            return None
        lines = tuple(Line(Place("a", n), b"%d" % n) for n in range(start, end))
        return Chunk(lines, Place("a", end))


class FakeArchive:
    """Keeps lines in a list; `down` while it cannot be reached."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.at: Place | None = None
        self.down = False
        self.tries = 0
        self.purged: list[Keep] = []
        self.left = 0

    async def place(self, source: str) -> Place | None:
        self._reach()
        return self.at

    async def keep(self, source: str, after: Place | None, chunk: Chunk) -> int:
        await trio.lowlevel.checkpoint()
        self._reach()
        if after != self.at:
            raise Overtaken("by another")
        self.lines += [line.data for line in chunk.lines]
        self.at = chunk.end
        return len(chunk.lines)

    async def purge(self, keep: Keep, now_ms: int) -> int:
        await trio.lowlevel.checkpoint()
        self._reach()
        self.purged.append(keep)
        self.left = max(0, self.left - 1)
        return self.left

    async def take_turn(self, job: str, holder: str, now_ms: int, for_ms: int) -> bool:
        self._reach()
        return True

    def _reach(self) -> None:
        self.tries += 1
        if self.down:
            raise Unavailable("the database is gone")


@asynccontextmanager
async def archivist(
    journal: FakeJournal, archive: FakeArchive
) -> AsyncIterator[Ref[Archivist]]:
    cell = ArchivistCell(
        journal, archive, lambda: KeepDays(30, 3, 120, 800), trio.current_time
    )
    root = ChildSpec(
        "root", lambda: Supervisor([ChildSpec("archivist", lambda: Archivist(cell))])
    )
    async with open_system(root, rng=Random(1)) as system:
        ref = system.lookup("archivist", Archivist)
        assert ref is not None
        yield ref


async def test_all_that_there_is_is_taken_in_once_and_in_order(
    autojump_clock: MockClock,
) -> None:
    journal, archive = FakeJournal(25), FakeArchive()
    async with archivist(journal, archive) as ref:
        report = await ref.ask(CatchUp())
        assert (report.kept, report.behind, report.trouble) == (25, False, "")
        journal.count = 31
        ref.offer(Appended())
        await ref.ask(CatchUp())

    assert archive.lines == [b"%d" % number for number in range(31)]


async def test_a_database_that_is_gone_costs_time_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    """The journal is the queue: nothing is held in memory, nothing is lost."""
    journal, archive = FakeJournal(15), FakeArchive()
    archive.down = True
    async with archivist(journal, archive) as ref:
        await trio.sleep(100)
        report = await ref.ask(ReportArchive())
        assert report.trouble == "the database is gone"
        assert report.behind
        # It backs off: a dozen tries, not thousands.
        assert archive.tries < 20
        journal.count = 40
        archive.down = False
        await trio.sleep(policy.RETRY_CAP_S + 1)
        report = await ref.ask(ReportArchive())
        assert (report.trouble, report.kept) == ("", 40)

    assert len(archive.lines) == 40


async def test_a_lost_message_only_costs_time(autojump_clock: MockClock) -> None:
    journal, archive = FakeJournal(), FakeArchive()
    async with archivist(journal, archive):
        await wait_all_tasks_blocked()
        journal.count = 3
        await trio.sleep(policy.LOOK_AGAIN_S + policy.GATHER_S + 1)
        assert len(archive.lines) == 3


async def test_whoever_is_overtaken_goes_on_from_where_the_other_is(
    autojump_clock: MockClock,
) -> None:
    """As after a restart that began before the last life had ended."""
    journal, archive = FakeJournal(10), FakeArchive()
    async with archivist(journal, archive) as ref:
        await ref.ask(CatchUp())
        archive.at = Place("a", 14)
        journal.count = 20
        report = await ref.ask(CatchUp())
        assert report.at_bytes == 20

    assert archive.lines[10:] == [b"%d" % number for number in range(14, 20)]


async def test_what_is_old_is_forgotten_part_by_part(
    autojump_clock: MockClock,
) -> None:
    archive = FakeArchive()
    archive.left = 3
    async with archivist(FakeJournal(), archive):
        await trio.sleep(policy.PURGE_EVERY_S + 1)

    assert len(archive.purged) == 3
    now_ms = int(policy.PURGE_EVERY_S * 1000)
    assert archive.purged[0].minutes_ms == now_ms - 3 * policy.DAY_MS
