"""Requests' facts in the database: counted once, found again, summed up right."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec
import pytest

from actors.archivist.ports import (
    Chunk,
    Filter,
    Keep,
    LatencyAsked,
    Line,
    Overtaken,
    UsageAsked,
)
from actors.archivist.sums import FIELDS
from actors.auditor.messages import AttemptRecord, RequestRecord
from actors.auditor.ports import Place
from storage.sql.port import Database
from storage.sql.records import SqlRecords

T0 = 1_800_000_000_000
HOUR = 3_600_000
EVER = Filter(since_ms=0, until_ms=T0 + 1000 * HOUR)


def record(number: int, **changes: object) -> RequestRecord:
    given = RequestRecord(
        request_id=f"req_{number:024x}",
        site="acme",
        key_id="acme:k1",
        dialect="openai_chat",
        model="fast",
        opened_at_ms=T0 + number * 1000,
        outcome="ok",
        status=200,
        streamed=True,
        duration_ms=800,
        first_content_ms=200,
        prompt_tokens=10,
        output_tokens=5,
        cost_nanousd=70,
        tenant="t1",
        env="prod",
        attempts=(AttemptRecord("main", "m", "ok", 200, cost_nanousd=70),),
    )
    return msgspec.structs.replace(given, **changes)


def chunk(records: Sequence[RequestRecord], start: int = 0) -> Chunk:
    lines = [
        Line(Place("2027-01-15.jsonl", start + place), msgspec.json.encode(one))
        for place, one in enumerate(records)
    ]
    return Chunk(tuple(lines), Place("2027-01-15.jsonl", start + len(records)))


async def kept(database: Database, records: Sequence[RequestRecord]) -> SqlRecords:
    book = SqlRecords(database)
    await book.keep("w1", None, chunk(records))
    return book


async def test_what_is_taken_in_is_found_whole(database: Database) -> None:
    """The detail of a request is the journal's line, with its place there."""
    book = await kept(database, [record(1), record(2, feature="summary")])

    found = await book.find(record(2).request_id)

    assert found is not None
    assert found.record == record(2, feature="summary")
    assert (found.source, found.place) == ("w1", Place("2027-01-15.jsonl", 1))
    assert await book.find("req_nobody") is None
    assert await book.place("w1") == Place("2027-01-15.jsonl", 2)
    assert await book.stored() == 2


async def test_a_chunk_counts_once_however_often_it_is_taken_in(
    database: Database,
) -> None:
    """Two processes on one journal, or a crash before the place was known."""
    book = await kept(database, [record(1)])

    with pytest.raises(Overtaken):
        await book.keep("w1", None, chunk([record(1)]))
    await book.keep("w1", Place("2027-01-15.jsonl", 1), chunk([record(2)], 1))
    with pytest.raises(Overtaken):
        await book.keep("w1", Place("2027-01-15.jsonl", 1), chunk([record(2)], 1))

    (total,) = await book.usage(UsageAsked(EVER))
    assert (total.sums.requests, total.sums.cost_nanousd) == (2, 140)


async def test_a_line_that_is_no_record_is_left_in_the_journal(
    database: Database,
) -> None:
    book = SqlRecords(database)
    torn = Chunk(
        (Line(Place("a.jsonl", 0), b"{no json"), *chunk([record(1)]).lines),
        Place("a.jsonl", 9),
    )

    assert await book.keep("w1", None, torn) == 1


async def test_sums_agree_with_the_records_to_the_last_unit(
    database: Database,
) -> None:
    """By every dimension, at every step: the groups make up the whole."""
    rng = Random(7)
    records = [
        record(
            number,
            opened_at_ms=T0 + rng.randrange(50 * HOUR),
            site=rng.choice(["acme", "beta"]),
            tenant=rng.choice(["t1", "t2"]),
            model=rng.choice(["fast", "smart"]),
            feature=rng.choice(["", "chat"]),
            outcome=rng.choice(["ok", "error", "aborted"]),
            cost_nanousd=70 + 3,
            attempts=(
                AttemptRecord("spare", "m", "failed", cost_nanousd=3),
                AttemptRecord(
                    rng.choice(["main", "other"]), "m", "ok", cost_nanousd=70
                ),
            ),
        )
        for number in range(300)
    ]
    book = await kept(database, records)
    whole = {
        "requests": 300,
        "cost_nanousd": sum(one.cost_nanousd for one in records),
        "output_tokens": sum(one.output_tokens for one in records),
        "errors": sum(one.outcome == "error" for one in records),
        "aborted": sum(one.outcome == "aborted" for one in records),
        "calls": 600,
        "call_errors": 300,
    }

    for step in ("total", "minute", "hour", "day"):
        for by in (
            (),
            ("site",),
            ("provider",),
            ("tenant", "model", "feature"),
            ("key",),
        ):
            rows = await book.usage(UsageAsked(EVER, step, by))
            for field, expected in whole.items():
                assert sum(getattr(row.sums, field) for row in rows) == expected, (
                    step, by, field,
                )  # fmt: skip
    spare = next(
        row
        for row in await book.usage(UsageAsked(EVER, "total", ("provider",)))
        if row.by == ("spare",)
    )
    assert (spare.sums.requests, spare.sums.cost_nanousd) == (0, 900)
    assert len(FIELDS) == len(spare.sums.__struct_fields__)


