"""Amazon Bedrock's Converse answers into events: those of a stream, or one object.

Order of a stream: messageStart, then per block contentBlockStart (tools and pictures
only; never text), contentBlockDelta…, contentBlockStop, then messageStop, and metadata
with the usage *last*. An exception frame ends it at any point. Every payload is padded
with `p`, which says nothing.

Owns: the grammar. Never: HTTP, requests. Never raises on bytes from outside.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from wire.dialect import malformed
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
    FinishReason,
    Media,
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
from wire.jsontext import count, mapping, text

SOURCE: Final = "bedrock"
CLAUDE_SOURCE: Final = "anthropic"

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


def is_claude(model: str) -> bool:
    """Whether it is one of Anthropic's, by its id ("eu.anthropic.claude-…")."""
    return "claude" in model


def state_source(model: str) -> str:
    """Whose the model's signatures are: Claude's hold on every cloud."""
    return CLAUDE_SOURCE if is_claude(model) else SOURCE


class _Block(msgspec.Struct):
    """A content block that is still open."""

    kind: str = ""  # "tool", "server", "picture"; "" for text and reasoning.
    tool: int = 0
    id: str = ""
    name: str = ""
    args_seen: bool = False
    texts: list[str] = msgspec.field(default_factory=list[str])
    signature: list[str] = msgspec.field(default_factory=list[str])
    redacted: list[str] = msgspec.field(default_factory=list[str])
    start: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


