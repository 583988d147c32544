"""Requests' facts in the database: taken in by the archivist, read by operators.

Implements the archivist's `Archive` and `RecordBook`. A chunk of the journal goes in as
one transaction with the place where it ends, so that it is counted once or not at all.
Sums are added to rows that are there (one statement, no read), sorted, so that two
workers that write the same rows never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from actors.archivist.ports import (
    Chunk,
    Dimension,
    Filter,
    Found,
    Keep,
    LatencyAsked,
    LatencyRow,
    Overtaken,
    Summary,
    Sums,
    Unavailable,
    UsageAsked,
    UsageRow,
    summary_row,
)
from actors.archivist.sums import (
    FIELDS,
    FIRST_CONTENT,
    GRAINS_S,
    NARROW_GRAINS_S,
    TOTAL,
    Tally,
    quantile,
)
from actors.auditor.messages import RequestRecord
from actors.auditor.ports import Place
from storage.sql.port import Database, DatabaseUnavailable, Row, Transaction, Value
from storage.sql.record_filters import where_rows, where_sums

PURGE_ROWS_MAX: Final = 2000  # A transaction of a few milliseconds.
NARROW: Final = frozenset[Dimension](
    {"tenant", "site", "model", "provider", "upstream_model"}
)
EXPORT_ROWS: Final = 500  # A page of an export: about 400 kB.

# The columns of `usage_sum` by which it can be grouped.
COLUMNS: Final[dict[Dimension, str]] = {
    "tenant": "tenant",
    "site": "site",
    "environment": "env",
    "key": "key_id",
    "model": "model",
    "provider": "provider",
    "upstream_model": "upstream_model",
    "feature": "feature",
}
SUMMARY: Final = (
    "id, opened_ms, tenant, site, env, key_id, model, feature, provider, "
    "upstream_model, dialect, outcome, status, code, degraded, streamed, attempts, "
    "duration_ms, first_content_ms, prompt_tokens, cached_tokens, output_tokens, "
    "cost_nanousd"
)
_ADD_RECORD: Final = (
    f"INSERT INTO request_record ({SUMMARY}) VALUES ("
    + ", ".join("?" * 23)
    + ") ON CONFLICT (id) DO NOTHING"
)
_ADD_FACTS: Final = (
    "INSERT INTO request_facts (id, opened_ms, source, file, at_bytes, facts) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_KEY: Final = (
    "grain_s, at_ms, tenant, site, env, key_id, model, provider, upstream_model, "
    "feature"
)
_ADD_SUM: Final = (
    f"INSERT INTO usage_sum ({_KEY}, {', '.join(FIELDS)}) "
    f"VALUES ({', '.join('?' * (10 + len(FIELDS)))}) "
    f"ON CONFLICT ({_KEY}) DO UPDATE SET "
    + ", ".join(f"{one} = usage_sum.{one} + excluded.{one}" for one in FIELDS)
)
_SLOT_KEY: Final = (
    "grain_s, at_ms, tenant, site, model, provider, upstream_model, what, slot"
)
_ADD_SLOT: Final = (
    f"INSERT INTO usage_latency ({_SLOT_KEY}, requests) "
    f"VALUES ({', '.join('?' * 10)}) ON CONFLICT ({_SLOT_KEY}) DO UPDATE SET "
    "requests = usage_latency.requests + excluded.requests"
)


@contextmanager
def told() -> Generator[None]:
    """The store's trouble in the ports' words."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise Unavailable(str(error)) from None


