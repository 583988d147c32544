"""The audit log: its entries, proofs of them, and a check of all there is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from actors.auditor.reading import (
    Entry,
    Found,
    Log,
    LogReader,
    NoEntry,
    Proof,
    Verdict,
    Wanted,
)
from gateway.admin import paging
from gateway.admin.office import Office
from gateway.admin.operation import Answer, Call, Operation
from gateway.admin.paging import CursorText, Limit, Page, Paged
from gateway.admin.problems import Problem
from gateway.admin.who import named, with_persons

WORKERS_MAX: Final = 9999
ZIP: Final = "application/zip"

Text = Annotated[str, msgspec.Meta(max_length=256)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]


class EntriesQuestion(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Which entries, a page of them, the newest first."""

    log: Annotated[
        int,
        msgspec.Meta(ge=0, le=WORKERS_MAX, description="One worker's; 0: all logs."),
    ] = 0
    act: Annotated[
        str,
        msgspec.Meta(
            max_length=256, description="As `key.grant`; `key` takes all its kinds."
        ),
    ] = ""
    actor: Text = ""
    out: Text = ""
    tenant: Text = ""
    provider: Text = ""
    name: Text = ""
    request: Text = ""
    since_ms: Millis = 0
    until_ms: Millis | None = None
    bookkeeping: Annotated[
        bool,
        msgspec.Meta(
            description="Also what the log says of itself: hashes of records, other "
            "workers' logs."
        ),
    ] = True
    limit: Limit = paging.LIMIT_DEFAULT
    cursor: CursorText = ""


def operations(office: Office) -> tuple[Operation, ...]:
    """All about the audit log."""

    def reader() -> LogReader:
        found = office.books.audit
        if found is None:
            raise Problem("unavailable", "this gateway keeps its audit log in memory")
        return found

    async def list_logs(call: Call) -> Page[Log]:
        return paging.page_of(
            "audit-logs",
            await reader().logs(),
            call.query,
            lambda one: f"{one.number:04}",
        )

    async def list_entries(call: Call) -> Page[Entry]:
        asked: EntriesQuestion = call.query
        actors = named(office, asked.actor)
        found = await reader().search(
            Wanted(
                log=asked.log,
                act=asked.act,
                actor="" if actors else asked.actor,
                actors=actors,
                out=asked.out,
                tenant=asked.tenant,
                provider=asked.provider,
                name=asked.name,
                request=asked.request,
                since_ms=asked.since_ms,
                until_ms=asked.until_ms,
                bookkeeping=asked.bookkeeping,
            ),
            _places(asked.cursor),
            asked.limit,
        )
        return Page(await with_persons(office, found.entries), _cursor(found))

    async def prove(call: Call) -> Proof:
        number, seq = int(call.param("log")), int(call.param("seq"))
        try:
            found = await reader().prove(number, seq)
            [entry] = await with_persons(office, (found.entry,))
            return msgspec.structs.replace(found, entry=entry)
        except NoEntry as error:
            raise Problem("not-found", str(error)) from None

    async def verify(call: Call) -> Verdict:
        found = reader()
        await call.record()
        return await found.verify()

    async def export(call: Call) -> Answer:
        pieces = reader().export()
        await call.record()
        # Its beginning is made before anything is sent: what cannot be read is a 503.
        first = await anext(pieces, b"")
        day = datetime.fromtimestamp(office.now_ms() / 1000, UTC).strftime("%Y-%m-%d")
        name = f"stagedoor-audit-{day}.zip"
        return Answer(
            stream=_after(first, pieces),
            media=ZIP,
            headers=(("content-disposition", f'attachment; filename="{name}"'),),
        )

    return (
        Operation(
            "listAuditLogs", "GET", "/audit/logs", "audit",
            "The audit logs, one of each worker", list_logs,
            reach="operator", query=Paged, gives=Page[Log],
        ),
        Operation(
            "listAuditEntries", "GET", "/audit/entries", "audit",
            "Entries of all logs, the newest first", list_entries,
            doc="What is published: at most a second old. A page may hold fewer than "
            "`limit`, or none, and still have a `next_cursor`: a look goes back 20,000 "
            "entries at most.",
            reach="operator", query=EntriesQuestion, gives=Page[Entry],
        ),
        Operation(
            "proveAuditEntry", "GET", "/audit/logs/{log}/entries/{seq}", "audit",
            "One entry, and the proof that the log covers it", prove,
            doc="`proof` is a C2SP tlog-proof over `leaf`.",
            reach="operator", gives=Proof,
        ),
        Operation(
            "exportAuditLogs", "GET", "/audit/export", "audit",
            "All audit logs as a zip file", export,
            doc="A folder that `stagedoor audit verify` takes, offline: what is "
            "published, checkpoints and all, as of one moment.",
            role="admin", reach="operator", media=(ZIP,), act="audit.export",
        ),
        Operation(
            "verifyAuditLogs", "POST", "/audit/verifications", "audit",
            "Hash all logs anew and compare", verify,
            doc="With each other, their checkpoints, anchors, witnesses and the "
            "records of requests; in a process of its own, beside the requests. "
            "What the gateway says of itself is no proof: `stagedoor audit verify` "
            "elsewhere is.",
            role="admin", reach="operator", gives=Verdict, act="audit.verify",
        ),
    )  # fmt: skip


async def _after(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


def _cursor(found: Found) -> str:
    places = [number for pair in found.places.items() for number in pair]
    return paging.encode("audit-entries", tuple(places)) if places else ""


def _places(cursor: str) -> dict[int, int] | None:
    place = paging.decode("audit-entries", cursor)
    if place is None:
        return None
    numbers = [one for one in place if isinstance(one, int)]
    if len(numbers) != len(place) or len(numbers) % 2 or min(numbers, default=0) < 0:
        raise Problem("bad-request", "cursor: is none that a page gave")
    return dict(zip(numbers[::2], numbers[1::2], strict=True))
