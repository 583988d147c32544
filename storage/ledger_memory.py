"""The ledger's shared store in memory: for one process without a database, and tests.

Implements `LedgerStore`. It decides nothing: clearing.py does, over these rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio
from msgspec import Struct

from actors.ledger import clearing
from actors.ledger.clearing import Held, Sum
from actors.ledger.messages import Cap
from actors.ledger.shares import (
    Line,
    Peer,
    RateAnswer,
    SliceAnswer,
    SliceAsk,
    SumKey,
    Sync,
    Synced,
    cap_id,
)


class Replica(Struct):
    """One life of a replica."""

    instance: str
    batch: int = 0
    beats: int = 0
    alive: bool = True


class LedgerMemory:
    """Rows in dictionaries. What is here is gone with the process."""

    def __init__(self) -> None:
        self.replicas: dict[str, Replica] = {}
        self.lines: dict[Line, int] = {}
        self.caps: dict[str, Cap] = {}
        self.sums: dict[SumKey, Sum] = {}
        self.slices: dict[SumKey, dict[str, Held]] = {}
        self.rates: dict[str, float] = {}
        self.leader = ("", 0)

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<LedgerMemory sums={len(self.sums)} replicas={len(self.replicas)}>"

    async def sync(self, sync: Sync) -> Synced:
        """See LedgerStore."""
        await trio.lowlevel.checkpoint()
        return self.sync_now(sync)

    async def bury(self, dead: tuple[Peer, ...]) -> int:
        """See LedgerStore."""
        await trio.lowlevel.checkpoint()
        return self.bury_now(dead)

    async def restart(self, caps: tuple[Cap, ...], subject: str, now_s: float) -> int:
        """See LedgerStore."""
        await trio.lowlevel.checkpoint()
        return self.restart_now(caps, subject, now_s)

    async def tidy(self, now_s: float) -> None:
        """See LedgerStore. Memory is as long as the process."""

    def sync_now(self, sync: Sync) -> Synced:
        """The same, at once."""
        me = self._meet(sync)
        revived = not me.alive
        me.alive = True
        me.beats += 1
        fresh = me.batch != sync.batch
        me.batch = sync.batch
        for ask in sync.slices:
            self._open(ask, sync.now_s)
        if fresh:
            self._count(sync.lines)
        slices = tuple(
            self._divide(sync.replica, ask, sync.now_s, fresh=fresh)
            for ask in sync.slices
        )
        rates = tuple(self._pass(sync, fresh=fresh)) if sync.rates else ()
        self._lead(sync)
        if sync.leave:
            self._end(sync.replica)
        peers = tuple(
            Peer(name, one.beats) for name, one in self.replicas.items() if one.alive
        )
        return Synced(slices, rates, peers, self.leader, revived)

    def bury_now(self, dead: Iterable[Peer]) -> int:
        """The same, at once."""
        count = 0
        for peer in dead:
            one = self.replicas.get(peer.replica)
            if one is not None and one.alive and one.beats == peer.beats:
                self._end(peer.replica)
                count += 1
        return count

    def restart_now(self, caps: tuple[Cap, ...], subject: str, now_s: float) -> int:
        """The same, at once."""
        wanted = {(cap_id(cap), clearing.slot_of(cap, now_s)): cap for cap in caps}
        found = [
            key
            for key in self.sums
            if (key.cap, key.slot) in wanted and (not subject or key.subject == subject)
        ]
        for key in found:
            clearing.restart(self.sums[key])
        return len(found)

    # -- inside ------------------------------------------------------------------

    def _meet(self, sync: Sync) -> Replica:
        me = self.replicas.get(sync.replica)
        if me is not None:
            return me
        if sync.instance:
            for name, other in self.replicas.items():
                if other.instance == sync.instance and other.alive:
                    self._end(name)
        me = self.replicas[sync.replica] = Replica(sync.instance)
        return me

    def _open(self, ask: SliceAsk, now_s: float) -> None:
        key, cap = ask.key, ask.cap
        if key in self.sums:
            return
        if cap is None:
            self.sums[key] = Sum()
            return
        self.caps.setdefault(key.cap, cap)
        since = clearing.since_quarter(cap, key, now_s)
        lines = ((at, n) for at, n in self.lines.items() if at.quarter >= since)
        self.sums[key] = clearing.opened(cap, key, lines, now_s)

    def _count(self, lines: tuple[tuple[Line, int], ...]) -> None:
        for line, nanousd in lines:
            self.lines[line] = self.lines.get(line, 0) + nanousd
        for key, quarter, nanousd in clearing.sums_of(lines, self.caps):
            row = self.sums.get(key)
            if row is not None:
                clearing.spend(row, self.caps[key.cap], quarter, nanousd)

    def _divide(
        self, replica: str, ask: SliceAsk, now_s: float, *, fresh: bool
    ) -> SliceAnswer:
        row = self.sums[ask.key]
        if ask.cap is not None:
            clearing.roll(row, ask.cap, now_s)
        mine = self.slices.setdefault(ask.key, {}).setdefault(replica, Held())
        short = False
        if fresh:
            clearing.consume(row, mine, ask)
            clearing.note_use(row, mine, ask.used)
            short = not clearing.grant(row, mine, ask)
        return clearing.answer(ask.key, row, mine, short=short)

    def _pass(self, sync: Sync, *, fresh: bool) -> Iterable[RateAnswer]:
        for ask in sync.rates:
            paid_at_s = self.rates.get(ask.name, 0.0)
            said = (
                clearing.pass_rate(paid_at_s, ask, sync.now_s)
                if fresh
                else RateAnswer(ask.name, 0, paid_at_s)
            )
            self.rates[ask.name] = said.paid_at_s
            yield said

    def _lead(self, sync: Sync) -> None:
        if self.leader[0] == sync.replica:
            self.leader = (sync.replica, self.leader[1] + 1)
        elif sync.lead_from == self.leader:
            self.leader = (sync.replica, 1)

    def _end(self, replica: str) -> None:
        self.replicas[replica].alive = False
        for key, held in self.slices.items():
            mine = held.get(replica)
            if mine is not None and clearing.bury(key, self.sums[key], mine):
                del held[replica]
