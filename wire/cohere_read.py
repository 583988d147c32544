"""Cohere's v2 chat answers into events: streams and whole answers.

Order of a stream: message-start, tool-plan-delta…, then content, tool-call and citation
blocks, each with start, delta… and end, then message-end with finish and usage, then
`[DONE]`, which says nothing more. The tool plan is the model thinking aloud: reasoning.

Owns: the grammar and Cohere's usage. Never raises on bytes from outside.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from wire.dialect import malformed, truncated
from wire.errors import classify_event
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    FinishReason,
    Logprobs,
    Opaque,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.jsontext import count, decode_object, mapping, mended, text
from wire.sse import Frame, SseDecoder, SseError

SOURCE: Final = "cohere"

FINISH: Final[dict[str, FinishReason]] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
FAILED: Final = frozenset({"ERROR", "TIMEOUT", "ERROR_TOXIC", "ERROR_LIMIT"})

CALLS_MAX: Final = 1024
"""Tool calls of one answer. More is a runaway, and each costs us memory."""

PLAN_BLOCK: Final = 1000
"""The tool plan's own part, apart from any content block's index."""


class CohereReader:
    """Cohere's events, one JSON object at a time; `over` once no more may follow."""

    def __init__(self, model: str) -> None:
        self.over = False
        self._model = model
        self._started = False
        self._calls = 0
        self._tools: dict[int, int] = {}  # Open calls: Cohere's index to our place.
        self._args_seen: set[int] = set()
        self._text_block = 0

    def read(self, data: bytes) -> list[Event]:
        """What one event means; one of an unknown kind passes as `Opaque`.

        Whatever the peer does, `Start` comes first and once.
        """
        event = decode_object(data)
        if event is None:
            return [self._fail(malformed(SOURCE, "an event that is no JSON object"))]
        events = self._take(event, data)
        if events and isinstance(events[0], Fault):
            return events
        return [*self._start(""), *events]

    def _take(self, event: Mapping[str, Any], data: bytes) -> list[Event]:
        kind = text(event.get("type"))
        delta = mapping(event.get("delta"))
        message = mapping(delta.get("message"))
        at = count(event.get("index"))
        match kind:
            case "content-delta" | "content-start":
                return self._content(at, message.get("content"), delta)
            case "tool-plan-delta":
                return _plan(text(message.get("tool_plan")))
            case "tool-call-start":
                return self._tool_start(at, mapping(message.get("tool_calls")))
            case "tool-call-delta":
                return self._tool_args(at, mapping(message.get("tool_calls")))
            case "tool-call-end":
                return self._tool_end(at)
            case "citation-start":
                return [self._citation(mapping(message.get("citations")))]
            case "content-end" | "citation-end":
                return []
            case "message-start":
                return self._start(text(event.get("id")))
            case "message-end":
                return self._end(delta)
            case "" if "message" in event:
                return [self._fail(classify_event(SOURCE, data))]
            case _:
                return [Opaque(SOURCE, kind, data)]

    def whole(self, answer: Mapping[str, Any]) -> list[Event]:
        """A unary answer."""
        message = answer.get("message")
        if not isinstance(message, dict):
            return [malformed(SOURCE, "an answer without a message")]
        events = self._start(text(answer.get("id")))
        events += _plan(text(message.get("tool_plan")))
        for at, part in enumerate(_list(message, "content")):
            events += self._content(at, part, {})
        for at, call in enumerate(_list(message, "tool_calls")):
            events += self._tool_start(at, mapping(call))
            events += self._tool_end(at)
        for cited in _list(message, "citations"):
            events.append(self._citation(mapping(cited)))
        events += _logprobs(answer.get("logprobs"))
        return [*events, *self._end(answer)]

    def _start(self, id_: str) -> list[Event]:
        if self._started:
            return []
        self._started = True
        return [Start(id_, self._model)]

    def _content(self, at: int, content: Any, delta: Mapping[str, Any]) -> list[Event]:
        part = mapping(content)
        thought, said = text(part.get("thinking")), text(part.get("text"))
        if part.get("type") == "text" or said:
            self._text_block = at
        found: list[Event] = []
        if thought:
            found.append(ReasoningDelta(thought, block=at))
        if said:
            found.append(TextDelta(said, block=at))
        found += _logprobs(delta.get("logprobs"))
        return found

    def _tool_start(self, at: int, call: Mapping[str, Any]) -> list[Event]:
        before = self._tool_end(at)
        if self._calls >= CALLS_MAX:
            return [self._fail(malformed(SOURCE, f"over {CALLS_MAX} tool calls"))]
        place = self._tools[at] = self._calls
        self._calls += 1
        function = mapping(call.get("function"))
        start = ToolCallStart(place, text(call.get("id")), text(function.get("name")))
        return [*before, start, *self._tool_args(at, call)]

    def _tool_args(self, at: int, call: Mapping[str, Any]) -> list[Event]:
        place = self._tools.get(at)
        if place is None:
            return [self._fail(malformed(SOURCE, "arguments belong to no tool call"))]
        piece = text(mapping(call.get("function")).get("arguments"))
        if not piece:
            return []
        self._args_seen.add(place)
        return [ToolArgsDelta(place, piece)]

    def _tool_end(self, at: int) -> list[Event]:
        place = self._tools.pop(at, None)
        if place is None:
            return []
        end = ToolCallEnd(place)
        if place in self._args_seen:
            return [end]
        return [ToolArgsDelta(place, "{}"), end]

    def _citation(self, cited: Mapping[str, Any]) -> Citation:
        sources = _list(cited, "sources")
        document = mapping(mapping(sources[0] if sources else None).get("document"))
        block = cited.get("content_index")
        return Citation(
            url=text(document.get("url")),
            title=text(document.get("title")),
            text=text(cited.get("text")),
            start=_place(cited.get("start")),
            end=_place(cited.get("end")),
            block=block if isinstance(block, int) else self._text_block,
            source=SOURCE,
            data=msgspec.json.encode(cited),
        )

    def _end(self, delta: Mapping[str, Any]) -> list[Event]:
        self.over = True
        raw = text(delta.get("finish_reason"))
        ended = [event for at in sorted(self._tools) for event in self._tool_end(at)]
        ended += _usage(mapping(delta.get("usage")))
        if raw in FAILED:
            return [*ended, _failed(raw, text(delta.get("error")))]
        return [*ended, Finish(FINISH.get(raw, "stop"), raw)]

    def _fail(self, fault: Fault) -> Fault:
        self.over = True
        return fault


