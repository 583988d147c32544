"""Events into what a Gemini client reads: chunks, whole answers, counts, errors.

Owns: both framings. With `alt=sse` every line is `data: ` or empty: the official client
takes any other line, a comment too, for a piece of JSON. Without it, one JSON array.
The finish reasons and the usage come in the last chunk, because other providers tell
their usage last.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from wire.completion import AnswerPart, Completion
from wire.counting import TokenCount
from wire.dialect import ErrorResponse, Reply, public
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    FinishReason,
    Logprobs,
    Media,
    Opaque,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    ServerTool,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.gemini_array import ArrayWriter
from wire.gemini_cite import google_logprobs
from wire.gemini_parts import SYNTHETIC_ID, carry
from wire.gemini_schema import FINISH, FINISH_WORDS, SOURCE
from wire.jsontext import JSON_ERRORS, encode
from wire.request import Reasoning, Refusal, Text, ToolUse
from wire.sse import encode_data
from wire.toolids import pack

JSON = dict[str, Any]

HEARTBEAT: Final = b"\n"
"""A blank line: nothing in SSE, white space in an array. Never a comment."""


class Framing(Struct):
    """Chunks into bytes, in the framing the client asked for."""

    array: ArrayWriter | None = None

    def add(self, chunk: bytes) -> bytes:
        """One chunk."""
        if self.array is not None:
            return self.array.add(chunk)
        if b"\n" in chunk:  # Raw JSON of a provider that prints it prettily.
            chunk = msgspec.json.format(chunk, indent=-1)
        return encode_data(chunk)

    def end(self) -> bytes:
        """What comes after the last one."""
        return b"" if self.array is None else self.array.end()


def framing(*, sse: bool) -> Framing:
    """A fresh framing for one stream."""
    return Framing(None if sse else ArrayWriter())


def usage_json(usage: Usage) -> JSON:
    """Usage in Google's counting, where thoughts stand beside the candidates."""
    out: JSON = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": max(usage.completion - usage.reasoning, 0),
        "totalTokenCount": usage.total,
    }
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    if usage.cached:
        out["cachedContentTokenCount"] = usage.cached
    return out


def finish_json(finish: Finish) -> str:
    """The finish reason in Google's words."""
    reason: FinishReason = "stop" if finish.reason == "tool_calls" else finish.reason
    return finish.raw if FINISH.get(finish.raw) == reason else FINISH_WORDS[reason]


def call_part(
    call_id: str, name: str, arguments: str, state: ProviderState | None
) -> JSON:
    """A functionCall; other providers' state rides in the id."""
    call: JSON = {"name": name, "args": _object(arguments)}
    part: JSON = {"functionCall": call}
    if state is not None and state.source == SOURCE:
        part["thoughtSignature"] = state.data
    elif state is not None:
        call_id = pack(call_id, state)
    if call_id and not call_id.startswith(SYNTHETIC_ID):
        call["id"] = call_id
    return part


def _object(arguments: str) -> Any:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except JSON_ERRORS:
        return {"invalid_json": arguments}
    return value if isinstance(value, dict) else {"value": value}


def media_part(media: Media) -> JSON | None:
    """Sound and pictures inline; only words where there is no data."""
    if media.data:
        return {"inlineData": {"mimeType": media.media_type, "data": media.data}}
    return {"text": media.transcript} if media.transcript else None


def grounding(citations: Sequence[Citation]) -> JSON:
    """Other providers' links as Google's grounding metadata."""
    chunks: list[JSON] = []
    supports: list[JSON] = []
    for at, citation in enumerate(citations):
        chunks.append({"web": {"uri": citation.url, "title": citation.title}})
        if citation.text:
            supports.append(
                {"segment": {"text": citation.text}, "groundingChunkIndices": [at]}
            )
    out: JSON = {"groundingChunks": chunks}
    if supports:
        out["groundingSupports"] = supports
    return out


