"""The auditor at work on a virtual clock: acknowledged means durable and signed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from random import Random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.auditor import log as log_module
from actors.auditor.actor import Auditor, AuditorCell
from actors.auditor.entries import read
from actors.auditor.log import Publication
from actors.auditor.messages import (
    Attest,
    AuditEvent,
    AuditUnavailable,
    Flush,
    Noted,
    Receipt,
    ReportLog,
)
from actors.auditor.notes import Signature, open_checkpoint
from actors.auditor.ports import AuditBook, LogStore, Place, WitnessRefused
from actors.auditor.wal import recover
from gateway.embed import embedded
from gateway.embed_providers import FakeProvider
from runtime import ActorDown, Backoff, ChildSpec, Ref, Supervisor, open_system
from storage.audit_memory import MemoryLogStore, entries_of, memory_book
from tests.gateway.gateways import CHAT, KEY, chat, config

GRANT = AuditEvent("key.grant", actor="site:acme")
DENIED = AuditEvent("key.grant", actor="site:acme", out="denied")


class QuietJournal:
    """A records journal that nothing is written to here."""

    async def append(self, lines: bytes) -> Place:
        await trio.lowlevel.checkpoint()
        return Place("records", 0)


@attrs.frozen
class Desk:
    """An auditor and what it writes to."""

    ref: Ref[Auditor]
    book: AuditBook
    store: MemoryLogStore

    def entries(self) -> list[dict[str, Any]]:
        return [dict(read(leaf)) for leaf in entries_of(self.book, self.store)]

    def acts(self) -> list[str]:
        return [one["act"] for one in self.entries()]


@asynccontextmanager
async def auditor(
    made: tuple[AuditBook, MemoryLogStore] | None = None,
) -> AsyncGenerator[Desk]:
    book, store = made or memory_book()
    cell = AuditorCell(
        QuietJournal(), book, lambda: 1_800_000_000 + trio.current_time()
    )
    child = ChildSpec(
        "auditor", lambda: Auditor(cell), backoff=Backoff(first_s=0.5, cap_s=2)
    )
    root = ChildSpec("system", lambda: Supervisor([child]))
    async with open_system(root, rng=Random(1)) as system:
        ref = system.lookup("auditor", Auditor)
        assert ref is not None
        yield Desk(ref, book, store)


async def test_a_receipt_names_a_durable_signed_checkpoint(
    autojump_clock: MockClock,
) -> None:
    async with auditor() as desk:
        receipt = await desk.ref.ask(Attest(GRANT))

        key = desk.book.log.signer.verifier
        found = recover(bytes(desk.store.segment), key)
        checkpoint = open_checkpoint(found.note, key)
        assert receipt == Receipt("memory", 0, checkpoint.size, checkpoint.root)
        assert read(found.entries[0])["act"] == "key.grant"


async def test_those_who_wait_together_share_a_sync(autojump_clock: MockClock) -> None:
    async with auditor() as desk:
        receipts: list[Receipt] = []

        async def ask() -> None:
            receipts.append(await desk.ref.ask(Attest(GRANT)))

        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(ask)
        assert sorted(one.seq for one in receipts) == list(range(32))
        assert desk.store.groups <= 3
        assert all(one.seq < one.size for one in receipts)


async def test_what_nobody_waits_for_is_durable_within_a_tenth(
    autojump_clock: MockClock,
) -> None:
    async with auditor() as desk:
        desk.ref.offer(Noted((GRANT, GRANT)))
        await trio.sleep(0.09)
        assert desk.book.log.size == 0
        await trio.sleep(0.02)
        assert desk.book.log.size == 2


async def test_readers_see_what_was_written_a_second_later(
    autojump_clock: MockClock,
) -> None:
    async with auditor() as desk:
        await desk.ref.ask(Attest(GRANT))
        assert desk.store.checkpoint == b""
        await trio.sleep(1.01)

        key = desk.book.log.signer.verifier
        assert open_checkpoint(desk.store.checkpoint, key).size == 1
        assert sorted(desk.store.files) == ["tile/0/000.p/1", "tile/entries/000.p/1"]
        report = await desk.ref.ask(ReportLog())
        assert (report.size, report.published, report.trouble) == (1, 1, "")
        assert report.vkey == key.vkey


async def test_a_full_disk_refuses_at_once_and_space_brings_it_back(
    autojump_clock: MockClock,
) -> None:
    """No hang, no acknowledgement without a disk, and the log tells what happened."""
    async with auditor() as desk:
        await desk.ref.ask(Attest(GRANT))
        desk.store.fails = True
        started = trio.current_time()
        with pytest.raises(AuditUnavailable, match="No space left"):
            await desk.ref.ask(Attest(GRANT))
        for _ in range(20):
            with pytest.raises((AuditUnavailable, ActorDown)):
                await desk.ref.ask(Attest(GRANT))
        assert trio.current_time() - started < 0.1
        await trio.sleep(7)
        with pytest.raises((AuditUnavailable, ActorDown)):
            await desk.ref.ask(Attest(GRANT))

        desk.store.fails = False
        await trio.sleep(3)
        receipt = await desk.ref.ask(Attest(GRANT))
        assert desk.acts() == [
            "key.grant",
            "key.grant",  # Refused to its asker, and said to be so:
            "audit.unacknowledged",
            "key.grant",
        ]
        refused = desk.entries()[2]
        assert (refused["first"], refused["last"]) == (1, 1)
        assert receipt.seq == 3
        found = recover(bytes(desk.store.segment), desk.book.log.signer.verifier)
        assert found.edge.root() == receipt.root


async def test_facts_outlive_a_disk_that_is_gone(autojump_clock: MockClock) -> None:
    async with auditor() as desk:
        desk.store.fails = True
        for _ in range(5):
            desk.ref.offer(Noted((GRANT,)))
            await trio.sleep(1)
        assert desk.book.log.size == 0
        desk.store.fails = False
        await trio.sleep(5)
        assert desk.acts() == ["key.grant"] * 5


async def test_refusals_are_folded(autojump_clock: MockClock) -> None:
    async with auditor() as desk:
        for _ in range(100):
            desk.ref.offer(Noted((DENIED,)))
        await trio.sleep(11)

        assert [(one["out"], one.get("n", 1)) for one in desk.entries()] == [
            ("denied", 1),
            ("denied", 99),
        ]


async def test_an_orderly_stop_writes_and_publishes_everything(
    autojump_clock: MockClock,
) -> None:
    made = memory_book()
    async with auditor(made) as desk:
        desk.ref.offer(Noted((GRANT, DENIED, DENIED)))
        await trio.testing.wait_all_tasks_blocked()
    book, store = made

    assert desk.acts() == ["key.grant", "key.grant", "key.grant"]
    shown = open_checkpoint(store.checkpoint, book.log.signer.verifier)
    assert shown.size == book.log.size == 3


async def test_an_event_that_fits_no_leaf_is_its_senders_fault(
    autojump_clock: MockClock,
) -> None:
    bad = AuditEvent("key.grant", name="x" * 300)
    async with auditor() as desk:
        with pytest.raises(Exception, match="name is longer"):
            await desk.ref.ask(Attest(bad))
        desk.ref.offer(Noted((bad,)))
        await trio.sleep(0.2)

        assert desk.acts() == ["audit.unreadable"]
        await desk.ref.ask(Attest(GRANT))


async def test_a_batch_of_records_is_covered_by_its_hash(
    autojump_clock: MockClock,
) -> None:
    async with embedded(
        config(), {"main": FakeProvider()}, environ={"PROVIDER_KEY": "k"}
    ) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)
        await gateway.gateway.tree.auditor.ask(Flush())
        await trio.sleep(0.2)
        kept = [read(leaf) for leaf in gateway.gateway.tree.spec.book.log.kept]
        [batch] = [one for one in kept if one["act"] == "records.kept"]
        lines = b"".join(line + b"\n" for line in gateway.journal.lines)

    assert (batch["file"], batch["offset"], batch["records"]) == ("memory", 0, 1)
    assert batch["bytes"] == len(lines)
    assert batch["sha256"] == sha256(lines).hexdigest()


@attrs.define
class ScriptedWitness:
    """Signs, is silent, or has seen another history."""

    mood: str = "signs"

    async def cosign(
        self, shown: Publication, store: LogStore
    ) -> tuple[Signature, ...]:
        await trio.lowlevel.checkpoint()
        if self.mood == "refuses":
            raise WitnessRefused("another history")
        line = Signature("w.example", b"abcd", bytes(72))
        return (line,) if self.mood == "signs" else ()


async def test_a_witness_that_disowns_the_log_ends_acknowledgements(
    autojump_clock: MockClock,
) -> None:
    made = memory_book()
    witness = ScriptedWitness()
    made[0].cosigner = witness
    async with auditor(made) as desk:
        await desk.ref.ask(Attest(GRANT))
        await trio.sleep(2)
        report = await desk.ref.ask(ReportLog())
        assert (report.published, report.witnessed) == (1, 1)
        assert desk.store.witnessed == desk.store.checkpoint

        witness.mood = "silent"
        await desk.ref.ask(Attest(GRANT))
        await trio.sleep(2)
        report = await desk.ref.ask(ReportLog())
        assert (report.published, report.witnessed) == (2, 1)

        witness.mood = "refuses"
        await desk.ref.ask(Attest(GRANT))
        await trio.sleep(2)
        with pytest.raises(AuditUnavailable, match="another history"):
            await desk.ref.ask(Attest(GRANT))
        assert (await desk.ref.ask(ReportLog())).published == 2


async def test_publishing_that_fails_is_told_and_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with auditor() as desk:
        await desk.ref.ask(Attest(GRANT))
        desk.store.fails = True
        await trio.sleep(2)
        report = await desk.ref.ask(ReportLog())
        assert report.trouble == "publishing: No space left on device"
        desk.store.fails = False
        await trio.sleep(5)
        report = await desk.ref.ask(ReportLog())
        assert (report.published, report.trouble) == (1, "")


async def test_a_long_segment_gives_way_to_a_short_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a start replays seconds of work, not years."""
    monkeypatch.setattr(log_module, "SEGMENT_BYTES_MAX", 50_000)
    async with auditor() as desk:
        longest = 0
        for _ in range(40):
            desk.ref.offer(Noted((GRANT,) * 100))
            await trio.sleep(1)
            longest = max(longest, len(desk.store.segment))
        receipt = await desk.ref.ask(Attest(GRANT))

        assert receipt.seq == 4000
        assert longest < 120_000
        found = recover(bytes(desk.store.segment), desk.book.log.signer.verifier)
        assert found.base > 3000
        assert found.edge.root() == receipt.root
        assert len(desk.acts()) == 4001


class SlowStore(MemoryLogStore):
    """A disk whose sync takes a second."""

    async def append(self, group: bytes) -> None:
        await trio.sleep(1)
        await super().append(group)


async def test_who_comes_during_a_sync_waits_for_the_next(
    autojump_clock: MockClock,
) -> None:
    """Its entry is in no group yet: the sync that is under way does not cover it."""
    book, memory = memory_book()
    store = SlowStore(bytes(memory.segment))
    book.store = store
    async with auditor((book, store)) as desk:
        done: list[tuple[int, int, float]] = []

        async def ask(delay_s: float) -> None:
            await trio.sleep(delay_s)
            receipt = await desk.ref.ask(Attest(GRANT))
            done.append((receipt.seq, receipt.size, trio.current_time()))

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for delay_s in (0.0, 0.5, 0.6):
                nursery.start_soon(ask, delay_s)

        times = [(seq, size, round(at - started, 3)) for seq, size, at in done]
        assert sorted(times) == [(0, 1, 1.0), (1, 3, 2.0), (2, 3, 2.0)]
