"""The spans of a request, read from its record. Pure.

One span for the request (SERVER) and one for each call to a provider (CLIENT), named
and attributed as OpenTelemetry's GenAI conventions say, with `stagedoor.…` for what
they have no name for. Usage is on the call that answered alone: backends sum up spans.
Never: a prompt, an answer, a key, or a word that the record does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

import attrs

from actors.auditor.messages import AttemptRecord, PlannedRecord, RequestRecord
from wire.trace_context import Trace, parse

NS_PER_MS: Final = 1_000_000
NANOUSD_PER_USD: Final = 10**9

Value = str | bool | int | float | tuple[str, ...]

# The names that the conventions know, by our kinds of providers.
WELL_KNOWN: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "deepseek": "deepseek",
    "gemini": "gcp.gemini",
    "groq": "groq",
    "mistral": "mistral_ai",
    "perplexity": "perplexity",
    "vertex": "gcp.vertex_ai",
    "vertex-anthropic": "gcp.vertex_ai",
    "xai": "x_ai",
}

# Of outcomes of calls, those that are no error of anybody.
_FINE: Final = frozenset({"ok", "cancelled"})


@attrs.frozen
class Place:
    """What a configuration says of a provider: its kind, its host, if it has a key."""

    kind: str
    host: str = ""
    keyed: bool = True


@attrs.frozen
class Event:
    """Something that happened at a moment of a span."""

    name: str
    at_ns: int
    attributes: Mapping[str, Value] = attrs.field(factory=dict[str, Value])


@attrs.frozen
class Span:
    """One span; `error` is empty where it went well."""

    name: str
    kind: Literal["server", "client"]
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    events: tuple[Event, ...] = ()
    error: str = ""


def spans_of(
    record: RequestRecord, place_of: Callable[[str], Place]
) -> tuple[Span, ...]:
    """All spans of a request; its own first."""
    trace = parse(record.trace)
    operation = operation_of(record.dialect)
    opened_ns = record.opened_at_ms * NS_PER_MS
    own = Span(
        name=f"{operation} {record.model}".rstrip(),  # It may not have come to that.
        kind="server",
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        start_ns=opened_ns,
        end_ns=opened_ns + record.duration_ms * NS_PER_MS,
        attributes=dict(_of_request(record, operation)),
        events=tuple(_request_events(record, opened_ns)),
        error="" if record.status < 500 else record.code or record.outcome,
    )
    answered = _answering(record.attempts)
    calls = [
        _call(
            record,
            attempt,
            trace,
            number,
            place_of(attempt.provider),
            answers=attempt is answered,
        )
        for number, attempt in enumerate(record.attempts, 1)
    ]
    return (own, *calls)


def operation_of(dialect: str) -> str:
    """`gen_ai.operation.name`."""
    if "embed" in dialect:
        return "embeddings"
    return "generate_content" if dialect == "gemini" else "chat"


def provider_name(kind: str) -> str:
    """`gen_ai.provider.name`: the conventions' word, else our kind."""
    return WELL_KNOWN.get(kind, kind)


def _answering(attempts: tuple[AttemptRecord, ...]) -> AttemptRecord | None:
    """The call whose usage the record has: the last that came to content."""
    for attempt in reversed(attempts):
        if attempt.first_content_ms or attempt.outcome == "ok":
            return attempt
    return attempts[-1] if attempts else None


def _of_request(record: RequestRecord, operation: str) -> Iterator[tuple[str, Value]]:
    yield "gen_ai.operation.name", operation
    if record.model:
        yield "gen_ai.request.model", record.model
    yield "http.response.status_code", record.status
    yield "stagedoor.request_id", record.request_id
    if record.site:
        yield "stagedoor.site", record.site
    yield "stagedoor.dialect", record.dialect
    yield "stagedoor.outcome", record.outcome
    yield "stagedoor.stream", record.streamed
    yield "stagedoor.attempts", len(record.attempts)
    yield "stagedoor.cost_usd", record.cost_nanousd / NANOUSD_PER_USD
    if record.tenant:
        yield "stagedoor.tenant", record.tenant
        yield "deployment.environment.name", record.env
    if record.feature:
        yield "stagedoor.feature", record.feature
    if record.degraded:
        yield "stagedoor.degraded", record.degraded
    if record.aside:
        yield "stagedoor.aside", record.aside
    if record.first_content_ms:
        yield "stagedoor.first_content_ms", record.first_content_ms
    if record.code:
        yield "error.type", record.code