class _Choice(Struct):
    """One candidate on its way."""

    calls: dict[int, tuple[ToolCallStart, list[str]]] = {}
    finish: Finish | None = None
    citations: list[Citation] = []
    extras: dict[str, Raw] = {}
    logprobs: list[bytes] = []
    thinking: bool = False  # The last part was a thought, so a signature is its own.


class GeminiEncoder:
    """One stream for a Gemini client."""

    def __init__(self, reply: Reply, frames: Framing) -> None:
        self._reply = reply
        self._frames = frames
        self._usage: Usage | None = None
        self._choices: dict[int, _Choice] = {}
        self._finished = False

    def __repr__(self) -> str:
        return f"<GeminiEncoder choices={len(self._choices)} {self._finished=}>"

    def encode(self, events: Sequence[Event]) -> bytes:
        """See `StreamEncoder.encode`. Parts of one candidate share a chunk."""
        out: list[bytes] = []
        parts: list[JSON] = []
        index = 0
        for event in events:
            if isinstance(event, Usage):
                self._usage = event
            elif not isinstance(event, (Start, Fault)):
                if parts and event.choice != index:
                    out.append(self._chunk(index, parts))
                    parts = []
                index = event.choice
                choice = self._choice(index)
                part = self._part(event, choice)
                if part is not None:
                    parts.append(part)
        if parts:
            out.append(self._chunk(index, parts))
        return b"".join(out)

    def finish(self) -> bytes:
        """See `StreamEncoder.finish`."""
        if self._finished:
            return b""
        self._finished = True
        self._choice(0)
        candidates: list[JSON] = []
        for index, choice in sorted(self._choices.items()):
            parts = [_called(start, args) for start, args in choice.calls.values()]
            candidate: JSON = {
                "content": {"parts": parts or [{"text": ""}], "role": "model"},
                "finishReason": finish_json(choice.finish or Finish("stop")),
                "index": index,
                **choice.extras,
            }
            if choice.citations and "groundingMetadata" not in choice.extras:
                candidate["groundingMetadata"] = grounding(choice.citations)
            logprobs = google_logprobs(choice.logprobs)
            if logprobs is not None:
                candidate["logprobsResult"] = logprobs
            candidates.append(candidate)
        last = self._frames.add(encode(self._response(candidates)))
        return last + self._frames.end()

    def _choice(self, index: int) -> _Choice:
        if index not in self._choices:
            self._choices[index] = _Choice(
                calls={}, citations=[], extras={}, logprobs=[]
            )
        return self._choices[index]

    def _response(self, candidates: list[JSON]) -> JSON:
        return response_json(candidates, self._usage, self._reply)

    def _chunk(self, index: int, parts: list[JSON]) -> bytes:
        content: JSON = {"parts": parts, "role": "model"}
        candidate: JSON = {"content": content, "index": index}
        return self._frames.add(encode(self._response([candidate])))

    def _part(self, event: Event, choice: _Choice) -> JSON | None:
        thinking, choice.thinking = choice.thinking, False
        match event:
            case TextDelta() | RefusalDelta():
                return {"text": event.text} if event.text else None
            case ReasoningDelta():
                choice.thinking = True
                return {"text": event.text, "thought": True} if event.text else None
            case ReasoningState():
                part: JSON = {"text": "", "thoughtSignature": carry(event.state)}
                if thinking:
                    part["thought"] = True
                return part
            case ToolCallStart():
                choice.calls[event.index] = (event, [])
            case ToolArgsDelta():
                if event.index in choice.calls:
                    choice.calls[event.index][1].append(event.text)
            case ToolCallEnd():
                called = choice.calls.pop(event.index, None)
                return None if called is None else _called(*called)
            case Media():
                return media_part(event)
            case ServerTool():
                return _raw_part(event)
            case Citation():
                choice.citations.append(event)
            case Logprobs():
                choice.logprobs.append(event.data)
            case Finish():
                choice.finish = event
            case Opaque():
                if event.source == SOURCE:
                    choice.extras[event.name] = Raw(event.data)
            case _:
                pass
        return None


