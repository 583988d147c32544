"""Usage: requests, tokens, money and time, summed up; for people and for dashboards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from actors.archivist.ports import (
    Dimension,
    Filter,
    LatencyAsked,
    RecordBook,
    Step,
    Sums,
    UsageAsked,
    UsageRow,
)
from gateway.admin.lines import CSV, JSON_LINES, Format, csv_line, json_line
from gateway.admin.office import Office, needed
from gateway.admin.operation import Answer, Call, Operation
from gateway.admin.problems import Problem

DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
_DIMENSION_OF: Final[dict[str, Dimension]] = {one: one for one in DIMENSIONS}
DAY_MS: Final = 86_400_000
TIME_MS_MAX: Final = 253_402_300_799_000  # The end of the year 9999.
ROWS_MAX: Final = 10_000  # What a page or a terminal can show; narrow it, or export.
EXPORT_ROWS_MAX: Final = 1_000_000

Time = Annotated[
    int,
    msgspec.Meta(ge=0, le=TIME_MS_MAX, description="Unix time in milliseconds."),
]
Name = Annotated[str, msgspec.Meta(max_length=512)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests. A time that is left out is now, or a day before `until_ms`."""

    since_ms: Time | None = None
    until_ms: Time | None = None
    tenant: Name = ""
    site: Name = ""
    environment: Name = ""
    key: Annotated[
        str, msgspec.Meta(max_length=256, description="As `key_id` in records.")
    ] = ""
    model: Name = ""
    provider: Name = ""
    upstream_model: Annotated[
        str, msgspec.Meta(max_length=512, description="What the provider calls it.")
    ] = ""
    feature: Name = ""


