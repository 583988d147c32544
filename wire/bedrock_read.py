"""Amazon Bedrock's Converse answers into events: those of a stream, or one object.

Order of a stream: messageStart, then per block contentBlockStart (tools and pictures
only; never text), contentBlockDelta…, contentBlockStop, then messageStop, and metadata
with the usage *last*. An exception frame ends it at any point. Every payload is padded
with `p`, which says nothing.

Owns: the grammar. Never: HTTP, requests. Never raises on bytes from outside.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from wire.bedrock_terms import (
    SOURCE,
    as_json,
    citation,
    end,
    list_of,
    metadata,
)
from wire.dialect import malformed
from wire.events import (
    Event,
    Fault,
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
)
from wire.jsontext import count, mapping, text

CLAUDE_SOURCE: Final = "anthropic"

BLOCKS_MAX: Final = 1024
"""Blocks open at once. One is usual; more is a runaway that costs us memory."""

HELD_CHARS_MAX: Final = 32 * 1024 * 1024
"""Of parts that are told only when whole: a picture's base64, a server tool's input.
Twice the largest frame; the largest pictures come near half of it."""


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

    def __init__(self, model: str) -> None:
        self.stopped = False
        self.over = False
        self._model = model
        self._started = False
        self._state_source = state_source(model)
        self._tools = 0
        self._held_chars = 0
        self._blocks: dict[int, _Block] = {}
        self._readers: dict[str, Callable[[Mapping[str, Any]], list[Event]]] = {
            "initial-response": self._initial_response,
            "messageStart": self._message_start,
            "contentBlockStart": self._block_start,
            "contentBlockDelta": self._block_delta,
            "contentBlockStop": self._block_stop,
            "messageStop": self._message_stop,
            "metadata": self._metadata,
        }

    def read(self, kind: str, payload: Mapping[str, Any]) -> list[Event]:
        """What one event means; one of an unknown kind passes as `Opaque`.

        Whatever the peer does, `Start` comes first and once, and only usage after the
        stop.
        """
        if self.over or (self.stopped and kind != "metadata"):
            return []
        reader = self._readers.get(kind)
        if reader is None:
            events: list[Event] = [Opaque(SOURCE, kind, as_json(payload))]
        else:
            events = reader(payload)
        if len(self._blocks) > BLOCKS_MAX or self._held_chars > HELD_CHARS_MAX:
            self.over = True
            return [malformed(SOURCE, "more open blocks than an answer can have")]
        if events and isinstance(events[0], (Start, Fault)):
            return events
        return [*self._message_start({}), *events]

    def _message_start(self, _payload: Mapping[str, Any]) -> list[Event]:
        if self._started:
            return []
        self._started = True
        return [Start(model=self._model)]

    def _initial_response(self, _payload: Mapping[str, Any]) -> list[Event]:
        return []  # AWS's framing has it for protocols that need one.

    def _block_start(self, payload: Mapping[str, Any]) -> list[Event]:
        at = count(payload.get("contentBlockIndex"))
        return [*self._block_stop(payload), *self._open(at, payload)]

    def _open(self, at: int, payload: Mapping[str, Any]) -> list[Event]:
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
        return [Opaque(SOURCE, "contentBlockStart", as_json(payload))]

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
            return self._hold(block, piece)
        if "citation" in delta:
            return [citation(mapping(delta["citation"]), at)]
        if "image" in delta:
            source = mapping(mapping(delta["image"]).get("source"))
            return self._hold(block, text(source.get("bytes")))
        if block.kind == "server" and "toolResult" in delta:
            return self._hold(block, as_json(delta["toolResult"]).decode())
        return [Opaque(SOURCE, "contentBlockDelta", as_json(payload))]

    def _hold(self, block: _Block, piece: str) -> list[Event]:
        self._held_chars += len(piece)
        block.texts.append(piece)
        return []

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
                data = as_json({**block.start, "deltas": block.texts})
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
            blob = b"".join(base64.b64decode(one, validate=True) for one in pieces)
            if self._state_source == CLAUDE_SOURCE:
                return blob.decode("ascii")
            return base64.b64encode(blob).decode()
        except ValueError:  # Not ASCII, not base64, not UTF-8: all are one.
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
                text(mapping(part).get("text")) for part in list_of(cited, "content")
            ]
            return [
                TextDelta("".join(texts), block=at),
                *(citation(mapping(one), at) for one in list_of(cited, "citations")),
            ]
        if "image" in block:
            picture = mapping(block["image"])
            data = text(mapping(picture.get("source")).get("bytes"))
            return [Media(f"image/{text(picture.get('format'))}", data, block=at)]
        if "toolResult" in block:
            result = mapping(block["toolResult"])
            name, id_ = text(result.get("type")), text(result.get("toolUseId"))
            return [ServerTool(SOURCE, name, as_json(block), id=id_, block=at)]
        return [Opaque(SOURCE, next(iter(block), "empty"), as_json(block))]

    def _whole_tool(self, at: int, block: Mapping[str, Any]) -> list[Event]:
        use = mapping(block["toolUse"])
        id_, name = text(use.get("toolUseId")), text(use.get("name"))
        if text(use.get("type")) == "server_tool_use":
            return [ServerTool(SOURCE, name, as_json(block), id=id_, block=at)]
        index = self._tools
        self._tools += 1
        arguments = as_json(use.get("input") or {}).decode()
        return [
            ToolCallStart(index, id_, name),
            ToolArgsDelta(index, arguments),
            ToolCallEnd(index),
        ]
