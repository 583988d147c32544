"""The events and snapshots of OpenAI's Responses dialect, as much as anyone reads.

One typed decode an event; snapshots and items stay bytes until they are needed. Servers
that put other types in these fields are read by `lenient`, slower.

Pure. Never raises on bytes from outside but `jsontext.JSON_ERRORS`.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, ValidationError

from wire.events import FinishReason, Usage
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    count,
    decode_any,
    encode,
    listing,
    mapping,
    text_or_none,
)

SOURCE = "openai_responses"


class StreamEvent(Struct, gc=False):
    """One event of a stream, by its `type`."""

    type: str
    delta: str | None = None
    output_index: int | None = None
    item_id: str | None = None
    summary_index: int | None = None
    content_index: int | None = None
    arguments: str | None = None
    input: str | None = None
    item: Raw = NULL
    response: Raw = NULL
    error: Raw = NULL
    annotation: Raw = NULL
    logprobs: Raw = NULL
    code: Raw = NULL
    message: Raw = NULL


class IncompleteDetails(Struct, gc=False):
    """Why an answer stopped short."""

    reason: str | None = None


class Snapshot(Struct, gc=False):
    """A response object, whole or in an event."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    service_tier: str | None = None
    incomplete_details: IncompleteDetails | None = None
    error: Raw = NULL
    usage: Raw = NULL
    output: Raw = NULL


_event = msgspec.json.Decoder(StreamEvent)
_snapshot = msgspec.json.Decoder(Snapshot)


def read_event(data: bytes) -> StreamEvent:
    """Decode an event. Raises one of JSON_ERRORS when it is no object with a type."""
    try:
        return _event.decode(data)
    except ValidationError:
        value = decode_any(data)
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            raise
        return _lenient_event(value)


def read_snapshot(data: bytes | Raw) -> Snapshot:
    """Decode a response object; an empty one for anything else."""
    try:
        return _snapshot.decode(data)
    except ValidationError:
        return _lenient_snapshot(mapping(decode_any(data)))
    except JSON_ERRORS:
        return Snapshot()


def _lenient_event(value: dict[str, Any]) -> StreamEvent:
    return StreamEvent(
        type=value["type"],
        delta=text_or_none(value.get("delta")),
        output_index=_int(value.get("output_index")),
        item_id=text_or_none(value.get("item_id")),
        summary_index=_int(value.get("summary_index")),
        content_index=_int(value.get("content_index")),
        arguments=text_or_none(value.get("arguments")),
        input=text_or_none(value.get("input")),
        item=_raw(value.get("item")),
        response=_raw(value.get("response")),
        error=_raw(value.get("error")),
        annotation=_raw(value.get("annotation")),
        logprobs=_raw(value.get("logprobs")),
        code=_raw(value.get("code")),
        message=_raw(value.get("message")),
    )


def _lenient_snapshot(value: Any) -> Snapshot:
    details = mapping(value.get("incomplete_details"))
    created = value.get("created_at")
    return Snapshot(
        id=text_or_none(value.get("id")),
        model=text_or_none(value.get("model")),
        created_at=float(count(created)),
        status=text_or_none(value.get("status")),
        service_tier=text_or_none(value.get("service_tier")),
        incomplete_details=IncompleteDetails(text_or_none(details.get("reason"))),
        error=_raw(value.get("error")),
        usage=_raw(value.get("usage")),
        output=_raw(value.get("output")),
    )


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _raw(value: Any) -> Raw:
    return NULL if value is None else Raw(encode(value))


INCOMPLETE: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


def finish_of(snapshot: Snapshot, calls: int) -> tuple[FinishReason, str]:
    """Our reason and the provider's word, of an answer that did not fail."""
    details = snapshot.incomplete_details
    raw = (details.reason if details else None) or snapshot.status or "completed"
    reason = INCOMPLETE.get(raw, "stop")
    return ("tool_calls" if calls and reason == "stop" else reason), raw


SEARCH_CALL: Final = b"web_search_call"


def usage_of(snapshot: Snapshot) -> Usage | None:
    """Usage of a snapshot; None where it holds none yet."""
    if snapshot.usage == NULL:
        return None
    raw = mapping(decode_any(snapshot.usage))
    if not raw:
        return None
    usage = usage_from(raw)
    if SEARCH_CALL in bytes(snapshot.output):
        searches = _searches(listing(decode_any(snapshot.output)))
        return msgspec.structs.replace(usage, searches=searches)
    return usage


def _searches(output: list[Any]) -> int:
    """The searches among the items of an output: each is billed, whatever it found.

    Opening a page that was found, or looking for words in it, is not; older items do
    not say what they did, and were searches all.
    """
    count_ = 0
    for one in output:
        item = mapping(one)
        if item.get("type") == "web_search_call" and item.get("status") != "failed":
            action = mapping(item.get("action")).get("type")
            count_ += action in {None, "search"}
    return count_


def usage_from(raw: Any) -> Usage:
    """Responses' usage in the normal form."""
    into = mapping(raw.get("input_tokens_details"))
    out = mapping(raw.get("output_tokens_details"))
    prompt, completion = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=min(count(into.get("cached_tokens")), prompt),
        cache_write=min(count(into.get("cache_write_tokens")), prompt),
        reasoning=min(count(out.get("reasoning_tokens")), completion),
        total_reported=count(raw.get("total_tokens")) or None,
    )


def usage_to(usage: Usage) -> dict[str, Any]:
    """Usage as Responses clients read it."""
    into = {"cached_tokens": usage.cached}
    if usage.cache_write:
        into["cache_write_tokens"] = usage.cache_write
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": into,
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