def _request_events(record: RequestRecord, opened_ns: int) -> Iterator[Event]:
    planned_ns = opened_ns + record.planned_ms * NS_PER_MS
    if record.plan or record.refusal:
        yield Event("plan", planned_ns, dict(_of_plan(record)))
    last: AttemptRecord | None = None
    for number, attempt in enumerate(record.attempts, 1):
        if last is not None:
            again = (last.provider, last.model) == (attempt.provider, attempt.model)
            yield Event(
                "retry" if again else "fallback",
                opened_ns + attempt.began_ms * NS_PER_MS,
                {
                    "stagedoor.attempt": number,
                    "stagedoor.provider": attempt.provider,
                    "stagedoor.after": last.code or last.outcome,
                },
            )
        last = attempt
    if record.outcome in ("cut", "aborted", "crashed"):
        at_ns = opened_ns + record.duration_ms * NS_PER_MS
        yield Event(
            record.outcome,
            at_ns,
            {"stagedoor.reason": record.code or record.finish or record.outcome},
        )


def _of_plan(record: RequestRecord) -> Iterator[tuple[str, Value]]:
    candidates = tuple(_named(one) for one in record.plan if not one.gate)
    yield "stagedoor.candidates", candidates
    gated = tuple(f"{_named(one)}: {one.gate}" for one in record.plan if one.gate)
    if gated:
        yield "stagedoor.gated", gated
    if record.refusal:
        yield "stagedoor.refusal", record.refusal


def _named(one: PlannedRecord) -> str:
    return f"{one.provider}/{one.model}"


def _call(
    record: RequestRecord,
    attempt: AttemptRecord,
    trace: Trace,
    number: int,
    place: Place,
    *,
    answers: bool,
) -> Span:
    operation = operation_of(record.dialect)
    began_ns = (record.opened_at_ms + attempt.began_ms) * NS_PER_MS
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider_name(place.kind),
        "gen_ai.request.model": attempt.model,
        "stagedoor.provider": attempt.provider,
        "stagedoor.attempt": number,
        "stagedoor.outcome": attempt.outcome,
        "stagedoor.cost_usd": attempt.cost_nanousd / NANOUSD_PER_USD,
        "stagedoor.queued_ms": attempt.queued_ms,
    }
    if place.host:
        attributes["server.address"] = place.host
    if attempt.status:
        attributes["http.response.status_code"] = attempt.status
    if attempt.upstream_request_id:
        attributes["gen_ai.response.id"] = attempt.upstream_request_id
    fine = attempt.outcome in _FINE
    error = "" if fine else attempt.code or attempt.outcome
    if error:
        attributes["error.type"] = error
    if attempt.phase:
        attributes["stagedoor.phase"] = attempt.phase
    if answers:
        attributes |= _of_usage(record)
    return Span(
        name=f"{operation} {attempt.model}",
        kind="client",
        trace_id=trace.trace_id,
        span_id=trace.child(number),
        parent_id=trace.span_id,
        start_ns=began_ns,
        end_ns=began_ns + attempt.total_ms * NS_PER_MS,
        attributes=attributes,
        events=tuple(_call_events(attempt, began_ns, keyed=place.keyed)),
        error=error,
    )


def _of_usage(record: RequestRecord) -> dict[str, Value]:
    found: dict[str, Value] = {
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
    }
    if record.cached_tokens:
        found["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
    if record.reasoning_tokens:
        found["gen_ai.usage.reasoning.output_tokens"] = record.reasoning_tokens
    if record.usage_estimated:
        found["stagedoor.usage_estimated"] = True
    if record.finish:
        found["gen_ai.response.finish_reasons"] = (record.finish,)
    return found


def _call_events(
    attempt: AttemptRecord, began_ns: int, *, keyed: bool
) -> Iterator[Event]:
    """What the record has a time for; times of nothing are those of the start."""
    for name, at_ms in (
        ("permit", attempt.queued_ms if attempt.status else 0),
        ("lease", attempt.leased_ms),
        ("head", attempt.head_ms if attempt.status else 0),
        ("first_content", attempt.first_content_ms),
    ):
        if name == "lease" and not keyed:
            continue
        if at_ms or (attempt.status and name in ("lease", "head")):
            yield Event(name, began_ns + at_ms * NS_PER_MS)
