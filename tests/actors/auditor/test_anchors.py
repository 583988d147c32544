"""When checkpoints are anchored, what a contradiction does, and when one is late."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.auditor import anchoring
from actors.auditor.anchoring import (
    LATE_S,
    RETRY_FIRST_S,
    RETRY_S_MAX,
    Anchoring,
    due_s,
    failed,
    kept,
    late_s,
)
from actors.auditor.messages import Attest, AuditEvent, AuditUnavailable, ReportLog
from actors.auditor.notes import Checkpoint, Verifier, open_checkpoint
from actors.auditor.ports import AnchorRefused, AnchorsUnavailable
from storage.audit_memory import memory_book
from tests.actors.auditor.test_auditor_log import auditor

EVENT = AuditEvent("key.grant", actor="site:acme")
EVERY_S = 600.0


@attrs.define
class MemoryAnchorage:
    """Keeps what it is given; `mood` makes it misbehave."""

    every_s: float = EVERY_S
    kept: list[tuple[float, int]] = attrs.field(factory=list[tuple[float, int]])
    there: tuple[Checkpoint, ...] = ()
    mood: str = ""
    asked: list[float] = attrs.field(factory=list[float])

    async def keep(self, note: bytes, log: Verifier) -> None:
        self.asked.append(trio.current_time())
        await self._answer()
        self.kept.append((trio.current_time(), open_checkpoint(note, log).size))

    async def newest(self, log: Verifier) -> tuple[Checkpoint, ...]:
        await self._answer()
        return self.there

    async def _answer(self) -> None:
        match self.mood:
            case "gone":
                await trio.sleep(1)
                raise AnchorsUnavailable("the bucket cannot be reached")
            case "contradicts":
                raise AnchorRefused("a locked anchor knows another log at size 1")
            case "hangs":
                await trio.sleep_forever()
            case _:
                await trio.lowlevel.checkpoint()


async def test_a_checkpoint_is_anchored_at_once_and_then_once_a_period(
    autojump_clock: MockClock,
) -> None:
    book, store = memory_book()
    book.anchorage = anchorage = MemoryAnchorage()
    async with auditor((book, store)) as desk:
        for _ in range(10):
            await desk.ref.ask(Attest(EVENT))
            await trio.sleep(EVERY_S / 4)
        sizes = [size for _, size in anchorage.kept]
        gaps = [
            after - before
            for (before, _), (after, _) in zip(
                anchorage.kept, anchorage.kept[1:], strict=False
            )
        ]
        assert sizes == sorted(set(sizes))
        assert sizes[0] == 1
        assert all(EVERY_S <= gap <= EVERY_S * 1.5 for gap in gaps)
        report = await desk.ref.ask(ReportLog())
        assert report.anchored == sizes[-1]


async def test_a_log_that_does_not_grow_needs_no_more_anchors(
    autojump_clock: MockClock,
) -> None:
    book, store = memory_book()
    book.anchorage = anchorage = MemoryAnchorage()
    async with auditor((book, store)) as desk:
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(20 * EVERY_S)
        assert len(anchorage.kept) == 1
        assert late_s(book.anchoring, book.log.published, trio.current_time()) == 0
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(2)
        assert len(anchorage.kept) == 2


async def test_storage_that_is_away_is_asked_ever_less_often_and_told_when_late(
    autojump_clock: MockClock,
) -> None:
    """The log goes on meanwhile."""
    book, store = memory_book()
    book.anchorage = anchorage = MemoryAnchorage()
    async with auditor((book, store)) as desk:
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(2)
        anchorage.mood = "gone"
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(EVERY_S + 20)
        now = trio.current_time()
        assert book.anchoring is not None
        assert book.anchoring.trouble == "the bucket cannot be reached"
        assert late_s(book.anchoring, book.log.published, now) == 0
        await trio.sleep(2 * 3600)
        now = trio.current_time()
        assert late_s(book.anchoring, book.log.published, now) > 3600
        gaps = [
            after - before
            for before, after in zip(
                anchorage.asked[1:], anchorage.asked[2:], strict=False
            )
        ]
        assert gaps[0] == pytest.approx(RETRY_FIRST_S + 1)
        assert gaps[-1] == pytest.approx(RETRY_S_MAX + 1)
        rounded = [round(gap) for gap in gaps]
        assert rounded == sorted(rounded)
        anchorage.mood = ""
        await trio.sleep(RETRY_S_MAX + 2)
        assert late_s(book.anchoring, book.log.published, trio.current_time()) == 0
        assert anchorage.kept[-1][1] == book.log.published
        assert book.anchoring.trouble == ""


@pytest.mark.parametrize(
    "there",
    [
        (Checkpoint("memory", 3, b"\0" * 32),),
        (Checkpoint("memory", 2, b"\0" * 32),),
    ],
    ids=["more entries than the log", "another log"],
)
async def test_a_log_that_its_anchor_contradicts_acknowledges_nothing(
    there: tuple[Checkpoint, ...], autojump_clock: MockClock
) -> None:
    book, store = memory_book()
    async with auditor((book, store)) as desk:
        await desk.ref.ask(Attest(EVENT))
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(1.5)
    book.anchorage = anchorage = MemoryAnchorage(there=there)
    async with auditor((book, store)) as desk:
        await trio.sleep(0.1)
        with pytest.raises(AuditUnavailable, match="a locked anchor knows"):
            await desk.ref.ask(Attest(EVENT))
        report = await desk.ref.ask(ReportLog())
        assert "a locked anchor knows" in report.trouble
        await trio.sleep(10 * EVERY_S)
        assert anchorage.kept == []


async def test_another_checkpoint_of_the_same_size_disowns_the_log(
    autojump_clock: MockClock,
) -> None:
    book, store = memory_book()
    book.anchorage = MemoryAnchorage()
    async with auditor((book, store)) as desk:
        await trio.sleep(1)
        book.anchorage.mood = "contradicts"
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(2)
        with pytest.raises(AuditUnavailable, match="another log at size 1"):
            await desk.ref.ask(Attest(EVENT))


@pytest.mark.parametrize("mood", ["", "gone", "hangs"])
async def test_a_stop_anchors_what_was_published_last_and_waits_for_nobody(
    mood: str, autojump_clock: MockClock
) -> None:
    book, store = memory_book()
    book.anchorage = anchorage = MemoryAnchorage()
    async with auditor((book, store)) as desk:
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(2)
        anchorage.mood = mood
        await desk.ref.ask(Attest(EVENT))
        began = trio.current_time()
    assert trio.current_time() - began < 8
    assert [size for _, size in anchorage.kept] == ([1, 2] if not mood else [1])


async def test_a_life_that_crashed_takes_the_anchors_up_where_they_were(
    autojump_clock: MockClock,
) -> None:
    book, store = memory_book()
    book.anchorage = anchorage = MemoryAnchorage()
    async with auditor((book, store)) as desk:
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(2)
        store.fails = True
        with pytest.raises(AuditUnavailable):
            await desk.ref.ask(Attest(EVENT))
        store.fails = False
        await trio.sleep(EVERY_S)
        await desk.ref.ask(Attest(EVENT))
        await trio.sleep(5)
        times = [at for at, _ in anchorage.kept]
        assert len(times) == 2
        assert times[1] - times[0] >= EVERY_S


def test_the_schedule_is_bounded_and_a_failure_never_puts_it_off() -> None:
    state = kept(Anchoring(EVERY_S, 0.0), 5, 100.0)
    assert due_s(state) == 100.0 + EVERY_S
    assert kept(state, 3, 110.0).size == 5
    for count in range(1, 2000):
        state = failed(state, "gone", 700.0)
        assert 0 < due_s(state) - 700.0 <= RETRY_S_MAX, count
    assert late_s(state, 6, 700.0 + LATE_S) == 0
    assert late_s(state, 6, 701.0 + LATE_S) == 1
    assert late_s(state, 5, 10_000.0) == 0
    assert late_s(None, 6, 10_000.0) == 0
    assert "gone" in repr(state)
    assert anchoring.DOUBLINGS_MAX < 60