class SqlRecords:
    """Records, sums and turns in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decoder = msgspec.json.Decoder(RequestRecord)

    def __repr__(self) -> str:
        return f"<SqlRecords {self._database!r}>"

    # -- the archivist's part ----------------------------------------------------------

    async def place(self, source: str) -> Place | None:
        """See Archive."""
        with told():
            rows = await self._database.read(
                "SELECT file, at_bytes FROM journal_place WHERE source = ?", source
            )
        return Place(*rows[0]) if rows else None

    async def keep(self, source: str, after: Place | None, chunk: Chunk) -> int:
        """See Archive."""

        def work(tx: Transaction) -> int:
            _move(tx, source, after, chunk.end)
            return self._add(tx, source, chunk)

        with told():
            return await self._database.transact(work, isolation="read_committed")

    def _add(self, tx: Transaction, source: str, chunk: Chunk) -> int:
        records: list[RequestRecord] = []
        facts: list[Sequence[Value]] = []
        for line in chunk.lines:
            try:
                record = self._decoder.decode(line.data)
            except msgspec.MsgspecError:
                continue  # It stays in the journal, for whoever can read it.
            records.append(record)
            facts.append(
                (record.request_id, record.opened_at_ms, source, line.place.file,
                 line.place.offset, line.data)
            )  # fmt: skip
        tx.run_many(_ADD_RECORD, map(summary_row, records))
        tx.run_many(_ADD_FACTS, facts)
        tally = Tally(records)
        tx.run_many(
            _ADD_SUM, ((*key, *values) for key, values in sorted(tally.sums.items()))
        )
        tx.run_many(
            _ADD_SLOT, ((*key, count) for key, count in sorted(tally.slots.items()))
        )
        return len(records)

    async def purge(self, keep: Keep, now_ms: int) -> int:
        """See Archive."""

        def work(tx: Transaction) -> int:
            gone = 0
            for table, id_column, where, value in (
                ("request_facts", "id", "opened_ms < ?", keep.records_ms),
                ("request_record", "id", "opened_ms < ?", keep.records_ms),
                ("admin_repeat", "key", "until_ms < ?", now_ms),
            ):
                gone += tx.run(
                    f"DELETE FROM {table} WHERE {id_column} IN ("
                    f"SELECT {id_column} FROM {table} WHERE {where} "
                    f"LIMIT {PURGE_ROWS_MAX})",
                    value,
                )
            for table in ("usage_sum", "usage_latency"):
                for grain_s, since_ms in zip(
                    GRAINS_S,
                    (keep.minutes_ms, keep.hours_ms, keep.days_ms),
                    strict=True,
                ):
                    gone += _forget(tx, table, grain_s, since_ms)
                    gone += _forget(tx, table, -grain_s, since_ms)
            return gone

        with told():
            return await self._database.transact(work, isolation="read_committed")

    async def take_turn(self, job: str, holder: str, now_ms: int, for_ms: int) -> bool:
        """See Archive."""

        def work(tx: Transaction) -> bool:
            changed = tx.run(
                "INSERT INTO job_turn (name, holder, until_ms) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, "
                "until_ms = excluded.until_ms "
                "WHERE job_turn.holder = excluded.holder OR job_turn.until_ms < ?",
                job,
                holder,
                now_ms + for_ms,
                now_ms,
            )
            return changed == 1

        with told():
            return await self._database.transact(work, isolation="read_committed")

    # -- what operators read -----------------------------------------------------------

    async def search(
        self, wanted: Filter, before: tuple[int, str] | None, limit: int
    ) -> list[Summary]:
        """See RecordBook."""
        where, args = where_rows(wanted, "opened_ms")
        if before is not None:
            where += " AND (opened_ms < ? OR (opened_ms = ? AND id < ?))"
            args += [before[0], before[0], before[1]]
        with told():
            rows = await self._database.read(
                f"SELECT {SUMMARY} FROM request_record WHERE {where} "
                "ORDER BY opened_ms DESC, id DESC LIMIT ?",
                *args,
                limit,
            )
        return [_summary(row) for row in rows]

    async def find(self, request_id: str) -> Found | None:
        """See RecordBook."""
        with told():
            rows = await self._database.read(
                "SELECT facts, source, file, at_bytes FROM request_facts WHERE id = ?",
                request_id,
            )
        if not rows:
            return None
        facts, source, file, at = rows[0]
        return Found(self._decoder.decode(facts), source, Place(file, at))

    async def export(self, wanted: Filter) -> AsyncIterator[Sequence[RequestRecord]]:
        """See RecordBook."""
        after: tuple[int, str] = (wanted.since_ms - 1, "")
        where, args = where_rows(wanted, "r.opened_ms", "r.")
        while True:
            with told():
                rows = await self._database.read(
                    "SELECT r.opened_ms, r.id, f.facts FROM request_record AS r "
                    f"JOIN request_facts AS f ON f.id = r.id WHERE {where} "
                    "AND (r.opened_ms > ? OR (r.opened_ms = ? AND r.id > ?)) "
                    "ORDER BY r.opened_ms, r.id LIMIT ?",
                    *args,
                    after[0],
                    after[0],
                    after[1],
                    EXPORT_ROWS,
                )
            if not rows:
                return
            after = (rows[-1][0], rows[-1][1])
            yield [self._decoder.decode(row[2]) for row in rows]

    async def usage(self, asked: UsageAsked) -> list[UsageRow]:
        """See RecordBook."""
        wanted = asked.filter
        narrow = not (wanted.environment or wanted.key or wanted.feature) and all(
            one in NARROW for one in asked.by
        )
        where, args = where_sums(asked.step, wanted, NARROW_GRAINS_S if narrow else ())
        groups = [COLUMNS[one] for one in asked.by]
        if asked.step != "total":
            groups.insert(0, "at_ms")
        shown = ", ".join(groups)
        grouped = f" GROUP BY {shown} ORDER BY {shown}" if groups else ""
        sums = ", ".join(f"CAST(COALESCE(SUM({one}), 0) AS BIGINT)" for one in FIELDS)
        with told():
            rows = await self._database.read(
                f"SELECT {', '.join([*groups, sums])} FROM usage_sum "
                f"WHERE {where}{grouped} LIMIT ?",
                *args,
                asked.rows_max,
            )
        at = int(asked.step != "total")
        count = len(asked.by)
        return [
            UsageRow(
                at_ms=row[0] if at else None,
                by=tuple(row[at : at + count]),
                sums=Sums(*row[at + count :]),
            )
            for row in rows
        ]

    async def latency(self, asked: LatencyAsked) -> list[LatencyRow]:
        """See RecordBook."""
        wanted = asked.filter
        everybodys = wanted.tenants is None and not (wanted.tenant or wanted.site)
        narrow = GRAINS_S if everybodys and asked.by != "site" else ()
        where, args = where_sums(asked.step, wanted, narrow)
        at = "at_ms" if asked.step != "total" else "CAST(0 AS BIGINT)"
        by = asked.by or "''"
        with told():
            rows = await self._database.read(
                f"SELECT {at}, {by}, what, slot, CAST(SUM(requests) AS BIGINT) "
                f"FROM usage_latency WHERE {where} "
                "GROUP BY 1, 2, what, slot ORDER BY 1, 2, what, slot",
                *args,
            )
        groups: dict[tuple[int, str], dict[int, list[tuple[int, int]]]] = {}
        for at_ms, name, what, slot, count in rows:
            group = groups.setdefault((at_ms, name), {FIRST_CONTENT: [], TOTAL: []})
            group[what].append((slot, count))
        return [
            LatencyRow(
                at_ms=at_ms if asked.step != "total" else None,
                by=name,
                first_p50_ms=quantile(group[FIRST_CONTENT], 0.5),
                first_p95_ms=quantile(group[FIRST_CONTENT], 0.95),
                total_p50_ms=quantile(group[TOTAL], 0.5),
                total_p95_ms=quantile(group[TOTAL], 0.95),
                requests=sum(count for _, count in group[TOTAL]),
            )
            for (at_ms, name), group in groups.items()
        ]

    async def stored(self) -> int:
        """See RecordBook."""
        with told():
            rows = await self._database.read("SELECT COUNT(*) FROM request_record")
        return int(rows[0][0])


def _move(tx: Transaction, source: str, after: Place | None, end: Place) -> None:
    """Say how far it is. Raises Overtaken: another process was faster."""
    if after is None:
        moved = tx.run(
            "INSERT INTO journal_place (source, file, at_bytes) VALUES (?, ?, ?) "
            "ON CONFLICT (source) DO NOTHING",
            source,
            end.file,
            end.offset,
        )
    else:
        moved = tx.run(
            "UPDATE journal_place SET file = ?, at_bytes = ? "
            "WHERE source = ? AND file = ? AND at_bytes = ?",
            end.file,
            end.offset,
            source,
            after.file,
            after.offset,
        )
    if moved != 1:
        raise Overtaken("another process has taken this part of the journal in")


def _forget(tx: Transaction, table: str, grain_s: int, since_ms: int) -> int:
    """A part of the rows before a time: those of the oldest steps."""
    row = tx.row(
        f"SELECT MIN(at_ms) FROM {table} WHERE grain_s = ?",
        grain_s,
    )
    oldest_ms = row[0] if row is not None else None
    if oldest_ms is None or oldest_ms >= since_ms:
        return 0
    until_ms = min(since_ms, oldest_ms + abs(grain_s) * 60_000)  # Sixty steps at once.
    return tx.run(
        f"DELETE FROM {table} WHERE grain_s = ? AND at_ms < ?",
        grain_s,
        until_ms,
    )


def _summary(row: Row) -> Summary:
    values: list[Any] = list(row)
    values[15] = bool(values[15])
    return Summary(*values)
