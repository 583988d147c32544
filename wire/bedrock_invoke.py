"""Bedrock's InvokeModel: each model family's own dialect inside AWS's envelope.

A stream is `chunk` frames of {"bytes": base64 of one JSON event}. Which family speaks
is seen from the first event: Claude's Messages events, Nova's Converse events, Titan's
and Cohere Command's own. Requests are built for Claude and Nova; all other models are
asked, and answer, through Converse.

Owns: the envelope, Titan and Command. Never: what Claude's or Nova's events mean. Never
raises on bytes from outside.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from wire import anthropic_decode
from wire import bedrock_build as build
from wire.bedrock_invoke_build import build_invoke
from wire.bedrock_read import ConverseReader
from wire.bedrock_stream import frame_fault, frame_object
from wire.bedrock_terms import SOURCE
from wire.customtools import decoder_for
from wire.dialect import (
    Headers,
    StreamDecoder,
    Target,
    UpstreamRequest,
    malformed,
    truncated,
)
from wire.errors import classify
from wire.events import (
    Event,
    Fault,
    Finish,
    FinishReason,
    Opaque,
    Start,
    TextDelta,
    Usage,
)
from wire.eventstream import EventStreamDecoder, EventStreamError, Frame
from wire.jsontext import count, decode_object, mapping, text, whole
from wire.request import ChatRequest

NAME: Final = "bedrock_invoke"

_FINISH: Final[dict[str, FinishReason]] = {
    "FINISH": "stop",
    "FINISHED": "stop",
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "STOP_CRITERIA_MET": "stop",
    "LENGTH": "length",
    "MAX_TOKENS": "length",
    "CONTENT_FILTERED": "content_filter",
    "ERROR_TOXIC": "content_filter",
    "RAG_QUERY_WHEN_RAG_DISABLED": "stop",
}
_GUARDRAIL: Final = "amazon-bedrock-guardrailAction"
_TRACE: Final = "amazon-bedrock-trace"
_METRICS: Final = "amazon-bedrock-invocationMetrics"


class _Family(Protocol):
    """How one family's events read.

    `over` at the end of its grammar, `complete` where it may end as it stands.
    """

    @property
    def over(self) -> bool: ...

    @property
    def complete(self) -> bool: ...

    def read(self, data: bytes, event: Mapping[str, Any]) -> list[Event]: ...


class _Claude:
    def __init__(self) -> None:
        self._events = anthropic_decode.MessageEvents()
        self._finish: list[Event] = []
        self._guarded = False

    @property
    def over(self) -> bool:
        return self._events.done

    complete = over

    def read(self, data: bytes, event: Mapping[str, Any]) -> list[Event]:
        self._guarded = self._guarded or event.get(_GUARDRAIL) == "INTERVENED"
        events, self._finish = [*self._finish, *self._events.push(data)], []
        if not self._events.done:
            # The guardrail's verdict may ride on the very last event.
            self._finish = [made for made in events if isinstance(made, Finish)]
            return [made for made in events if not isinstance(made, Finish)]
        return _guard(events) if self._guarded else events


class _Nova:
    def __init__(self, model: str) -> None:
        self._reader = ConverseReader(model)

    @property
    def over(self) -> bool:
        return self._reader.over

    @property
    def complete(self) -> bool:
        return self._reader.stopped  # Only usage may still come.

    def read(self, data: bytes, event: Mapping[str, Any]) -> list[Event]:
        del data
        return [
            made
            for kind, payload in event.items()
            if not kind.startswith("amazon-bedrock-")
            for made in self._reader.read(kind, mapping(payload))
        ]


class _Plain:
    """Titan and Cohere Command: flat objects with a piece of text each."""

    def __init__(self, model: str) -> None:
        self.over = self.complete = False
        self._start: list[Event] = [Start(model=model)]

    def read(self, data: bytes, event: Mapping[str, Any]) -> list[Event]:
        del data
        events, self._start = self._start, []
        # Command repeats the whole text in its last event, after the pieces.
        if not event.get("is_finished"):
            said = text(event.get("outputText")) or text(event.get("text"))
            events.append(TextDelta(said))
        events += _notes(event)
        reason = _reason(event)
        if reason is not None:
            events.append(reason)
            self.over = self.complete = True
        return events


def _guard(events: list[Event]) -> list[Event]:
    """A guardrail put its own words in the place of the model's."""
    verdict = Finish("content_filter", "guardrail_intervened")
    return [verdict if isinstance(made, Finish) else made for made in events]


def _reason(event: Mapping[str, Any]) -> Finish | Fault | None:
    if event.get(_GUARDRAIL) == "INTERVENED":
        return Finish("content_filter", "guardrail_intervened")
    raw = text(event.get("completionReason")) or text(event.get("finish_reason"))
    if not raw:
        return None
    if raw.startswith("ERROR") and raw not in _FINISH:
        return malformed(SOURCE, f"it ended with {raw[:40]}")
    return Finish(_FINISH.get(raw, "stop"), raw)


