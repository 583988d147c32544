"""The ledger's shared store over SQL: one transaction a sync, whichever database.

Implements `LedgerStore`. It decides nothing: it loads rows, lets clearing.py divide
them, and writes them back while it holds them. Rows are locked in one order everywhere
(state, replica, lines, sums, rates), so that replicas wait for each other and never in
a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from actors.ledger import clearing, windows
from actors.ledger.clearing import Held, Sum
from actors.ledger.covering import Who
from actors.ledger.messages import Cap, Spend
from actors.ledger.ports import LedgerStoreLost
from actors.ledger.shares import (
    PLACES,
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
from actors.ledger.windows import QUARTER_S, quarter
from storage.sql.port import Database, DatabaseUnavailable, Transaction

T = TypeVar("T")

KEYS_A_QUERY: Final = 256  # Three arguments each; more go in several.
OVER_KEPT_S: Final = 2 * 86_400  # Of a window that is over: for whoever looks back.
LINES_KEPT_S: Final = 62 * 86_400  # By quarters: twice what the longest window reaches.
DEAD_KEPT_S: Final = 86_400  # Longer than any request that could still settle.
FORGIVEN_S: Final = 3_600  # A request is over by then, and so is whoever died with it.
MICROS: Final = 1_000_000

_LINE: Final = (
    "INSERT INTO ledger_line (site, key_id, asked, provider, quarter, nanousd) "
    "VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (site, key_id, asked, provider, quarter) "
    "DO UPDATE SET nanousd = ledger_line.nanousd + excluded.nanousd"
)
_QUARTER: Final = (
    "INSERT INTO ledger_quarter (cap, subject, quarter, nanousd) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (cap, subject, quarter) "
    "DO UPDATE SET nanousd = ledger_quarter.nanousd + excluded.nanousd"
)
_SLICE: Final = (
    "INSERT INTO ledger_slice (cap, subject, slot, replica, granted, used) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cap, subject, slot, replica) "
    "DO UPDATE SET granted = excluded.granted, used = excluded.used"
)
_SUM: Final = (
    "UPDATE ledger_sum SET spent = ?, leased = ?, used = ?, wanted = ? "
    "WHERE cap = ? AND subject = ? AND slot = ?"
)


class LedgerSql:
    """What all processes of a database share."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._caps: dict[str, Cap] = {}
        self._version = -1

    def __repr__(self) -> str:
        """Where it is."""
        return f"<LedgerSql {self.database!r}>"

    async def sync(self, sync: Sync) -> Synced:
        """See LedgerStore."""
        if sync.instance:
            await self._transact(lambda tx: _bury_ancestors(tx, sync))
        known = self._version, self._caps
        visit = await self._transact(lambda tx: _Visit(tx, sync, *known).make())
        self._version, self._caps = visit.version, visit.caps
        return visit.said

    async def bury(self, dead: tuple[Peer, ...], now_s: float) -> int:
        """See LedgerStore."""

        def work(tx: Transaction) -> int:
            return sum(
                _bury(tx, peer.replica, now_s, beats=peer.beats) for peer in dead
            )

        return await self._transact(work)

    async def restart(self, caps: tuple[Cap, ...], subject: str, now_s: float) -> int:
        """See LedgerStore."""
        return await self._transact(lambda tx: _restart(tx, caps, subject, now_s))

    async def tidy(self, now_s: float) -> None:
        """See LedgerStore."""
        await self._transact(lambda tx: _tidy(tx, now_s))

    async def is_new(self) -> bool:
        """Whether nobody has used it yet."""
        rows = await self.database.read("SELECT version FROM ledger_state WHERE id = 1")
        return not rows[0][0]

    async def adopt(self, spends: Sequence[Spend]) -> None:
        """Begin with what was spent before there was this store; the first one does."""

        def work(tx: Transaction) -> None:
            row = tx.row("SELECT version FROM ledger_state WHERE id = 1 FOR UPDATE")
            if row is None or row[0]:
                return
            tx.run("UPDATE ledger_state SET version = 1 WHERE id = 1")
            _write_lines(tx, map(_line, spends))

        await self._transact(work)

    async def _transact(self, work: Callable[[Transaction], T]) -> T:
        try:
            # Hot rows are waited for: serializable, their losers would run again.
            return await self.database.transact(work, isolation="read_committed")
        except DatabaseUnavailable as error:
            raise LedgerStoreLost(str(error)) from None


