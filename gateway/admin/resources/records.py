"""Records: what happened to single requests. Facts, never content."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Literal

import msgspec

from actors.archivist.ports import Filter, RecordBook, Summary, summary_row
from actors.auditor.messages import RequestRecord
from gateway.admin import paging
from gateway.admin.lines import CSV, JSON_LINES, Format, csv_line, json_line
from gateway.admin.office import Office, needed
from gateway.admin.operation import Answer, Call, Operation
from gateway.admin.paging import CursorText, Limit, Page
from gateway.admin.problems import Problem
from gateway.admin.resources.usage import Asked, Name, as_file, filter_of

Outcome = Literal["", "ok", "error", "aborted", "cut", "crashed"]
# In the order of a summary's fields, so that a sheet reads as the Console does.
COLUMNS: Final = Summary.__struct_fields__


class RecordsFilter(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests."""

    outcome: Outcome = ""
    code: Name = ""


class RecordsQuestion(
    RecordsFilter, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Which requests, a page of them."""

    limit: Limit = paging.LIMIT_DEFAULT
    cursor: CursorText = ""


class RecordsExport(
    RecordsFilter, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Which requests, as a file."""

    format: Format = "jsonl"


class JournalPlace(msgspec.Struct, frozen=True):
    """Where the journal has the record; the audit log holds the hash of that part."""

    log: str
    file: str
    offset: int


class RecordDetail(msgspec.Struct, frozen=True):
    """One request whole: its plan, its attempts, and where it is on disk."""

    record: RequestRecord
    journal: JournalPlace


def wanted(call: Call, asked: RecordsFilter, now_ms: int) -> Filter:
    """The filter. Raises Problem."""
    return msgspec.structs.replace(
        filter_of(call, asked, now_ms), outcome=asked.outcome, code=asked.code
    )


def operations(office: Office) -> tuple[Operation, ...]:
    """All about records."""

    def book() -> RecordBook:
        return needed(office.books.records, "a search of records")

    async def list_records(call: Call) -> Page[Summary]:
        asked: RecordsQuestion = call.query
        before = _before(asked.cursor)
        found = await book().search(
            wanted(call, asked, office.now_ms()), before, asked.limit + 1
        )
        return paging.page(
            "records", found, asked.limit, lambda one: (one.opened_ms, one.id)
        )

    async def get_record(call: Call) -> RecordDetail:
        name = call.param("request")
        found = await book().find(name)
        if found is None:
            raise Problem("not-found", f"there is no record of request {name}")
        call.principal.check_tenant(found.record.tenant, f"record of request {name}")
        place = JournalPlace(found.source, found.place.file, found.place.offset)
        return RecordDetail(found.record, place)

    async def export(call: Call) -> Answer:
        asked: RecordsExport = call.query
        filtered = wanted(call, asked, office.now_ms())
        book()
        await call.record(
            asked.format, since_ms=filtered.since_ms, until_ms=filtered.until_ms
        )
        return as_file("records", asked.format, _lines(book(), filtered, asked.format))

    return (
        Operation(
            "listRecords", "GET", "/records", "records",
            "Search requests, the newest first", list_records,
            query=RecordsQuestion, gives=Page[Summary],
        ),
        Operation(
            "exportRecords", "GET", "/records/export", "records",
            "Requests as JSON lines or CSV, the oldest first", export,
            doc="JSON lines hold all there is, CSV what a list shows.",
            query=RecordsExport, media=(CSV, JSON_LINES), act="records.export",
        ),
        Operation(
            "getRecord", "GET", "/records/{request}", "records",
            "One request: plan, attempts, times, money", get_record,
            gives=RecordDetail,
        ),
    )  # fmt: skip


def _before(cursor: str) -> tuple[int, str] | None:
    place = paging.decode("records", cursor)
    match place:
        case None:
            return None
        case (int() as opened_ms, str() as request_id):
            return opened_ms, request_id
        case _:
            raise Problem("bad-request", "cursor: is none that a page gave")


async def _lines(
    book: RecordBook, filtered: Filter, kind: Format
) -> AsyncIterator[bytes]:
    if kind == "csv":
        yield csv_line(COLUMNS)
    async for records in book.export(filtered):
        if kind == "csv":
            yield b"".join(csv_line(summary_row(one)) for one in records)
        else:
            yield b"".join(json_line(one) for one in records)