def _notes(event: Mapping[str, Any]) -> list[Event]:
    found: list[Event] = []
    if event.get(_TRACE):
        found.append(Opaque(SOURCE, "trace", msgspec.json.encode(event[_TRACE])))
    metrics = mapping(event.get(_METRICS))
    prompt = metrics.get("inputTokenCount", event.get("inputTextTokenCount"))
    completion = metrics.get("outputTokenCount", event.get("totalOutputTextTokenCount"))
    if prompt is not None and completion is not None:
        found.append(Usage(count(prompt), count(completion)))
    return found


class InvokeDecoder:
    """An InvokeModelWithResponseStream: frames, chunks, a family's events."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._frames = EventStreamDecoder()
        self._family: _Family | None = None
        self._ended = False

    def __repr__(self) -> str:
        state = "over" if self.done else "open"
        return f"<InvokeDecoder {type(self._family).__name__} {state} {self._frames!r}>"

    @property
    def done(self) -> bool:
        """See `StreamDecoder.done`."""
        return self._ended or (self._family is not None and self._family.over)

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self.done:
            return []
        events: list[Event] = []
        try:
            for frame in self._frames.feed(data):
                events.extend(self._read(frame))
                if self._ended or (self._family is not None and self._family.over):
                    break
        except EventStreamError as error:
            events.append(self._fail(malformed(SOURCE, str(error))))
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`."""
        if self.done:
            return []
        try:
            self._frames.close()
        except EventStreamError:
            return [self._fail(truncated(SOURCE))]
        if self._family is not None and self._family.complete:
            self._ended = True
            return []
        return [self._fail(truncated(SOURCE))]

    def _read(self, frame: Frame) -> list[Event]:
        fault = frame_fault(frame)
        if fault is not None:
            return [self._fail(fault)]
        kind = frame.text(":event-type") or "chunk"
        payload = frame_object(frame)
        data, event = b"", None
        if payload is not None:
            # Other events than chunks: it was asked through Converse.
            data, event = (
                _unwrap(payload) if kind == "chunk" else (b"", {kind: payload})
            )
        if event is None:
            return [self._fail(malformed(SOURCE, "a chunk without a JSON object"))]
        if self._family is None:
            self._family = self._recognise(event)
        if self._family is None:
            return [self._fail(_unknown_family())]
        return self._family.read(data, event)

    def _recognise(self, event: Mapping[str, Any]) -> _Family | None:
        if "type" in event:
            return _Claude()
        if "messageStart" in event or "initial-response" in event:
            return _Nova(self._model)
        if "outputText" in event or "is_finished" in event:
            return _Plain(self._model)
        return None

    def _fail(self, fault: Fault) -> Fault:
        self._ended = True
        return fault


def _unwrap(payload: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any] | None]:
    """The JSON event inside a chunk, as bytes and read; None when there is none."""
    try:
        data = base64.b64decode(text(payload.get("bytes")), validate=True)
    except (binascii.Error, ValueError):
        return b"", None
    return data, decode_object(data)


def _unknown_family() -> Fault:
    return malformed(SOURCE, "events of a family only Converse can read")


class BedrockInvoke:
    """InvokeModel for Claude (all that Anthropic's API has) and Nova, else Converse."""

    name = NAME

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return build_invoke(request, target)

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        return decoder_for(request, InvokeDecoder(build.base_model(target)))

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        if not 200 <= status < 300:
            return [self.classify_error(status, headers, body, target)]
        answer = decode_object(body)
        if answer is None:
            return [malformed(SOURCE, "an answer that is no JSON object")]
        if answer.get("type") == "message":
            events = anthropic_decode.parse_response(status, headers, body)
            return _guard(events) if answer.get(_GUARDRAIL) == "INTERVENED" else events
        model = build.base_model(target)
        if "output" in answer:
            return ConverseReader(model).whole(answer)
        return _whole(answer, headers, model)

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        del target
        return classify(SOURCE, status, headers, body)


def _whole(answer: Mapping[str, Any], headers: Headers, model: str) -> list[Event]:
    """Titan's or Command's unary answer; token counts may be in headers only."""
    results = answer.get("results")
    one = mapping(results[0]) if isinstance(results, list) and results else answer
    reason = _reason({**answer, **one})
    if reason is None:
        return [_unknown_family()]
    said = text(one.get("outputText")) or text(one.get("text"))
    prompt = answer.get("inputTextTokenCount", _header(headers, "input"))
    completion = one.get("tokenCount", _header(headers, "output"))
    usage: list[Event] = []
    if prompt is not None and completion is not None:
        usage.append(Usage(count(prompt), count(completion)))
    return [Start(model=model), TextDelta(said), *usage, reason]


def _header(headers: Headers, which: str) -> int | None:
    return whole(headers.get(f"x-amzn-bedrock-{which}-token-count", ""))
