"""The fast way for Anthropic clients of an Anthropic provider: bytes pass as they came.

Owns: what one look at an event tells (content, usage, the end, an error), and the edit
of a request's top level. Only `message_start` is ever rewritten, for the model's name.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from wire import anthropic_models as models
from wire.anthropic_build import build_request, upstream
from wire.anthropic_carry import MARK
from wire.anthropic_decode import merge_usage, payload, usage_of
from wire.anthropic_encode import frame, stop_json, usage_json
from wire.anthropic_parse import parse_request
from wire.anthropic_parts import decode_optional
from wire.anthropic_schema import (
    SOURCE,
    STOP_REASONS,
    VERSION_SAMPLING,
    AUsage,
    InThinking,
)
from wire.dialect import (
    Head,
    Headers,
    Reading,
    Target,
    UpstreamRequest,
    malformed,
    truncated,
)
from wire.errors import classify, classify_event
from wire.events import Finish, FinishReason
from wire.jsontext import JSON_ERRORS
from wire.relay import SseRelay
from wire.toolids import MARK_BYTES


class _Delta(Struct, gc=False):
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    stop_reason: str | None = None


class _Block(Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    name: str = ""


class _Message(Struct):
    usage: AUsage | None = None


class _Event(Struct):
    """As much of an event as a relay must know."""

    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: AUsage | None = None


class _Whole(Struct):
    """As much of a unary message."""

    type: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: AUsage | None = None


_FOREIGN = (
    MARK_BYTES,
    b'"' + MARK.encode(),
    *(b'"signature":""', b'"signature": ""'),
    *(b'"encrypted_index":""', b'"encrypted_index": ""'),
)
"""What shows that a history holds turns of other providers, as clients spell it."""

_event = msgspec.json.Decoder(_Event)
_whole = msgspec.json.Decoder(_Whole)
_fields = msgspec.json.Decoder(dict[str, Raw])


class AnthropicRelay(SseRelay):
    """See `SseRelay`; this knows what Anthropic's events mean."""

    def __init__(self, model: str | None = None) -> None:
        super().__init__(SOURCE)
        self._model = model
        self._usage = AUsage()
        self._begun = False
        self._finish: str | None = None
        self._block: int | None = None

    def look(self, event: bytes, reading: Reading) -> bytes:
        """See `SseRelay.look`."""
        data = payload(event)
        if not data:
            return b""
        try:
            seen = _event.decode(data)
        except JSON_ERRORS:
            reading.fault = malformed(SOURCE, "an event is not the JSON it should be")
            return b""
        match seen.type:
            case "content_block_delta":
                delta = seen.delta
                if delta is not None:
                    chars = len(delta.text) + len(delta.thinking)
                    chars += len(delta.partial_json)
                    reading.output_chars += chars
                    if chars or delta.signature:
                        reading.content = True
            case "content_block_start":
                self._block = seen.index
                _start(seen.content_block or _Block(), reading)
            case "content_block_stop":
                self._block = None
            case "message_start":
                self._begun = True
                self._count(seen.message.usage if seen.message else None, reading)
                if self._model is not None:
                    return _renamed(data, self._model, reading)
            case "message_delta":
                self._count(seen.usage, reading)
                if seen.delta is not None and seen.delta.stop_reason is not None:
                    self._finish = seen.delta.stop_reason
                    reading.finish = STOP_REASONS.get(self._finish, "stop")
            case "message_stop":
                if self._finish is None:
                    reading.fault = truncated(SOURCE)
                    return b""
                reading.done = True
            case "error":
                reading.fault = classify_event(SOURCE, data)
                return b""
            case _:
                pass  # Pings, and events to come.
        return event

    def _count(self, usage: AUsage | None, reading: Reading) -> None:
        if usage is not None:
            self._usage = merge_usage(self._usage, usage)
            reading.usage = usage_of(self._usage)
            reading.service = usage.service_tier

    def at_end(self, tail: bytes, reading: Reading) -> bytes:
        """See `SseRelay.at_end`. A last event may lack its blank line."""
        event = tail.strip(b"\n")
        out = self.look(event, reading) if event else b""
        if reading.fault is None and not reading.done:
            reading.fault = truncated(SOURCE)
        return out + b"\n\n" if out and reading.fault is None else b""

    def ending(self, reason: FinishReason) -> bytes:
        """See `SseRelay.ending`."""
        out: list[bytes] = []
        usage = usage_of(self._usage)
        if not self._begun:
            message: dict[str, Any] = {
                "id": "msg_cut",
                "type": "message",
                "role": "assistant",
                "model": self._model or "",
                "content": [],
                **stop_json(None),
                "usage": usage_json(usage),
            }
            out.append(frame("message_start", {"message": message}))
        if self._block is not None:
            out.append(frame("content_block_stop", {"index": self._block}))
        ends = {"delta": stop_json(Finish(reason)), "usage": usage_json(usage)}
        out += [frame("message_delta", ends), frame("message_stop", {})]
        return b"".join(out)