class _Visit:
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

    def make(self) -> _Visit:
        """Do all of it."""
        sync, tx = self.sync, self.tx
        missing = self._lock()
        fresh, revived = self._meet()
        if fresh:
            _write_lines(tx, sync.lines)
        touched = list(clearing.sums_of(sync.lines, self.caps)) if fresh else []
        asked = {ask.key: ask for ask in sync.slices}
        for key in missing:
            # With this sync's own lines, which are written already.
            self._open(asked[key])
        self.sums = _lock_sums(tx, {*asked, *(key for key, _, _ in touched)})
        if not asked.keys() <= self.sums.keys():
            raise LedgerStoreLost("a sum was removed while it was asked for")
        before = {key: _row(one) for key, one in self.sums.items()}
        self._roll(asked.values())
        for key, at, nanousd in touched:
            if key in self.sums and key not in missing:
                clearing.spend(self.sums[key], self.caps[key.cap], at, nanousd)
        slices = self._divide(fresh=fresh)
        self._write_sums(before)
        rates = self._pass(fresh=fresh)
        leader = self._lead()
        if sync.leave:
            _bury(tx, sync.replica, sync.now_s)
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
        missing = set(asked) - _there(self.tx, asked)
        how = "FOR UPDATE" if missing else "FOR SHARE"
        row = self.tx.row(f"SELECT version FROM ledger_state WHERE id = 1 {how}")
        assert row is not None
        if missing:
            missing -= _there(self.tx, missing)
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
        self.caps = {
            str(name): msgspec.json.decode(text, type=Cap)
            for name, text in self.tx.rows("SELECT id, definition FROM ledger_cap")
        }

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
                cap, key, _lines(self.tx, cap, key, since), self.sync.now_s
            )
        self.tx.run(
            "INSERT INTO ledger_sum (cap, subject, slot, spent, leased, used, wanted) "
            "VALUES (?, ?, ?, ?, 0, 0, 0) ON CONFLICT (cap, subject, slot) DO NOTHING",
            *key,
            row.spent,
        )
        self.tx.run_many(
            _QUARTER,
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
        mine = _slices(self.tx, sync.replica, [ask.key for ask in sync.slices])
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
        rows = self.tx.rows(
            "SELECT quarter, nanousd FROM ledger_quarter "
            "WHERE cap = ? AND subject = ? ORDER BY quarter",
            key.cap,
            key.subject,
        )
        return tuple((at, nanousd) for at, nanousd in rows)

    def _write_slices(self, wrote: list[tuple[SumKey, Held]]) -> None:
        name = self.sync.replica
        kept = [(key, one) for key, one in wrote if one.granted or one.used]
        gone = [key for key, one in wrote if not (one.granted or one.used)]
        if kept:
            self.tx.run_many(
                _SLICE, [(*key, name, one.granted, one.used) for key, one in kept]
            )
        if gone:
            self.tx.run_many(
                "DELETE FROM ledger_slice "
                "WHERE cap = ? AND subject = ? AND slot = ? AND replica = ?",
                [(*key, name) for key in gone],
            )

    def _write_sums(self, before: dict[SumKey, tuple[int, int, int, int]]) -> None:
        changed = [
            (*_row(one), *key)
            for key, one in self.sums.items()
            if _row(one) != before[key]
        ]
        if changed:
            self.tx.run_many(_SUM, changed)
        quarters = [
            (key.cap, key.subject, at, nanousd)
            for key, one in self.sums.items()
            for at, nanousd in one.quarters.items()
        ]
        if quarters:
            self.tx.run_many(_QUARTER, sorted(quarters))

    def _pass(self, *, fresh: bool) -> tuple[RateAnswer, ...]:
        said: list[RateAnswer] = []
        for ask in sorted(self.sync.rates, key=lambda ask: ask.name):
            row = self.tx.row(
                "SELECT paid_at_us FROM ledger_rate WHERE name = ? FOR UPDATE", ask.name
            )
            paid_at_s = 0.0 if row is None else row[0] / MICROS
            if not fresh:
                said.append(RateAnswer(ask.name, 0, paid_at_s))
                continue
            one = clearing.pass_rate(paid_at_s, ask, self.sync.now_s)
            self.tx.run(
                "INSERT INTO ledger_rate (name, paid_at_us) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET paid_at_us = excluded.paid_at_us",
                ask.name,
                round(one.paid_at_s * MICROS),
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


# -- what is read and written --------------------------------------------------------


def _line(one: Spend) -> tuple[Line, int]:
    who = Who(one.site, one.key_id, one.asked, one.provider)
    return Line(who, quarter(one.at_s)), one.nanousd


def _row(one: Sum) -> tuple[int, int, int, int]:
    return one.spent, one.leased, one.used, one.wanted


def _write_lines(tx: Transaction, lines: Iterable[tuple[Line, int]]) -> None:
    rows = sorted((*line.who, line.quarter, nanousd) for line, nanousd in lines)
    if rows:
        tx.run_many(_LINE, rows)


def _chunks(keys: Iterable[SumKey]) -> Iterable[tuple[str, list[str | int]]]:
    """The keys, in order, as SQL takes them: few texts, whatever their number."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), KEYS_A_QUERY):
        chunk = ordered[start : start + KEYS_A_QUERY]
        size = 1
        while size < len(chunk):
            size *= 2
        chunk += [chunk[-1]] * (size - len(chunk))
        one = "(CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT))"
        yield ", ".join([one] * size), [part for key in chunk for part in key]


def _there(tx: Transaction, keys: Iterable[SumKey]) -> set[SumKey]:
    found: set[SumKey] = set()
    for marks, args in _chunks(keys):
        sql = (
            "SELECT cap, subject, slot FROM ledger_sum "
            f"WHERE (cap, subject, slot) IN (VALUES {marks})"
        )
        found.update(SumKey(*row) for row in tx.rows(sql, *args))
    return found


def _lock_sums(tx: Transaction, keys: Iterable[SumKey]) -> dict[SumKey, Sum]:
    found: dict[SumKey, Sum] = {}
    for marks, args in _chunks(keys):
        sql = (
            "SELECT cap, subject, slot, spent, leased, used, wanted FROM ledger_sum "
            f"WHERE (cap, subject, slot) IN (VALUES {marks}) "
            "ORDER BY cap, subject, slot FOR UPDATE"
        )
        for cap, subject, slot, spent, leased, used, wanted in tx.rows(sql, *args):
            found[SumKey(cap, subject, slot)] = Sum(spent, leased, used, wanted)
    return found


def _slices(
    tx: Transaction, replica: str, keys: Iterable[SumKey]
) -> dict[SumKey, Held]:
    found: dict[SumKey, Held] = {}
    for marks, args in _chunks(keys):
        sql = (
            "SELECT cap, subject, slot, granted, used FROM ledger_slice "
            f"WHERE (cap, subject, slot) IN (VALUES {marks}) AND replica = ?"
        )
        for cap, subject, slot, granted, used in tx.rows(sql, *args, replica):
            found[SumKey(cap, subject, slot)] = Held(granted, used)
    return found


def _lines(
    tx: Transaction, cap: Cap, key: SumKey, since: int
) -> Iterable[tuple[Line, int]]:
    """The lines that such a sum may be made of."""
    where, args = ["quarter >= ?"], list[str | int]([since])
    for column, per in (("site", "site"), ("key_id", "key"), ("asked", "model"),
                        ("provider", "provider")):  # fmt: skip
        if cap.per == per:
            where.append(f"{column} = ?")
            args.append(key.subject)
    sql = (
        "SELECT site, key_id, asked, provider, quarter, nanousd FROM ledger_line "
        f"WHERE {' AND '.join(where)}"
    )
    for site, key_id, asked, provider, at, nanousd in tx.rows(sql, *args):
        yield Line(Who(site, key_id, asked, provider), at), nanousd


# -- who is dead ---------------------------------------------------------------------


def _bury_ancestors(tx: Transaction, sync: Sync) -> None:
    """Whoever lived here before this replica is dead."""
    rows = tx.rows(
        "SELECT id FROM ledger_replica WHERE instance = ? AND alive = 1 AND id <> ? "
        "ORDER BY id",
        sync.instance,
        sync.replica,
    )
    for (name,) in rows:
        _bury(tx, str(name), sync.now_s)


def _bury(
    tx: Transaction, replica: str, now_s: float, *, beats: int | None = None
) -> bool:
    """Write it off, if it has not moved since it was seen at so many beats."""
    row = tx.row(
        "SELECT beats FROM ledger_replica WHERE id = ? AND alive = 1 FOR UPDATE",
        replica,
    )
    if row is None or (beats is not None and row[0] != beats):
        return False
    tx.run(
        "UPDATE ledger_replica SET alive = 0, died_s = ? WHERE id = ?",
        int(now_s),
        replica,
    )
    rows = tx.rows(
        "SELECT cap, subject, slot FROM ledger_slice WHERE replica = ?", replica
    )
    keys = [SumKey(*row) for row in rows]
    sums = _lock_sums(tx, keys)
    for key, held in _slices(tx, replica, keys).items():
        row_ = sums[key]
        if clearing.bury(key, row_, held):
            _remove_slice(tx, key, replica)
        else:
            tx.run(_SLICE, *key, replica, held.granted, held.used)
        tx.run(_SUM, *_row(row_), *key)
    return True


def _remove_slice(tx: Transaction, key: SumKey, replica: str) -> None:
    tx.run(
        "DELETE FROM ledger_slice "
        "WHERE cap = ? AND subject = ? AND slot = ? AND replica = ?",
        *key,
        replica,
    )


def _forgive(tx: Transaction, key: SumKey, row: Sum, died_before_s: float) -> None:
    """What the dead have had of a sum for so long counts as spent no longer."""
    rows = tx.rows(
        "SELECT s.replica, s.granted, s.used FROM ledger_slice s "
        "JOIN ledger_replica r ON r.id = s.replica "
        "WHERE s.cap = ? AND s.subject = ? AND s.slot = ? "
        "AND r.alive = 0 AND r.died_s < ?",
        *key,
        int(died_before_s),
    )
    for replica, granted, used in rows:
        row.leased -= granted
        row.used -= used
        _remove_slice(tx, key, replica)


# -- operators and leaders -----------------------------------------------------------


def _restart(tx: Transaction, caps: Iterable[Cap], subject: str, now_s: float) -> int:
    count = 0
    for cap in caps:
        name, slot = cap_id(cap), clearing.slot_of(cap, now_s)
        rows = tx.rows(
            "SELECT subject FROM ledger_sum WHERE cap = ? AND slot = ?", name, slot
        )
        keys = [SumKey(name, one, slot) for (one,) in rows if subject in ("", one)]
        for key, row in _lock_sums(tx, keys).items():
            clearing.restart(row)
            _forgive(tx, key, row, now_s - FORGIVEN_S)
            tx.run(_SUM, *_row(row), *key)
            tx.run(
                "DELETE FROM ledger_quarter WHERE cap = ? AND subject = ?",
                key.cap,
                key.subject,
            )
            count += 1
    return count


def _tidy(tx: Transaction, now_s: float) -> None:
    """Forget what no window reaches any more."""
    tx.row("SELECT version FROM ledger_state WHERE id = 1 FOR UPDATE")
    caps = {
        str(name): msgspec.json.decode(text, type=Cap)
        for name, text in tx.rows("SELECT id, definition FROM ledger_cap")
    }
    _tidy_sums(tx, caps, now_s)
    _tidy_lines(tx, now_s)
    tx.run(
        "DELETE FROM ledger_replica WHERE alive = 0 AND died_s < ? AND NOT EXISTS "
        "(SELECT 1 FROM ledger_slice s WHERE s.replica = ledger_replica.id)",
        int(now_s) - DEAD_KEPT_S,
    )
    tx.run("DELETE FROM ledger_rate WHERE paid_at_us < ?", int(now_s - 3_600) * MICROS)


def _tidy_sums(tx: Transaction, caps: dict[str, Cap], now_s: float) -> None:
    rows = tx.rows("SELECT cap, subject, slot FROM ledger_sum WHERE cap <> ?", PLACES)
    used: set[str] = set()
    for key in (SumKey(*row) for row in rows):
        cap = caps.get(key.cap)
        if cap is not None and not _is_over(cap, key, now_s):
            used.add(key.cap)
            if cap.rolling:
                _age(tx, cap, key, now_s)
            continue
        for table in ("ledger_sum", "ledger_slice"):
            tx.run(
                f"DELETE FROM {table} WHERE cap = ? AND subject = ? AND slot = ?",
                *key,
            )
    gone = [name for name in caps if name not in used]
    if gone:
        tx.run_many("DELETE FROM ledger_cap WHERE id = ?", [(name,) for name in gone])
        tx.run("UPDATE ledger_state SET version = version + 1 WHERE id = 1")


def _is_over(cap: Cap, key: SumKey, now_s: float) -> bool:
    if not key.slot:
        return False
    until_s = windows.calendar(cap.window, cap.zone, key.slot)[1]
    return until_s + OVER_KEPT_S < now_s


def _age(tx: Transaction, cap: Cap, key: SumKey, now_s: float) -> None:
    """What the dead had of a rolling window leaves it, as what was spent does."""
    for found, row in _lock_sums(tx, [key]).items():
        died_s = now_s - windows.rolling_s(cap.window) - QUARTER_S
        _forgive(tx, found, row, died_s)
        tx.run(_SUM, *_row(row), *found)


def _tidy_lines(tx: Transaction, now_s: float) -> None:
    """Old lines in one sum each: windows without a beginning still reach them."""
    last = quarter(now_s - LINES_KEPT_S)
    tx.run(
        "INSERT INTO ledger_line (site, key_id, asked, provider, quarter, nanousd) "
        "SELECT site, key_id, asked, provider, 0, SUM(nanousd) FROM ledger_line "
        "WHERE quarter > 0 AND quarter < ? GROUP BY site, key_id, asked, provider "
        "ON CONFLICT (site, key_id, asked, provider, quarter) "
        "DO UPDATE SET nanousd = ledger_line.nanousd + excluded.nanousd",
        last,
    )
    tx.run("DELETE FROM ledger_line WHERE quarter > 0 AND quarter < ?", last)
