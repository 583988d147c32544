"""Anthropic's answers into events: streams, whole messages, counts.

Owns: the grammar message_start, (content_block_start, delta*, stop)*, message_delta,
message_stop, and Anthropic's usage, where later counts override earlier ones. Pings,
padding and unknown events never disturb it. Never raises on bytes from outside.

`MessageEvents` takes one JSON event at a time, so that Bedrock's chunks, which hold the
same events, are read by the same code; `AnthropicDecoder` puts SSE around it.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from wire.anthropic_schema import (
    SOURCE,
    STOP_REASONS,
    AMessage,
    AUsage,
    Block,
    Delta,
    StreamEvent,
)
from wire.counting import TokenCount
from wire.dialect import Headers, finish_reason, malformed, truncated
from wire.errors import classify, classify_event
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    Opaque,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    ServerTool,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.jsontext import JSON_ERRORS, mended
from wire.sse import SseError, SseSplitter, parse_event, split_events

_event = msgspec.json.Decoder(StreamEvent)
_block = msgspec.json.Decoder(Block)
_message = msgspec.json.Decoder(AMessage)
_fields = msgspec.json.Decoder(dict[str, Raw])


def payload(event: bytes) -> bytes | None:
    """The data of one SSE event, the usual two lines the fast way."""
    at = event.find(b"\ndata: ")
    if at > 0 and event.startswith(b"event: ") and event.find(b"\n", at + 1) < 0:
        return mended(event[at + 7 :])
    frame = parse_event(event)
    return mended(frame.data) if frame is not None else None


def merge_usage(known: AUsage, newer: AUsage) -> AUsage:
    """Later counts are totals so far: they override, except where they say nothing."""
    said = {
        name: value
        for name in AUsage.__struct_fields__
        if (value := getattr(newer, name)) is not None
    }
    return msgspec.structs.replace(known, **said)


def usage_of(raw: AUsage) -> Usage:
    """Anthropic's counts in our meaning: cached input is part of the prompt."""
    read = raw.cache_read_input_tokens or 0
    written = raw.cache_creation_input_tokens or 0
    details, made, tools = (
        raw.output_tokens_details,
        raw.cache_creation,
        raw.server_tool_use,
    )
    return Usage(
        prompt=(raw.input_tokens or 0) + read + written,
        completion=raw.output_tokens or 0,
        cached=read,
        cache_write=written,
        cache_write_1h=0 if made is None else made.ephemeral_1h_input_tokens or 0,
        reasoning=0 if details is None else details.thinking_tokens or 0,
        searches=0 if tools is None else tools.web_search_requests or 0,
    )


class _Open(Struct):
    """A content block that has begun."""

    kind: str
    raw: bytes = b""
    tool: int = -1  # Place among the client's tool calls.
    pieces: list[str] = []  # JSON input, or a compaction's text.
    signature: str = ""
    start: int = 0  # Characters of text before this block.
    citations: list[Raw] = []


