"""The auditor among crashes, stalls and a disk that comes and goes, by seed.

Whatever the order: an acknowledged entry is in the log for ever, the log is one, and no
size was ever signed with two roots.
"""

from __future__ import annotations

from random import Random

import pytest
import trio

from actors.auditor import wal
from actors.auditor.actor import Auditor, AuditorCell
from actors.auditor.entries import read
from actors.auditor.messages import Attest, AuditEvent, AuditUnavailable, Noted
from actors.auditor.notes import Verifier, open_checkpoint
from actors.auditor.ports import Place
from actors.auditor.wal import recover
from runtime import AskError, Backoff, ChildSpec, Limit, Ref, Supervisor, open_system
from runtime.testing import Fault, Sim, run_sim
from storage.audit_memory import MemoryLogStore, entries_of, memory_book

SEEDS = range(25)
ASKERS = 6
FAULTS = (
    Fault("crash", rate=0.02, actor="auditor"),
    Fault("stall", rate=0.05, actor="auditor", within_s=0.3),
)


class QuietJournal:
    """No records here."""

    async def append(self, lines: bytes) -> Place:
        await trio.lowlevel.checkpoint()
        return Place("records", 0)


class SeenStore(MemoryLogStore):
    """Remembers every checkpoint that was ever signed, written or not."""

    def __init__(self, segment: bytes, key: Verifier) -> None:
        super().__init__(segment)
        self.key = key
        self.signed: dict[int, bytes] = {}

    async def append(self, group: bytes) -> None:
        at = 0
        while (one := wal.read_frame(group, at)) is not None:
            at = one.end
            if one.kind == wal.CHECKPOINT:
                checkpoint = open_checkpoint(one.data, self.key)
                before = self.signed.setdefault(checkpoint.size, checkpoint.root)
                assert before == checkpoint.root, f"a fork at {checkpoint.size}"
        await super().append(group)


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledged_is_for_ever_whatever_happens(seed: int) -> None:
    book, _ = memory_book()
    store = SeenStore(book.log.segment(), book.log.signer.verifier)
    book.store = store
    acknowledged: dict[int, str] = {}

    async def ask(ref: Ref[Auditor], sim: Sim, who: str) -> None:
        for number in range(40):
            name = f"{who}/{number}"
            ref.offer(Noted((AuditEvent("key.use", name=name),)))
            try:
                with sim.impatience(0.2, 0.2):
                    receipt = await ref.ask(Attest(AuditEvent("key.grant", name=name)))
                    assert receipt.seq not in acknowledged
                    assert receipt.seq < receipt.size <= book.log.size, "covered"
                    assert store.signed[receipt.size] == receipt.root
                    acknowledged[receipt.seq] = name
            except (AuditUnavailable, AskError):
                await sim.jitter(1)
            await sim.jitter(0.1)

    async def disk(sim: Sim) -> None:
        while True:
            await sim.jitter(3)
            store.fails = not store.fails

    async def main(sim: Sim) -> None:
        cell = AuditorCell(QuietJournal(), book, trio.current_time)
        child = ChildSpec(
            "auditor", lambda: Auditor(cell), backoff=Backoff(first_s=0.1, cap_s=1)
        )

        class Root(Supervisor):
            limit = Limit(crashes=10_000, seconds=1)

        root = ChildSpec("system", lambda: Root([child]))
        async with open_system(root, rng=Random(seed)) as system:
            ref = system.lookup("auditor", Auditor)
            assert ref is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disk, sim)
                async with trio.open_nursery() as askers:
                    for number in range(ASKERS):
                        askers.start_soon(ask, ref, sim, str(number))
                nursery.cancel_scope.cancel(reason="all have asked")
            sim.calm()
            store.fails = False
            await trio.sleep(10)

    run_sim(main, seed, FAULTS)

    leaves = entries_of(book, store)
    entries = [read(leaf) for leaf in leaves]
    assert [one["seq"] for one in entries] == list(range(len(entries)))
    for seq, name in acknowledged.items():
        assert (entries[seq]["act"], entries[seq]["name"]) == ("key.grant", name)
    assert len(acknowledged) > ASKERS
    found = recover(bytes(store.segment), store.key)
    assert found.edge.root() == book.log.root
    assert found.torn_bytes == 0
    shown = open_checkpoint(store.checkpoint, store.key)
    assert (shown.size, shown.root) == (book.log.size, book.log.root)
