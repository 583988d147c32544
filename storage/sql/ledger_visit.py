"""One sync of a replica, inside its transaction.

It decides nothing: it locks and loads rows, lets clearing.py divide them, and writes
them back while it holds them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from actors.ledger import clearing
from actors.ledger.clearing import Held, Sum
from actors.ledger.messages import Cap
from actors.ledger.ports import LedgerStoreLost
from actors.ledger.shares import (
    Peer,
    RateAnswer,
    SliceAnswer,
    SliceAsk,
    SumKey,
    Sync,
    Synced,
)
from storage.sql import ledger_rows as rows
from storage.sql.ledger_ends import bury
from storage.sql.port import Transaction


class Visit:
    """One sync, inside its transaction."""

    def __init__(
        self, tx: Transaction, sync: Sync, version: int, caps: dict[str, Cap]
    ) -> None:
        self.tx = tx
        self.sync = sync
        self.version = version
        self.caps = caps
        self.sums: dict[SumKey, Sum] = {}
        self.said = Synced()

    def make(self) -> Visit:
        """Do all of it."""
        sync, tx = self.sync, self.tx
        missing = self._lock()
        fresh, revived = self._meet()
        if fresh:
            rows.write_lines(tx, sync.lines)
        touched = list(clearing.sums_of(sync.lines, self.caps)) if fresh else []
        asked = {ask.key: ask for ask in sync.slices}
        for key in missing:
            # With this sync's own lines, which are written already.
            self._open(asked[key])
        self.sums = rows.lock_sums(tx, {*asked, *(key for key, _, _ in touched)})
        if not asked.keys() <= self.sums.keys():
            raise LedgerStoreLost("a sum was removed while it was asked for")
        before = {key: rows.columns(one) for key, one in self.sums.items()}
        self._roll(asked.values())
        for key, at, nanousd in touched:
            if key in self.sums and key not in missing:
                clearing.spend(self.sums[key], self.caps[key.cap], at, nanousd)
        slices = self._divide(fresh=fresh)
        self._write_sums(before)
        rates = self._pass(fresh=fresh)
        leader = self._lead()
        if sync.leave:
            bury(tx, sync.replica, sync.now_s)
        peers = tuple(
            Peer(name, beats)
            for name, beats in tx.rows(
                "SELECT id, beats FROM ledger_replica WHERE alive = 1"
            )
        )
        self.said = Synced(slices, rates, peers, leader, revived)
        return self

    # -- step by step --------------------------------------------------------------

    def _lock(self) -> set[SumKey]:
        """Take the state's row, alone where sums are to be opened; which those are."""
        asked = [ask.key for ask in self.sync.slices]
        missing = set(asked) - rows.there(self.tx, asked)
        how = "FOR UPDATE" if missing else "FOR SHARE"
        row = self.tx.row(f"SELECT version FROM ledger_state WHERE id = 1 {how}")
        assert row is not None
        if missing:
            missing -= rows.there(self.tx, missing)
        if row[0] != self.version:
            self._read_caps(row[0])
        fresh = [
            ask
            for ask in self.sync.slices
            if ask.key in missing and ask.cap is not None
            and ask.key.cap not in self.caps
        ]  # fmt: skip
        if fresh:
            for ask in fresh:
                self.tx.run(
                    "INSERT INTO ledger_cap (id, definition) VALUES (?, ?) "
                    "ON CONFLICT (id) DO NOTHING",
                    ask.key.cap,
                    msgspec.json.encode(ask.cap).decode(),
                )
            self.tx.run("UPDATE ledger_state SET version = version + 1 WHERE id = 1")
            self._read_caps(self.version + 1)
        return missing

    def _read_caps(self, version: int) -> None:
        self.version = version
        self.caps = rows.caps(self.tx)

    def _meet(self) -> tuple[bool, bool]:
        """Be known and counted: is this batch new, and were we taken for dead."""
        sync, tx = self.sync, self.tx
        row = tx.row(
            "SELECT batch, alive FROM ledger_replica WHERE id = ? FOR UPDATE",
            sync.replica,
        )
        if row is None:
            tx.run(
                "INSERT INTO ledger_replica "
                "(id, instance, batch, beats, alive, died_s) VALUES (?, ?, ?, 1, 1, 0)",
                sync.replica,
                sync.instance,
                sync.batch,
            )
            return True, False
        tx.run(
            "UPDATE ledger_replica SET batch = ?, beats = beats + 1, alive = 1 "
            "WHERE id = ?",
            sync.batch,
            sync.replica,
        )
        return row[0] != sync.batch, not row[1]

    def _open(self, ask: SliceAsk) -> None:
        """A sum that is asked for first: added up from the lines."""
        key, cap = ask.key, ask.cap
        row = Sum()
        if cap is not None:
            since = clearing.since_quarter(cap, key, self.sync.now_s)
            row = clearing.opened(
                cap, key, rows.lines(self.tx, cap, key, since), self.sync.now_s
            )
        self.tx.run(
            "INSERT INTO ledger_sum (cap, subject, slot, spent, leased, used, wanted) "
            "VALUES (?, ?, ?, ?, 0, 0, 0) ON CONFLICT (cap, subject, slot) DO NOTHING",
            *key,
            row.spent,
        )
        self.tx.run_many(
            rows.QUARTER,
            [(key.cap, key.subject, at, n) for at, n in row.quarters.items()],
        )

    def _roll(self, asks: Iterable[SliceAsk]) -> None:
        """Let leave what leaves a rolling window: those quarters alone are read."""
        for ask in asks:
            if ask.cap is None or not ask.cap.rolling:
                continue
            row = self.sums[ask.key]
            last = clearing.gone_before(ask.cap, self.sync.now_s)
            row.quarters = dict(
                self.tx.rows(
                    "SELECT quarter, nanousd FROM ledger_quarter "
                    "WHERE cap = ? AND subject = ? AND quarter <= ?",
                    ask.key.cap,
                    ask.key.subject,
                    last,
                )
            )
            if clearing.roll(row, ask.cap, self.sync.now_s):
                self.tx.run(
                    "DELETE FROM ledger_quarter "
                    "WHERE cap = ? AND subject = ? AND quarter <= ?",
                    ask.key.cap,
                    ask.key.subject,
                    last,
                )

    def _divide(self, *, fresh: bool) -> tuple[SliceAnswer, ...]:
        sync = self.sync
        mine = rows.slices(self.tx, sync.replica, [ask.key for ask in sync.slices])
        answers: list[SliceAnswer] = []
        wrote: list[tuple[SumKey, Held]] = []
        for ask in sync.slices:
            row, held = self.sums[ask.key], mine.get(ask.key, Held())
            short = False
            if fresh:
                before = held.granted, held.used
                clearing.consume(row, held, ask)
                clearing.note_use(row, held, ask.used)
                short = not clearing.grant(row, held, ask)
                if before != (held.granted, held.used):
                    wrote.append((ask.key, held))
            said = clearing.answer(ask.key, row, held)
            if short and ask.cap is not None and ask.cap.rolling:
                said = msgspec.structs.replace(said, quarters=self._quarters(ask.key))
            answers.append(said)
        self._write_slices(wrote)
        return tuple(answers)

    def _quarters(self, key: SumKey) -> tuple[tuple[int, int], ...]:
        found = self.tx.rows(
            "SELECT quarter, nanousd FROM ledger_quarter "
            "WHERE cap = ? AND subject = ? ORDER BY quarter",
            key.cap,
            key.subject,
        )
        return tuple((at, nanousd) for at, nanousd in found)

    def _write_slices(self, wrote: list[tuple[SumKey, Held]]) -> None:
        name = self.sync.replica
        kept = [(key, one) for key, one in wrote if one.granted or one.used]
        gone = [key for key, one in wrote if not (one.granted or one.used)]
        if kept:
            self.tx.run_many(
                rows.SLICE, [(*key, name, one.granted, one.used) for key, one in kept]
            )
        if gone:
            self.tx.run_many(
                "DELETE FROM ledger_slice "
                "WHERE cap = ? AND subject = ? AND slot = ? AND replica = ?",
                [(*key, name) for key in gone],
            )

    def _write_sums(self, before: dict[SumKey, tuple[int, int, int, int]]) -> None:
        changed = [
            (*rows.columns(one), *key)
            for key, one in self.sums.items()
            if rows.columns(one) != before[key]
        ]
        if changed:
            self.tx.run_many(rows.SUM, changed)
        quarters = [
            (key.cap, key.subject, at, nanousd)
            for key, one in self.sums.items()
            for at, nanousd in one.quarters.items()
        ]
        if quarters:
            self.tx.run_many(rows.QUARTER, sorted(quarters))

    def _pass(self, *, fresh: bool) -> tuple[RateAnswer, ...]:
        said: list[RateAnswer] = []
        for ask in sorted(self.sync.rates, key=lambda ask: ask.name):
            row = self.tx.row(
                "SELECT paid_at_us FROM ledger_rate WHERE name = ? FOR UPDATE", ask.name
            )
            paid_at_s = 0.0 if row is None else row[0] / rows.MICROS
            if not fresh:
                said.append(RateAnswer(ask.name, 0, paid_at_s))
                continue
            one = clearing.pass_rate(paid_at_s, ask, self.sync.now_s)
            self.tx.run(
                "INSERT INTO ledger_rate (name, paid_at_us) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET paid_at_us = excluded.paid_at_us",
                ask.name,
                round(one.paid_at_s * rows.MICROS),
            )
            said.append(one)
        return tuple(said)

    def _lead(self) -> tuple[str, int]:
        sync, tx = self.sync, self.tx
        row = tx.row("SELECT replica, beats FROM ledger_leader WHERE id = 1")
        assert row is not None
        leader = str(row[0]), int(row[1])
        if leader[0] == sync.replica:
            tx.run("UPDATE ledger_leader SET beats = beats + 1 WHERE id = 1")
            return sync.replica, leader[1] + 1
        if sync.lead_from == leader and tx.run(
            "UPDATE ledger_leader SET replica = ?, beats = 1 "
            "WHERE id = 1 AND replica = ? AND beats = ?",
            sync.replica,
            *leader,
        ):
            return sync.replica, 1
        return leader