class MessageEvents:
    """Anthropic's events, one JSON object at a time, into ours."""

    def __init__(self) -> None:
        self.done = False
        self._started = False
        self._open: dict[int, _Open] = {}
        self._tools = 0
        self._usage = AUsage()
        self._chars = 0
        self._finished = False

    def __repr__(self) -> str:
        state = "done" if self.done else "open"
        return f"<MessageEvents {state} blocks={len(self._open)} tools={self._tools}>"

    def push(self, data: bytes) -> list[Event]:
        """Take one event. After the grammar's end nothing comes out."""
        if self.done:
            return []
        try:
            return self._take(_event.decode(data), data)
        except JSON_ERRORS:
            self.done = True
            return [malformed(SOURCE, "an event is not the JSON it should be")]

    def _take(self, event: StreamEvent, data: bytes) -> list[Event]:
        if not self._started and event.type.startswith(("content_", "message_")):
            if event.type != "message_start":
                self.done = True
                return [malformed(SOURCE, "the answer has no message_start")]
        elif self._finished and event.type.startswith("content_"):
            return []  # The answer has ended; what is left is for the grammar.
        match event.type:
            case "content_block_delta":
                block = self._open.get(event.index)
                if block is None or event.delta is None:
                    self.done = True
                    return [malformed(SOURCE, "a delta belongs to no block")]
                return self._delta(event.index, block, event.delta)
            case "content_block_start":
                return self.block_start(event.index, event.content_block)
            case "content_block_stop":
                return self.block_stop(event.index)
            case "message_start":
                return self.message_start(event.message or AMessage())
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                self.done = True
                return [] if self._finished else [truncated(SOURCE)]
            case "ping":
                return []
            case "error":
                self.done = True
                return [classify_event(SOURCE, data)]
            case _:
                return [Opaque(SOURCE, event.type, data)] if self._started else []

    def message_start(self, message: AMessage) -> list[Event]:
        """The answer begins; what usage says now may change later."""
        if self._started:
            return []
        self._started = True
        tier = None if message.usage is None else message.usage.service_tier
        events: list[Event] = [Start(message.id, message.model, service_tier=tier)]
        if message.usage is not None:
            self._usage = merge_usage(self._usage, message.usage)
            events.append(usage_of(self._usage))
        return events

    def block_start(self, index: int, raw: Raw) -> list[Event]:
        """A block begins, perhaps with content in it already."""
        block = _block.decode(raw)
        opened = _Open(block.type, start=self._chars, pieces=[], citations=[])
        self._open[index] = opened
        match block.type:
            case "text":
                opened.citations.extend(block.citations or [])
                return self._text(index, block.text)
            case "thinking":
                opened.signature = block.signature
                thought = block.thinking
                return [ReasoningDelta(thought, block=index)] if thought else []
            case "redacted_thinking":
                state = ProviderState(SOURCE, "redacted", block.data)
                return [ReasoningState(state, block=index)]
            case "tool_use":
                return self._tool_start(opened, block, raw)
            case _:
                opened.raw = bytes(raw)
                return []

    def _text(self, index: int, text: str) -> list[Event]:
        self._chars += len(text)
        return [TextDelta(text, block=index)] if text else []

    def _tool_start(self, opened: _Open, block: Block, raw: Raw) -> list[Event]:
        opened.tool = self._tools
        self._tools += 1
        caller = _fields.decode(raw).get("caller")
        state = None
        if caller is not None and b'"direct"' not in bytes(caller):
            state = ProviderState(SOURCE, "caller", bytes(caller).decode())
        opened.raw = bytes(block.input)  # For models that send it all at once.
        return [ToolCallStart(opened.tool, block.id, block.name, state=state)]

    def _delta(self, index: int, block: _Open, delta: Delta) -> list[Event]:
        match delta.type:
            case "text_delta":
                return self._text(index, delta.text)
            case "input_json_delta":
                block.pieces.append(delta.partial_json)
                if block.tool < 0 or not delta.partial_json:
                    return []
                return [ToolArgsDelta(block.tool, delta.partial_json)]
            case "thinking_delta":
                thought = delta.thinking
                return [ReasoningDelta(thought, block=index)] if thought else []
            case "signature_delta":
                block.signature += delta.signature
            case "citations_delta":
                block.citations.append(delta.citation)
            case "compaction_delta":
                block.pieces.append(delta.content or "")
            case _:
                pass  # A kind of delta to come: its block is still told as a whole.
        return []

    def block_stop(self, index: int) -> list[Event]:
        """A block is complete: say what only the whole of it can tell."""
        block = self._open.pop(index, None)
        if block is None:
            return []
        match block.kind:
            case "text":
                return [self._citation(index, block, raw) for raw in block.citations]
            case "thinking":
                if not block.signature:
                    return []
                state = ProviderState(SOURCE, "signature", block.signature)
                return [ReasoningState(state, block=index)]
            case "redacted_thinking":
                return []
            case "tool_use":
                return self._tool_stop(block)
            case _:
                return [_server_tool(index, block)]

    def _tool_stop(self, block: _Open) -> list[Event]:
        end = ToolCallEnd(block.tool)
        if any(block.pieces):
            return [end]
        return [ToolArgsDelta(block.tool, block.raw.decode() or "{}"), end]

    def _citation(self, index: int, block: _Open, raw: Raw) -> Citation:
        """A citation covers its whole block, wherever in it it came."""
        said: dict[str, Any] = msgspec.json.decode(raw)
        return Citation(
            url=_text_of(said, "url", "source"),
            title=_text_of(said, "title", "document_title"),
            text=_text_of(said, "cited_text"),
            start=block.start,
            end=self._chars,
            block=index,
            source=SOURCE,
            data=bytes(raw),
        )

    def _message_delta(self, event: StreamEvent) -> list[Event]:
        events: list[Event] = []
        delta = event.delta or Delta()
        for name, raw in (
            ("container", delta.container),
            ("context_management", event.context_management),
        ):
            events.extend(_extra(name, raw))
        if event.usage is not None:
            self._usage = merge_usage(self._usage, event.usage)
            events.append(usage_of(self._usage))
        if delta.stop_reason is not None and not self._finished:
            self._finished = True
            events.append(
                self._finish(delta.stop_reason, delta.stop_sequence, delta.stop_details)
            )
        return events

    def _finish(self, raw: str, stop_sequence: str | None, details: Raw) -> Finish:
        said = bytes(details)
        finish = Finish(
            STOP_REASONS.get(raw, "stop"),
            raw,
            stop_sequence=stop_sequence,
            details=b"" if said == b"null" else said,
        )
        reason = finish_reason(finish, self._tools)
        return msgspec.structs.replace(finish, reason=reason)

    def whole(self, message: AMessage) -> list[Event]:
        """A unary message, as the events its stream would have had."""
        events = self.message_start(message)
        for index, raw in enumerate(message.content):
            events += self.block_start(index, raw)
            events += self.block_stop(index)
        events += _extra("container", message.container)
        events += _extra("context_management", message.context_management)
        if message.stop_reason is None:
            events.append(truncated(SOURCE))
        else:
            events.append(
                self._finish(
                    message.stop_reason, message.stop_sequence, message.stop_details
                )
            )
        self.done = True
        return events