def _called(start: ToolCallStart, args: list[str]) -> JSON:
    return call_part(start.id, start.name, "".join(args), start.state)


def _raw_part(tool: ServerTool) -> JSON | None:
    if tool.source != SOURCE:
        return None
    part: JSON = msgspec.json.decode(tool.data)
    return part


def response_json(candidates: list[JSON], usage: Usage | None, reply: Reply) -> JSON:
    """A GenerateContentResponse."""
    out: JSON = {"candidates": candidates}
    if usage is not None:
        out["usageMetadata"] = usage_json(usage)
    out["modelVersion"] = reply.model
    out["responseId"] = reply.id
    return out


def render_response(completion: Completion, reply: Reply) -> bytes:
    """The body of a unary 200."""
    candidates: list[JSON] = []
    for choice in completion.choices:
        parts = [made for part in choice.parts for made in _answer_parts(part)]
        candidate: JSON = {
            "content": {"parts": parts, "role": "model"},
            "finishReason": finish_json(choice.finish or Finish("stop")),
            "index": choice.index,
        }
        for extra in completion.extra:
            if extra.source == SOURCE and extra.choice == choice.index:
                candidate[extra.name] = Raw(extra.data)
        if choice.citations and "groundingMetadata" not in candidate:
            candidate["groundingMetadata"] = grounding(choice.citations)
        logprobs = google_logprobs(choice.logprobs)
        if logprobs is not None:
            candidate["logprobsResult"] = logprobs
        candidates.append(candidate)
    return encode(response_json(candidates, completion.usage, reply))


def _answer_parts(part: AnswerPart) -> list[JSON]:
    match part:
        case Text() | Refusal():
            return [{"text": part.text}]
        case Reasoning():
            made: JSON = {"text": part.text}
            if part.text:
                made["thought"] = True
            if part.state is not None:
                made["thoughtSignature"] = carry(part.state)
            return [made]
        case ToolUse():
            return [call_part(part.id, part.name, part.arguments, part.state)]
        case Media():
            media = media_part(part)
            return [media] if media is not None else []
        case ServerTool():
            raw = _raw_part(part)
            return [raw] if raw is not None else []
        case _:
            return []


def render_count(count: TokenCount) -> bytes:
    """The body of a count's 200."""
    out: JSON = {"totalTokens": count.tokens}
    if count.cached:
        out["cachedContentTokenCount"] = count.cached
    return encode(out)


_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}


def error_json(fault: Fault) -> tuple[int, JSON]:
    """Status and body of an error, for a client to see."""
    seen = public(fault)
    fallback = "INVALID_ARGUMENT" if seen.status < 500 else "INTERNAL"
    details: list[JSON] = []
    if seen.code is not None:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": seen.code.upper(),
                "domain": "stagedoor",
            }
        )
    if seen.param is not None:
        violation = {"field": seen.param, "description": seen.message}
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [violation],
            }
        )
    if seen.retry_after_s is not None:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{max(1, round(seen.retry_after_s))}s",
            }
        )
    error: JSON = {
        "code": seen.status,
        "message": seen.message,
        "status": _STATUSES.get(seen.status, fallback),
    }
    if details:
        error["details"] = details
    return seen.status, {"error": error}


def render_error(fault: Fault, *, array: bool) -> ErrorResponse:
    """An error before the first byte; to an array stream, Google sends it in one."""
    status, body = error_json(fault)
    headers = [("content-type", "application/json; charset=UTF-8")]
    wait_s = public(fault).retry_after_s
    if wait_s is not None:
        headers.append(("retry-after", str(max(1, round(wait_s)))))
    return ErrorResponse(status, tuple(headers), encode([body] if array else body))


def error_event(fault: Fault, *, sse: bool) -> bytes:
    """An error after the first byte. The array before it has elements already."""
    _, body = error_json(fault)
    if sse:
        return encode_data(encode(body))
    return b",\r\n" + encode(body) + b"\r\n]"