class UsageQuestion(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How usage is summed up."""

    step: Step = "total"
    by: Annotated[
        str,
        msgspec.Meta(
            max_length=128,
            description="Comma-separated: " + ", ".join(DIMENSIONS) + ".",
        ),
    ] = ""
    zone: Annotated[
        str,
        msgspec.Meta(
            max_length=64,
            description="Whose midnight a step of a day begins at, as Europe/Berlin.",
        ),
    ] = "UTC"


class ExportQuestion(
    UsageQuestion, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The same, as a file."""

    format: Format = "csv"


class LatencyQuestion(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long requests took. `environment`, `key` and `feature` are not measured."""

    step: Step = "total"
    by: Literal["", "site", "model", "provider"] = ""


class UsageGroup(msgspec.Struct, frozen=True):
    """One row."""

    at_ms: int | None
    """Where its step begins; null for a total."""
    group: dict[str, str]
    sums: Sums


class Usage(msgspec.Struct, frozen=True):
    """Usage between two times, which are cut to the steps that sums are kept by."""

    since_ms: int
    until_ms: int
    step: str
    by: tuple[str, ...]
    rows: tuple[UsageGroup, ...]
    total: Sums
    truncated: bool
    """Whether there are more rows than are shown: narrow it down, or export."""


class Latency(msgspec.Struct, frozen=True):
    """Quantiles of one group, each to within 9 %."""

    at_ms: int | None
    group: str
    first_p50_ms: int | None
    first_p95_ms: int | None
    total_p50_ms: int | None
    total_p95_ms: int | None
    requests: int


class Latencies(msgspec.Struct, frozen=True):
    """How long requests took."""

    since_ms: int
    until_ms: int
    step: str
    by: str
    rows: tuple[Latency, ...]


def filter_of(call: Call, asked: Asked, now_ms: int) -> Filter:
    """What is asked, within what the caller may see. Raises Problem."""
    until_ms = now_ms + 1 if asked.until_ms is None else asked.until_ms
    since_ms = until_ms - DAY_MS if asked.since_ms is None else asked.since_ms
    since_ms = max(0, since_ms)
    if since_ms >= until_ms:
        raise Problem("bad-request", "since_ms: must be before until_ms")
    if asked.tenant:
        call.principal.check_tenant(asked.tenant, f"tenant {asked.tenant}")
    return Filter(
        since_ms=since_ms,
        until_ms=until_ms,
        tenants=call.principal.tenants,
        tenant=asked.tenant,
        site=asked.site,
        environment=asked.environment,
        key=asked.key,
        model=asked.model,
        provider=asked.provider,
        upstream_model=asked.upstream_model,
        feature=asked.feature,
    )


def dimensions_of(text: str) -> tuple[Dimension, ...]:
    """The dimensions in `by`. Raises Problem."""
    names = tuple(filter(None, text.split(",")))
    found: tuple[Dimension, ...] = tuple(
        _DIMENSION_OF[name] for name in names if name in _DIMENSION_OF
    )
    if len(found) != len(names) or len(set(names)) != len(names):
        known = ", ".join(DIMENSIONS)
        raise Problem("bad-request", f"by: some of {known}, each once")
    return found


def zone_of(name: str) -> ZoneInfo:
    """A time zone. Raises Problem."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise Problem(
            "bad-request", "zone: is no time zone, as Europe/Berlin"
        ) from None


async def usage_of(
    book: RecordBook, asked: UsageQuestion, wanted: Filter, rows_max: int
) -> list[UsageRow]:
    """The rows, with days by the asked zone's midnight. Raises Problem."""
    zone = zone_of(asked.zone)
    by = dimensions_of(asked.by)
    if asked.step == "day" and asked.zone != "UTC":
        hours = await book.usage(UsageAsked(wanted, "hour", by, rows_max * 25))
        return by_days(hours, zone)[: rows_max + 1]
    return await book.usage(UsageAsked(wanted, asked.step, by, rows_max + 1))


def by_days(hours: Iterable[UsageRow], zone: ZoneInfo) -> list[UsageRow]:
    """Hours summed up to the days of a zone."""
    days: dict[tuple[int, tuple[str, ...]], Sums] = {}
    for row in hours:
        assert row.at_ms is not None
        at = datetime.fromtimestamp(row.at_ms / 1000, zone)
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        key = (int(midnight.timestamp()) * 1000, row.by)
        days[key] = added(days.get(key, Sums()), row.sums)
    return [UsageRow(at_ms, by, sums) for (at_ms, by), sums in sorted(days.items())]


def added(one: Sums, other: Sums) -> Sums:
    """Both together."""
    return Sums(
        *(getattr(one, name) + getattr(other, name) for name in Sums.__struct_fields__)
    )


def total_of(rows: Iterable[UsageRow]) -> Sums:
    """All together."""
    total = Sums()
    for row in rows:
        total = added(total, row.sums)
    return total


def operations(office: Office) -> tuple[Operation, ...]:
    """All about usage."""

    def book() -> RecordBook:
        return needed(office.books.records, "usage")

    async def usage(call: Call) -> Usage:
        asked: UsageQuestion = call.query
        wanted = filter_of(call, asked, office.now_ms())
        rows = await usage_of(book(), asked, wanted, ROWS_MAX)
        by = dimensions_of(asked.by)
        return Usage(
            since_ms=wanted.since_ms,
            until_ms=wanted.until_ms,
            step=asked.step,
            by=by,
            rows=tuple(
                UsageGroup(row.at_ms, dict(zip(by, row.by, strict=True)), row.sums)
                for row in rows[:ROWS_MAX]
            ),
            total=total_of(rows[:ROWS_MAX]),
            truncated=len(rows) > ROWS_MAX,
        )

    async def export(call: Call) -> Answer:
        asked: ExportQuestion = call.query
        wanted = filter_of(call, asked, office.now_ms())
        rows = await usage_of(book(), asked, wanted, EXPORT_ROWS_MAX)
        by = dimensions_of(asked.by)
        await call.record(asked.format, rows=len(rows))
        return as_file("usage", asked.format, _lines(rows, by, asked.format))

    async def latency(call: Call) -> Latencies:
        asked: LatencyQuestion = call.query
        if asked.environment or asked.key or asked.feature:
            raise Problem(
                "bad-request", "environment, key, feature: times are not kept by these"
            )
        wanted = filter_of(call, asked, office.now_ms())
        rows = await book().latency(LatencyAsked(wanted, asked.step, asked.by))
        return Latencies(
            since_ms=wanted.since_ms,
            until_ms=wanted.until_ms,
            step=asked.step,
            by=asked.by,
            rows=tuple(
                Latency(
                    row.at_ms,
                    row.by,
                    row.first_p50_ms,
                    row.first_p95_ms,
                    row.total_p50_ms,
                    row.total_p95_ms,
                    row.requests,
                )
                for row in rows[:ROWS_MAX]
            ),
        )

    return (
        Operation(
            "getUsage", "GET", "/usage", "usage",
            "Requests, tokens and money, summed up", usage,
            query=UsageQuestion, gives=Usage,
        ),
        Operation(
            "exportUsage", "GET", "/usage/export", "usage",
            "The same, as CSV or JSON lines", export,
            query=ExportQuestion, media=(CSV, JSON_LINES), act="usage.export",
        ),
        Operation(
            "getLatency", "GET", "/usage/latency", "usage",
            "How long requests took", latency,
            doc="Quantiles of the time to the first content and to the end.",
            query=LatencyQuestion, gives=Latencies,
        ),
    )  # fmt: skip


def as_file(name: str, kind: Format, pieces: AsyncIterator[bytes]) -> Answer:
    """An answer that browsers and curl save."""
    ending = "csv" if kind == "csv" else "jsonl"
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    disposition = f'attachment; filename="stagedoor-{name}-{day}.{ending}"'
    return Answer(
        stream=pieces,
        media=CSV if kind == "csv" else JSON_LINES,
        headers=(("content-disposition", disposition),),
    )


async def _lines(
    rows: Sequence[UsageRow], by: Sequence[str], kind: Format
) -> AsyncIterator[bytes]:
    fields = Sums.__struct_fields__
    if kind == "csv":
        yield csv_line(["at", *by, *fields])
    for row in rows:
        at = "" if row.at_ms is None else _iso(row.at_ms)
        sums: dict[str, Any] = msgspec.structs.asdict(row.sums)
        if kind == "csv":
            yield csv_line([at, *row.by, *(sums[field] for field in fields)])
        else:
            group = dict(zip(by, row.by, strict=True))
            yield json_line({"at_ms": row.at_ms, **group, **sums})


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