def _extra(name: str, raw: Raw) -> list[Event]:
    said = bytes(raw)
    return [] if said in {b"", b"null"} else [Opaque(SOURCE, name, said)]


def _text_of(said: dict[str, Any], *names: str) -> str:
    for name in names:
        value = said.get(name)
        if isinstance(value, str):
            return value
    return ""


def _server_tool(index: int, block: _Open) -> ServerTool:
    """A step the provider took, its streamed input put back where it belongs."""
    fields = _fields.decode(block.raw)
    if block.pieces:
        whole = "".join(block.pieces)
        if block.kind == "compaction":
            fields["content"] = Raw(msgspec.json.encode(whole))
        elif whole:
            fields["input"] = Raw(whole.encode())
    head: dict[str, Any] = {
        name: msgspec.json.decode(fields[name])
        for name in ("name", "id", "tool_use_id")
        if name in fields
    }
    return ServerTool(
        source=SOURCE,
        name=_text_of(head, "name") or block.kind,
        data=msgspec.json.encode(fields),
        id=_text_of(head, "id", "tool_use_id"),
        block=index,
    )


class AnthropicDecoder:
    """The SSE stream of /v1/messages into events."""

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._events = MessageEvents()

    def __repr__(self) -> str:
        return f"<AnthropicDecoder {self._events!r} {self._splitter!r}>"

    @property
    def done(self) -> bool:
        """See `StreamDecoder.done`."""
        return self._events.done

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        if self._events.done:
            return []
        try:
            run = self._splitter.feed(data)
        except SseError as error:
            self._events.done = True
            return [malformed(SOURCE, str(error))]
        events: list[Event] = []
        for event in split_events(run) if run else ():
            data_of = payload(event) if event else None
            if data_of:
                events += self._events.push(data_of)
        return events

    def finish(self) -> list[Event]:
        """See `StreamDecoder.finish`. A last event may lack its blank line."""
        if self._events.done:
            return []
        events = self.feed(b"\n\n")
        if not self._events.done:
            self._events.done = True
            events.append(truncated(SOURCE))
        return events


def parse_response(status: int, headers: Headers, body: bytes) -> list[Event]:
    """A unary answer as events; `[Fault]` for an error or an unreadable body."""
    if status >= 300:
        return [classify(SOURCE, status, headers, body)]
    try:
        fields = _fields.decode(body)
        if fields.get("type") is not None and bytes(fields["type"]) == b'"error"':
            return [classify_event(SOURCE, body)]
        return MessageEvents().whole(_message.decode(body))
    except JSON_ERRORS:
        return [malformed(SOURCE, "the answer is not the JSON it should be")]


class _Counted(Struct):
    input_tokens: int


def read_count(status: int, headers: Headers, body: bytes) -> TokenCount | Fault:
    """The answer of count_tokens."""
    if status >= 300:
        return classify(SOURCE, status, headers, body)
    try:
        counted = msgspec.json.decode(body, type=_Counted)
    except JSON_ERRORS:
        return malformed(SOURCE, "the count is not the JSON it should be")
    return TokenCount(counted.input_tokens)