class ConverseReader:
    """The events of one Converse answer, fed as (event type, payload).

    `over` is set by metadata, or by a fault; `stopped` by messageStop.
    """

    def __init__(self, model: str, custom_tools: frozenset[str] = frozenset()) -> None:
        self._custom_tools = custom_tools
        self.stopped = False
        self.over = False
        self._model = model
        self._state_source = state_source(model)
        self._tools = 0
        self._blocks: dict[int, _Block] = {}
        self._readers: dict[str, Callable[[Mapping[str, Any]], list[Event]]] = {
            "messageStart": self._message_start,
            "contentBlockStart": self._block_start,
            "contentBlockDelta": self._block_delta,
            "contentBlockStop": self._block_stop,
            "messageStop": self._message_stop,
            "metadata": self._metadata,
        }

    def read(self, kind: str, payload: Mapping[str, Any]) -> list[Event]:
        """What one event means; one of an unknown kind passes as `Opaque`."""
        reader = self._readers.get(kind)
        if reader is not None:
            return reader(payload)
        if kind == "initial-response":
            return []
        return [Opaque(SOURCE, kind, _json(payload))]

    def _message_start(self, _payload: Mapping[str, Any]) -> list[Event]:
        return [Start(model=self._model)]

    def _block_start(self, payload: Mapping[str, Any]) -> list[Event]:
        at = count(payload.get("contentBlockIndex"))
        start = mapping(payload.get("start"))
        use = mapping(start.get("toolUse"))
        if use and text(use.get("type")) != "server_tool_use":
            block = _Block(
                "tool", self._tools, text(use.get("toolUseId")), text(use.get("name"))
            )
            self._tools += 1
            self._blocks[at] = block
            return [ToolCallStart(block.tool, block.id, block.name)]
        if use or "toolResult" in start:
            part = use or mapping(start.get("toolResult"))
            name = text(part.get("name")) or text(part.get("type"))
            self._blocks[at] = _Block(
                "server", id=text(part.get("toolUseId")), name=name, start=start
            )
            return []
        if "image" in start:
            form = text(mapping(start["image"]).get("format"))
            self._blocks[at] = _Block("picture", name=form)
            return []
        return [Opaque(SOURCE, "contentBlockStart", _json(payload))]

    def _block_delta(self, payload: Mapping[str, Any]) -> list[Event]:
        at = count(payload.get("contentBlockIndex"))
        delta = mapping(payload.get("delta"))
        said = delta.get("text")
        if isinstance(said, str):
            return [TextDelta(said, block=at)]
        block = self._blocks.get(at)
        if block is None:
            block = self._blocks[at] = _Block()
        if "reasoningContent" in delta:
            return self._reasoning(at, block, mapping(delta["reasoningContent"]))
        if "toolUse" in delta:
            piece = text(mapping(delta["toolUse"]).get("input"))
            if not piece:
                return []  # Claude's first piece is always empty.
            if block.kind == "tool":
                block.args_seen = True
                return [ToolArgsDelta(block.tool, piece)]
            block.texts.append(piece)
            return []
        if "citation" in delta:
            return [citation(mapping(delta["citation"]), at)]
        if "image" in delta:
            source = mapping(mapping(delta["image"]).get("source"))
            block.texts.append(text(source.get("bytes")))
            return []
        if block.kind == "server" and "toolResult" in delta:
            block.texts.append(_json(delta["toolResult"]).decode())
            return []
        return [Opaque(SOURCE, "contentBlockDelta", _json(payload))]

    def _reasoning(
        self, at: int, block: _Block, piece: Mapping[str, Any]
    ) -> list[Event]:
        if "redactedContent" in piece:
            block.redacted.append(text(piece["redactedContent"]))
        if "signature" in piece:
            block.signature.append(text(piece["signature"]))
        said = text(piece.get("text"))
        return [ReasoningDelta(said, block=at)] if said else []

    def _block_stop(self, payload: Mapping[str, Any]) -> list[Event]:
        at = count(payload.get("contentBlockIndex"))
        block = self._blocks.pop(at, None)
        return [] if block is None else self._close(at, block)

    def _close(self, at: int, block: _Block) -> list[Event]:
        match block.kind:
            case "tool":
                end: list[Event] = [ToolCallEnd(block.tool)]
                return (
                    end if block.args_seen else [ToolArgsDelta(block.tool, "{}"), *end]
                )
            case "server":
                data = _json({**block.start, "deltas": block.texts})
                return [ServerTool(SOURCE, block.name, data, id=block.id, block=at)]
            case "picture":
                return [Media(f"image/{block.name}", "".join(block.texts), block=at)]
            case _:
                return self._states(at, "".join(block.signature), block.redacted)

    def _states(self, at: int, signature: str, redacted: list[str]) -> list[Event]:
        found: list[Event] = []
        if signature:
            state = ProviderState(self._state_source, "signature", signature)
            found.append(ReasoningState(state, block=at))
        if redacted:
            data = self._redacted(redacted)
            state = ProviderState(self._state_source, "redacted", data)
            found.append(ReasoningState(state, block=at))
        return found

    def _redacted(self, pieces: list[str]) -> str:
        """Blobs as one; Anthropic's own `data` is the text inside the blob."""
        try:
            blob = b"".join(map(base64.b64decode, pieces))
            if self._state_source == CLAUDE_SOURCE:
                return blob.decode("ascii")
            return base64.b64encode(blob).decode()
        except (binascii.Error, UnicodeDecodeError):
            return "".join(pieces)

    def _message_stop(self, payload: Mapping[str, Any]) -> list[Event]:
        self.stopped = True
        # A model that stops mid-block sends no contentBlockStop.
        closed = [e for at in sorted(self._blocks) for e in self._close_at(at)]
        extra = mapping(payload.get("additionalModelResponseFields"))
        ended = end(text(payload.get("stopReason")), extra)
        self.over = isinstance(ended, Fault)
        return [*closed, ended]

    def _close_at(self, at: int) -> list[Event]:
        return self._close(at, self._blocks.pop(at))

    def _metadata(self, payload: Mapping[str, Any]) -> list[Event]:
        self.over = self.stopped
        return metadata(payload)

    def whole(self, answer: Mapping[str, Any]) -> list[Event]:
        """A unary answer."""
        message = mapping(mapping(answer.get("output")).get("message"))
        blocks = message.get("content")
        if not isinstance(blocks, list) or not text(answer.get("stopReason")):
            return [malformed(SOURCE, "an answer without content or stop reason")]
        events: list[Event] = [Start(model=self._model)]
        for at, block in enumerate(blocks):
            events.extend(self._whole_block(at, mapping(block)))
        extra = mapping(answer.get("additionalModelResponseFields"))
        usage = metadata(answer)
        return [*events, *usage, end(text(answer.get("stopReason")), extra)]

    def _whole_block(self, at: int, block: Mapping[str, Any]) -> list[Event]:
        if "text" in block:
            return [TextDelta(text(block["text"]), block=at)]
        if "toolUse" in block:
            return self._whole_tool(at, block)
        if "reasoningContent" in block:
            reasoning = mapping(block["reasoningContent"])
            thought = mapping(reasoning.get("reasoningText"))
            redacted = text(reasoning.get("redactedContent"))
            said = text(thought.get("text"))
            shown: list[Event] = [ReasoningDelta(said, block=at)] if said else []
            return [
                *shown,
                *self._states(
                    at, text(thought.get("signature")), [redacted] if redacted else []
                ),
            ]
        if "citationsContent" in block:
            cited = mapping(block["citationsContent"])
            texts = [
                text(mapping(part).get("text")) for part in _list(cited, "content")
            ]
            return [
                TextDelta("".join(texts), block=at),
                *(citation(mapping(one), at) for one in _list(cited, "citations")),
            ]
        if "image" in block:
            picture = mapping(block["image"])
            data = text(mapping(picture.get("source")).get("bytes"))
            return [Media(f"image/{text(picture.get('format'))}", data, block=at)]
        if "toolResult" in block:
            result = mapping(block["toolResult"])
            name, id_ = text(result.get("type")), text(result.get("toolUseId"))
            return [ServerTool(SOURCE, name, _json(block), id=id_, block=at)]
        return [Opaque(SOURCE, next(iter(block), "empty"), _json(block))]

    def _whole_tool(self, at: int, block: Mapping[str, Any]) -> list[Event]:
        use = mapping(block["toolUse"])
        id_, name = text(use.get("toolUseId")), text(use.get("name"))
        if text(use.get("type")) == "server_tool_use":
            return [ServerTool(SOURCE, name, _json(block), id=id_, block=at)]
        index = self._tools
        self._tools += 1
        arguments = _json(use.get("input") or {}).decode()
        return [
            ToolCallStart(index, id_, name),
            ToolArgsDelta(index, arguments),
            ToolCallEnd(index),
        ]


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
        found.append(Opaque(SOURCE, "trace", _json(trace)))
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
        for detail in _list(raw, "cacheDetails")
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
    quoted = [text(mapping(part).get("text")) for part in _list(raw, "sourceContent")]
    return Citation(
        url=text(mapping(location.get("web")).get("url")),
        title=text(raw.get("title")),
        text="".join(quoted),
        block=block,
        source=SOURCE,
        data=_json(raw),
    )


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    value = raw.get(name)
    return value if isinstance(value, list) else []


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