async def test_sums_and_times_are_told_by_the_model_that_answered(
    database: Database,
) -> None:
    """Of one provider's two, over minutes, hours and days alike."""
    records = [
        record(
            number,
            opened_at_ms=T0 + number * HOUR,
            outcome="ok",
            duration_ms=100 if number % 2 else 900,
            attempts=(AttemptRecord("main", "small" if number % 2 else "large", "ok"),),
        )
        for number in range(60)
    ]
    book = await kept(database, records)
    for hours in (5, 40, 1000):
        small = Filter(T0, T0 + hours * HOUR, provider="main", upstream_model="small")
        [row] = await book.usage(UsageAsked(small))
        [times] = await book.latency(LatencyAsked(small))
        assert row.sums.requests == times.requests == min(60, hours) // 2
        assert times.total_p95_ms is not None
        assert times.total_p95_ms < 120
    by = await book.usage(UsageAsked(EVER, "total", ("provider", "upstream_model")))
    assert {row.by: row.sums.requests for row in by} == {
        ("main", "large"): 30,
        ("main", "small"): 30,
    }


async def test_a_search_pages_from_the_newest_and_loses_nothing(
    database: Database,
) -> None:
    """Also where many came in one millisecond."""
    records = [record(number, opened_at_ms=T0 + number // 7) for number in range(40)]
    book = await kept(database, records)
    seen: list[str] = []
    before: tuple[int, str] | None = None
    while page := await book.search(EVER, before, 7):
        seen += [one.id for one in page]
        before = (page[-1].opened_ms, page[-1].id)

    assert seen == sorted((one.request_id for one in records), reverse=True)


async def test_nobody_sees_another_tenants_requests(database: Database) -> None:
    book = await kept(database, [record(1), record(2, tenant="t2", site="beta")])
    mine = msgspec.structs.replace(EVER, tenants=frozenset({"t2"}))
    nobodys = msgspec.structs.replace(EVER, tenants=frozenset[str]())

    assert [one.site for one in await book.search(mine, None, 10)] == ["beta"]
    assert [
        row.by for row in await book.usage(UsageAsked(mine, "total", ("site",)))
    ] == [("beta",)]
    assert (await book.latency(LatencyAsked(mine)))[0].requests == 1
    assert [one async for page in book.export(mine) for one in page] == [
        record(2, tenant="t2", site="beta")
    ]
    assert await book.search(nobodys, None, 10) == []


async def test_quantiles_are_right_to_within_a_tenth(database: Database) -> None:
    book = await kept(
        database,
        [
            record(number, duration_ms=10 * number, first_content_ms=number)
            for number in range(1, 1001)
        ],
    )

    (row,) = await book.latency(LatencyAsked(EVER))

    assert row.first_p50_ms == pytest.approx(500, rel=0.1)
    assert row.first_p95_ms == pytest.approx(950, rel=0.1)
    assert row.total_p95_ms == pytest.approx(9500, rel=0.1)


async def test_an_export_has_every_record_once_and_the_oldest_first(
    database: Database,
) -> None:
    records = [
        record(number, opened_at_ms=T0 + number // 300) for number in range(1200)
    ]
    book = await kept(database, records)

    exported = [one async for page in book.export(EVER) for one in page]

    assert exported == records


async def test_what_is_old_goes_by_its_kind_and_the_rest_stays(
    database: Database,
) -> None:
    book = await kept(database, [record(1), record(2, opened_at_ms=T0 + 48 * HOUR)])
    keep = Keep(
        records_ms=T0 + HOUR, minutes_ms=T0 + HOUR, hours_ms=T0 + HOUR, days_ms=0
    )

    while await book.purge(keep, T0):
        pass

    assert [one.id for one in await book.search(EVER, None, 9)] == [
        record(2).request_id
    ]
    assert await book.find(record(1).request_id) is None
    hours = await book.usage(UsageAsked(EVER, "hour"))
    days = await book.usage(UsageAsked(EVER, "day"))
    assert sum(row.sums.requests for row in hours) == 1
    assert sum(row.sums.requests for row in days) == 2


async def test_a_job_is_one_holders_until_its_turn_is_over(database: Database) -> None:
    book = SqlRecords(database)

    assert await book.take_turn("purge", "w1", T0, 1000)
    assert not await book.take_turn("purge", "w2", T0 + 999, 1000)
    assert await book.take_turn("purge", "w1", T0 + 999, 1000)
    assert await book.take_turn("purge", "w2", T0 + 2000, 1000)