def _plan(said: str) -> list[Event]:
    return [ReasoningDelta(said, block=PLAN_BLOCK)] if said else []


def _failed(raw: str, why: str) -> Fault:
    return Fault(
        kind="transient",
        message=f"Cohere gave up on the answer ({raw}). {why}".strip(),
        status=504 if raw == "TIMEOUT" else 502,
        code="upstream_failed",
        type="upstream_error",
        source=SOURCE,
    )


def _usage(raw: Mapping[str, Any]) -> list[Event]:
    """`tokens`, not `billed_units`, which leave Cohere's own preamble out.

    Pictures are counted beside the input: 34 tokens of it with 259 of a picture were
    recorded.
    """
    tokens = mapping(raw.get("tokens"))
    if not tokens:
        return []
    prompt = count(tokens.get("input_tokens")) + count(tokens.get("image_tokens"))
    completion = count(tokens.get("output_tokens"))
    return [
        Usage(
            prompt=prompt,
            completion=completion,
            cached=min(count(raw.get("cached_tokens")), prompt),
            reasoning=min(count(tokens.get("reasoning_tokens")), completion),
        )
    ]


def _logprobs(said: Any) -> list[Event]:
    """Cohere's per piece of text into OpenAI's per token.

    A piece of several tokens is told as one, with the probability of all together.
    """
    entries = said if isinstance(said, list) else [said]
    content: list[dict[str, Any]] = []
    for entry in map(mapping, entries):
        values = [v for v in _list(entry, "logprobs") if isinstance(v, (int, float))]
        if values:
            token = text(entry.get("text"))
            content.append(
                {
                    "token": token,
                    "logprob": float(sum(values)),
                    "bytes": list(token.encode()),
                    "top_logprobs": [],
                }
            )
    if not content:
        return []
    return [Logprobs(msgspec.json.encode({"content": content, "refusal": None}))]


class CohereDecoder:
    """The SSE stream of /v2/chat into events."""

    def __init__(self, model: str) -> None:
        self._sse = SseDecoder()
        self._reader = CohereReader(model)

    def __repr__(self) -> str:
        state = "over" if self.done else "open"
        return f"<CohereDecoder {state} {self._sse!r}>"

    @property
    def done(self) -> bool:
        """See `StreamDecoder.done`."""
        return self._reader.over

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self.done:
            return []
        try:
            frames = self._sse.feed(data)
        except SseError as error:
            return self._end(malformed(SOURCE, str(error)))
        return self._read(frames)

    def _read(self, frames: list[Frame]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if frame.data.strip() in {b"", b"[DONE]"}:
                continue
            events += self._reader.read(mended(frame.data))
            if self._reader.over:
                break
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`."""
        if self.done:
            return []
        if self._sse.error is not None:
            return self._end(malformed(SOURCE, str(self._sse.error)))
        # An error that is no SSE at all: a bare JSON body in a 200.
        bare = b"\n".join((*self._sse.strays, self._sse.tail)).strip()
        if "message" in (decode_object(bare) or {}):
            return self._end(classify_event(SOURCE, bare))
        return self._end(truncated(SOURCE))

    def _end(self, fault: Fault) -> list[Event]:
        self._reader.over = True
        return [fault]


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    value = raw.get(name)
    return value if isinstance(value, list) else []


def _place(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
