"""Bedrock's words and counts in ours: finish reasons, usage, citations. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from wire.events import Citation, Event, Fault, Finish, FinishReason, Opaque, Usage
from wire.jsontext import count, mapping, text

SOURCE: Final = "bedrock"

FINISH: Final[dict[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
# The model's own failures. A finish reason here would pass them off as answers.
FAILED: Final = frozenset({"malformed_model_output", "malformed_tool_use"})


def end(reason: str, extra: Mapping[str, Any]) -> Finish | Fault:
    """How an answer ended; `extra` are the model's own fields that were asked for."""
    if reason in FAILED:
        return Fault(
            kind="transient",
            message=f"The model's output was unusable ({reason}); ask again.",
            status=502,
            code=reason,
            type="upstream_error",
            source=SOURCE,
        )
    stop = extra.get("stop_sequence")
    return Finish(
        FINISH.get(reason, "stop"),
        reason,
        stop_sequence=stop if isinstance(stop, str) else None,
    )


def metadata(payload: Mapping[str, Any]) -> list[Event]:
    """Usage, and the guardrail's trace where one was asked for."""
    found: list[Event] = []
    trace = payload.get("trace")
    if trace:
        found.append(Opaque(SOURCE, "trace", as_json(trace)))
    raw = mapping(payload.get("usage"))
    if raw:
        found.append(usage(raw))
    return found


def usage(raw: Mapping[str, Any]) -> Usage:
    """Bedrock counts cached input apart; the normal form counts it in."""
    read = count(raw.get("cacheReadInputTokens"))
    read = read or count(raw.get("cacheReadInputTokenCount"))
    written = count(raw.get("cacheWriteInputTokens"))
    written = written or count(raw.get("cacheWriteInputTokenCount"))
    hour = sum(
        count(mapping(detail).get("inputTokens"))
        for detail in list_of(raw, "cacheDetails")
        if mapping(detail).get("ttl") == "1h"
    )
    prompt = count(raw.get("inputTokens")) + read + written
    completion = count(raw.get("outputTokens"))
    total = count(raw.get("totalTokens"))
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=read,
        cache_write=written,
        cache_write_1h=min(hour, written),
        total_reported=total if total > prompt + completion else None,
    )


def citation(raw: Mapping[str, Any], block: int) -> Citation:
    """Where a text comes from; its place in the source document stays in `data`."""
    location = mapping(raw.get("location"))
    quoted = [text(mapping(part).get("text")) for part in list_of(raw, "sourceContent")]
    return Citation(
        url=text(mapping(location.get("web")).get("url")),
        title=text(raw.get("title")),
        text="".join(quoted),
        block=block,
        source=SOURCE,
        data=as_json(raw),
    )


def list_of(raw: Mapping[str, Any], name: str) -> list[Any]:
    """A list, or an empty one for any other JSON value."""
    value = raw.get(name)
    return value if isinstance(value, list) else []


def as_json(value: Any) -> bytes:
    """JSON that is only carried on."""
    return msgspec.json.encode(value)
