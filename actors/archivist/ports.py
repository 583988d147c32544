"""What the archivist needs from storage, and what others may read there.

The journal of JSON lines is the durable source; the database is a copy that can be
searched. `Archive.keep` takes a piece of the journal and the place where it ends in one
transaction, so each record is counted exactly once, whatever dies in between.

Every method of the database raises `Unavailable` where it cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from actors.auditor.messages import RequestRecord
from actors.auditor.ports import Place
from runtime import DomainError


class Unavailable(DomainError):
    """The database cannot be reached now. The journal keeps what it will be told."""


class Line(Struct, frozen=True):
    """One line of the journal, and where it begins."""

    place: Place
    data: bytes


class Chunk(Struct, frozen=True):
    """Some lines, and where the next ones will be."""

    lines: tuple[Line, ...]
    end: Place


class JournalReader(Protocol):
    """Reads the journal of this process again."""

    @property
    def source(self) -> str:
        """Its name, which no other journal has."""
        ...

    async def read(self, after: Place | None) -> Chunk | None:
        """What follows a place (None: all there is); None at the end.

        Raises OSError.
        """
        ...


class Keep(Struct, frozen=True):
    """From when on things are kept, in Unix milliseconds."""

    records_ms: int
    minutes_ms: int
    hours_ms: int
    days_ms: int


class Archive(Protocol):
    """Where the archivist writes."""

    async def place(self, source: str) -> Place | None:
        """How far a journal has been taken in."""
        ...

    async def keep(self, source: str, after: Place | None, chunk: Chunk) -> int:
        """Take in a chunk that begins at `after`; how many records it had.

        Raises Overtaken: somebody else has taken it in.
        """
        ...

    async def purge(self, keep: Keep, now_ms: int) -> int:
        """Forget what is older, a bounded part of it; how many rows went."""
        ...

    async def take_turn(self, job: str, holder: str, now_ms: int, for_ms: int) -> bool:
        """Whether it is this holder's turn to do a job that one does for all."""
        ...


class Overtaken(DomainError):
    """This part of the journal is in the database already."""


# -- what is read there ----------------------------------------------------------------

Dimension = Literal[
    "tenant", "site", "environment", "key", "model", "provider", "upstream_model",
    "feature",
]  # fmt: skip
Step = Literal["minute", "hour", "day", "total"]


class Filter(Struct, frozen=True):
    """Which requests are meant. Empty fields mean any; `tenants` None is all."""

    since_ms: int
    until_ms: int
    tenants: frozenset[str] | None = None
    tenant: str = ""
    site: str = ""
    environment: str = ""
    key: str = ""
    model: str = ""
    provider: str = ""
    upstream_model: str = ""
    feature: str = ""
    outcome: str = ""
    code: str = ""


class Summary(Struct, frozen=True):
    """A request as lists show it."""

    id: str
    opened_ms: int
    tenant: str
    site: str
    environment: str
    key_id: str
    model: str
    feature: str
    provider: str
    upstream_model: str
    dialect: str
    outcome: str
    status: int
    code: str
    degraded: str
    streamed: bool
    attempts: int
    duration_ms: int
    first_content_ms: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nanousd: int


def summary_row(record: RequestRecord) -> tuple[str | int, ...]:
    """A record as a list shows it: the fields of `Summary`, a truth as 0 or 1."""
    last = record.attempts[-1] if record.attempts else None
    return (
        record.request_id,
        record.opened_at_ms,
        record.tenant,
        record.site,
        record.env,
        record.key_id,
        record.model,
        record.feature,
        last.provider if last is not None else "",
        last.model if last is not None else "",
        record.dialect,
        record.outcome,
        record.status,
        record.code,
        record.degraded,
        int(record.streamed),
        len(record.attempts),
        record.duration_ms,
        record.first_content_ms,
        record.prompt_tokens,
        record.cached_tokens,
        record.output_tokens,
        record.cost_nanousd,
    )


class Found(Struct, frozen=True):
    """One record whole, and where the journal has it."""

    record: RequestRecord
    source: str
    place: Place


class Sums(Struct, frozen=True):
    """What requests came to."""

    requests: int = 0
    errors: int = 0
    aborted: int = 0
    refused: int = 0
    """Those that got no attempt: no route, no money, no room."""
    degraded: int = 0
    calls: int = 0
    """Attempts at providers."""
    call_errors: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanousd: int = 0
    overrun_nanousd: int = 0
    unpriced: int = 0
    estimated: int = 0
    duration_ms: int = 0


class UsageAsked(Struct, frozen=True):
    """How usage is to be summed up."""

    filter: Filter
    step: Step = "total"
    by: tuple[Dimension, ...] = ()
    rows_max: int = 10_000


class UsageRow(Struct, frozen=True):
    """One group. `at_ms` is where its step begins; None for a total."""

    at_ms: int | None
    by: tuple[str, ...]
    sums: Sums


class LatencyAsked(Struct, frozen=True):
    """Which quantiles of how long requests took."""

    filter: Filter
    step: Step = "total"
    by: Literal["", "site", "model", "provider"] = ""


class LatencyRow(Struct, frozen=True):
    """Quantiles of one group, to within a tenth. None where nothing was measured."""

    at_ms: int | None
    by: str
    first_p50_ms: int | None
    first_p95_ms: int | None
    total_p50_ms: int | None
    total_p95_ms: int | None
    requests: int


class RecordBook(Protocol):
    """What was recorded, for operators."""

    async def search(
        self, wanted: Filter, before: tuple[int, str] | None, limit: int
    ) -> list[Summary]:
        """The newest first, from before a place on."""
        ...

    async def find(self, request_id: str) -> Found | None:
        """One record."""
        ...

    def export(self, wanted: Filter) -> AsyncIterator[Sequence[RequestRecord]]:
        """All of them, oldest first, some at a time."""
        ...

    async def usage(self, asked: UsageAsked) -> list[UsageRow]:
        """Sums, from rows that were summed up before."""
        ...

    async def latency(self, asked: LatencyAsked) -> list[LatencyRow]:
        """Quantiles, likewise."""
        ...

    async def stored(self) -> int:
        """About how many records there are."""
        ...