def _start(block: _Block, reading: Reading) -> None:
    reading.output_chars += len(block.text) + len(block.thinking) + len(block.name)
    if block.text or block.thinking or block.type not in {"text", "thinking"}:
        reading.content = True


def _renamed(data: bytes, model: str, reading: Reading) -> bytes:
    """message_start, with the name the client asked for."""
    try:
        start = _fields.decode(data)
        message = _fields.decode(start["message"]) if "message" in start else {}
    except JSON_ERRORS:
        reading.fault = malformed(SOURCE, "message_start is not the JSON it should be")
        return b""
    message["model"] = Raw(msgspec.json.encode(model))
    start["message"] = Raw(msgspec.json.encode(message))
    return b"event: message_start\ndata: " + msgspec.json.encode(start)


def relay_response(
    status: int, headers: Headers, body: bytes, model: str | None
) -> Reading:
    """A unary answer: looked at once, renamed where asked."""
    if status >= 300:
        return Reading(fault=classify(SOURCE, status, headers, body), done=True)
    try:
        seen = _whole.decode(body)
        if model is not None:
            fields = _fields.decode(body)
            fields["model"] = Raw(msgspec.json.encode(model))
            body = msgspec.json.encode(fields)
    except JSON_ERRORS:
        fault = malformed(SOURCE, "the answer is not the JSON it should be")
        return Reading(fault=fault, done=True)
    if seen.type == "error":
        return Reading(fault=classify_event(SOURCE, body), done=True)
    reading = Reading(out=body, done=True, events=1)
    for block in seen.content:
        _start(block, reading)
    if seen.usage is not None:
        reading.usage = usage_of(seen.usage)
        reading.service = seen.usage.service_tier
    if seen.stop_reason is not None:
        reading.finish = STOP_REASONS.get(seen.stop_reason, "stop")
    return reading


def forward_request(
    body: bytes, headers: Headers, head: Head, target: Target
) -> UpstreamRequest:
    """Edit model and output bound; everything else keeps its bytes and its order.

    Unless an earlier turn came from another provider: its state, which our encoder put
    into ids and signatures, is nothing Anthropic would take. Then it is rebuilt.
    """
    if any(sign in body for sign in _FOREIGN):
        return build_request(parse_request(body, headers), target)
    fields = _fields.decode(body)  # `head` was read from it: it is an object.
    fields["model"] = Raw(msgspec.json.encode(target.model))
    most = target.max_output_tokens
    if most is not None and (head.max_output_tokens or most + 1) > most:
        fields["max_tokens"] = Raw(msgspec.json.encode(most))
        _shrink_budget(fields, most)
    version = headers.get("anthropic-version") or target.options.get(
        "api_version", VERSION_SAMPLING
    )
    beta = headers.get("anthropic-beta")
    return upstream(target, dict(fields), version=version, beta=beta)


def _shrink_budget(fields: dict[str, Raw], max_tokens: int) -> None:
    """A thinking budget must stay below max_tokens, also when we lowered that."""
    thinking = decode_optional(fields.get("thinking", Raw(b"")), InThinking, "thinking")
    if thinking is None or (thinking.budget_tokens or 0) < max_tokens:
        return
    budget = models.budget_tokens(None, thinking.budget_tokens, max_tokens)
    smaller: dict[str, Any] = {"type": "disabled"}
    if budget:
        smaller = {"type": "enabled", "budget_tokens": budget}
    fields["thinking"] = Raw(msgspec.json.encode(smaller))
