"""Events into what an Anthropic client reads: streams, messages, counts.

Owns: the exact grammar the official SDKs accept, one open block at a time. Tool calls
of other providers may interleave, Anthropic's may not: events that belong to another
block wait until the open call ends. `message_delta` waits for the very end, because
other providers tell their usage last.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from wire.anthropic_carry import carry
from wire.anthropic_schema import SOURCE, STOP_REASONS, STOP_WORDS
from wire.completion import AnswerPart, Choice, Completion
from wire.counting import TokenCount
from wire.dialect import Reply
from wire.events import (
    Citation,
    Event,
    Fault,
    Finish,
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
from wire.jsontext import JSON_ERRORS, encode
from wire.request import Reasoning, Refusal, Text, ToolUse
from wire.toolids import pack

JSON = dict[str, Any]
Key = tuple[str, int]  # What kind of block is open, and which one of that kind.

HEARTBEAT: Final = b'event: ping\ndata: {"type": "ping"}\n\n'

_TOOL: Final = "tool_use"


def frame(name: str, data: JSON) -> bytes:
    """One event: Anthropic's clients need its name."""
    body = encode({"type": name, **data})
    if b"\n" in body:  # Raw JSON of a provider that prints it prettily.
        body = msgspec.json.format(body, indent=-1)
    return b"event: " + name.encode() + b"\ndata: " + body + b"\n\n"


def usage_json(usage: Usage | None) -> JSON:
    """Usage in Anthropic's counting, where cached input stands apart."""
    usage = usage or Usage()
    out: JSON = {
        "input_tokens": max(usage.prompt - usage.cached - usage.cache_write, 0),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
    }
    if usage.cache_write:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.reasoning:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.searches:
        out["server_tool_use"] = {"web_search_requests": usage.searches}
    return out


def stop_json(finish: Finish | None) -> JSON:
    """`stop_reason` and what goes with it, in Anthropic's words."""
    if finish is None:
        return {"stop_reason": None, "stop_sequence": None}
    word = STOP_WORDS[finish.reason]
    if STOP_REASONS.get(finish.raw) == finish.reason:
        word = finish.raw
    if finish.stop_sequence is not None:
        word = "stop_sequence"
    out: JSON = {"stop_reason": word, "stop_sequence": finish.stop_sequence}
    if word == "refusal" and finish.raw == "refusal" and finish.details:
        out["stop_details"] = Raw(finish.details)
    return out


def call_id(call_id_: str, state: ProviderState | None, reply: Reply, at: int) -> str:
    """The id of a tool call, with the state other providers want back packed in."""
    own = call_id_ or f"toolu_{reply.id}_{at}"
    return own if state is None or state.source == SOURCE else pack(own, state)


def citation_json(citation: Citation) -> JSON | Raw | None:
    """A citation as Anthropic has it; the nearest kind for other providers' links."""
    if citation.source == SOURCE and citation.data:
        return Raw(citation.data)
    if not citation.url:
        return None
    return {
        "type": "web_search_result_location",
        "cited_text": citation.text,
        "encrypted_index": "",
        "title": citation.title or None,
        "url": citation.url,
    }


def media_text(media: Media) -> str:
    """Anthropic answers without sound or pictures: say the words, inline the image."""
    if media.transcript or not media.media_type.startswith("image/"):
        return media.transcript
    return f"![image](data:{media.media_type};base64,{media.data})"


class AnthropicEncoder:
    """One stream for an Anthropic client. There is only one choice in it."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._begun = False
        self._finished = False
        self._key: Key | None = None
        self._index = -1
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._extras: dict[str, Raw] = {}
        # Bounded by the answer itself: tokens of a call that is not its turn yet.
        self._waiting: deque[Event] = deque()

    def __repr__(self) -> str:
        state = "finished" if self._finished else f"block={self._index} {self._key}"
        return f"<AnthropicEncoder {state} waiting={len(self._waiting)}>"

    def encode(self, events: Sequence[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        out: list[bytes] = []
        for event in events:
            self._take(event, out)
        return b"".join(out)

    def finish(self) -> bytes:
        """See `StreamEncoder.finish`."""
        if self._finished:
            return b""
        out: list[bytes] = []
        while self._waiting or self._key is not None:
            self._close(out)  # A call that never ended ends here.
            self._drain(out)
        self._begin(Start(), out)
        self._finished = True
        if self._finish is None:
            self._finish = Finish("stop")
        extras = dict(self._extras)
        management = extras.pop("context_management", None)
        last: JSON = {
            "delta": {**stop_json(self._finish), **extras},
            "usage": usage_json(self._usage),
        }
        if management is not None:
            last["context_management"] = management
        out += [frame("message_delta", last), frame("message_stop", {})]
        return b"".join(out)

    def _take(self, event: Event, out: list[bytes]) -> None:
        if not isinstance(event, (Start, Usage, Fault)) and event.choice != 0:
            return
        match event:
            case Start():
                self._begin(event, out)
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
            case Opaque():
                if event.source == SOURCE:
                    self._extras[event.name] = Raw(event.data)
            case Fault():
                pass  # The caller ends the stream with `error_event`.
            case _ if self._must_wait(event):
                self._waiting.append(event)
            case _:
                self._begin(Start(), out)
                self._content(event, out)
                if isinstance(event, ToolCallEnd):
                    self._drain(out)

    def _must_wait(self, event: Event) -> bool:
        """An open call lets nothing in between but its own arguments and end."""
        if self._key is None or self._key[0] != _TOOL:
            return False
        if isinstance(event, (ToolArgsDelta, ToolCallEnd)):
            return event.index != self._key[1]
        return True

    def _drain(self, out: list[bytes]) -> None:
        waiting, self._waiting = self._waiting, deque()
        for event in waiting:
            self._take(event, out)

    def _begin(self, start: Start, out: list[bytes]) -> None:
        if self._begun:
            return
        self._begun = True
        message: JSON = {
            "id": f"msg_{self._reply.id}",
            "type": "message",
            "role": "assistant",
            "model": self._reply.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage_json(self._usage), "output_tokens": 0},
        }
        if start.service_tier in {"standard", "priority", "batch"}:
            message["usage"]["service_tier"] = start.service_tier
        out.append(frame("message_start", {"message": message}))

    def _content(self, event: Event, out: list[bytes]) -> None:
        match event:
            case TextDelta() | RefusalDelta():
                self._text(("text", event.block), event.text, out)
            case Media():
                self._text(("media", event.block), media_text(event), out)
            case ReasoningDelta():
                if event.text:
                    block = {"type": "thinking", "thinking": "", "signature": ""}
                    self._open(("thinking", event.block), block, out)
                    self._delta("thinking_delta", {"thinking": event.text}, out)
            case ReasoningState():
                self._reasoning_state(event, out)
            case ToolCallStart():
                name = call_id(event.id, event.state, self._reply, event.index)
                call: JSON = {"type": _TOOL, "id": name, "name": event.name}
                call["input"] = {}
                if event.state is not None and event.state.source == SOURCE:
                    call[event.state.kind] = Raw(event.state.data.encode())
                self._open((_TOOL, event.index), call, out)
            case ToolArgsDelta():
                if event.text:
                    piece = {"partial_json": event.text}
                    self._delta("input_json_delta", piece, out)
            case ToolCallEnd():
                self._close(out)
            case ServerTool():
                if event.source == SOURCE:
                    self._server_tool(event.data, out)
            case Citation():
                said = citation_json(event)
                if said is not None and self._key == ("text", event.block):
                    self._delta("citations_delta", {"citation": said}, out)
            case _:
                pass  # Logprobs: Anthropic has none.

    def _text(self, key: Key, text: str, out: list[bytes]) -> None:
        if text:
            self._open(key, {"type": "text", "text": ""}, out)
            self._delta("text_delta", {"text": text}, out)

    def _reasoning_state(self, event: ReasoningState, out: list[bytes]) -> None:
        state = event.state
        if self._key != ("thinking", event.block):
            if state.source != SOURCE or state.kind == "redacted":
                block = {"type": "redacted_thinking", "data": carry(state)}
                self._open(("redacted", event.block), block, out)
                self._close(out)
                return
            block = {"type": "thinking", "thinking": "", "signature": ""}
            self._open(("thinking", event.block), block, out)
        self._delta("signature_delta", {"signature": carry(state)}, out)
        self._close(out)

    def _server_tool(self, data: bytes, out: list[bytes]) -> None:
        """A block of Anthropic's own, streamed as Anthropic streams it."""
        try:
            block: JSON = msgspec.json.decode(data, type=dict[str, Raw])
        except JSON_ERRORS:
            return
        whole = block.get("input")
        if whole is not None:
            block["input"] = {}
        self._open(("server", self._index + 1), block, out)
        if whole is not None:
            piece = {"partial_json": bytes(whole).decode()}
            self._delta("input_json_delta", piece, out)
        self._close(out)

    def _open(self, key: Key, block: JSON, out: list[bytes]) -> None:
        if self._key == key:
            return
        self._close(out)
        self._key = key
        self._index += 1
        start: JSON = {"index": self._index, "content_block": block}
        out.append(frame("content_block_start", start))

    def _delta(self, kind: str, piece: JSON, out: list[bytes]) -> None:
        delta = {"type": kind, **piece}
        data: JSON = {"index": self._index, "delta": delta}
        out.append(frame("content_block_delta", data))

    def _close(self, out: list[bytes]) -> None:
        if self._key is not None:
            self._key = None
            out.append(frame("content_block_stop", {"index": self._index}))


def render_response(completion: Completion, reply: Reply) -> bytes:
    """The body of a unary 200."""
    choice = completion.choices[0] if completion.choices else Choice(0, [], [])
    body: JSON = {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": _blocks(choice, reply),
        **stop_json(choice.finish),
        "usage": usage_json(completion.usage),
    }
    for extra in completion.extra:
        if extra.source == SOURCE:
            body[extra.name] = Raw(extra.data)
    return encode(body)


def _blocks(choice: Choice, reply: Reply) -> list[Any]:
    blocks: list[Any] = []
    at = 0  # Characters of text so far: citations say where they belong by them.
    for position, part in enumerate(choice.parts):
        block = _block(part, reply, position)
        if block is None:
            continue
        blocks.append(block)
        if isinstance(part, Text):
            end = at + len(part.text)
            said = [
                citation_json(citation)
                for citation in choice.citations
                if citation.start is not None and at <= citation.start < end
            ]
            if any(said):
                block["citations"] = [one for one in said if one is not None]
            at = end
    return blocks


def _block(part: AnswerPart, reply: Reply, position: int) -> Any:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text}
        case Reasoning():
            return _reasoning(part)
        case ToolUse():
            block: JSON = {
                "type": _TOOL,
                "id": call_id(part.id, part.state, reply, position),
                "name": part.name,
                "input": _object(part.arguments),
            }
            if part.state is not None and part.state.source == SOURCE:
                block[part.state.kind] = Raw(part.state.data.encode())
            return block
        case ServerTool():
            return Raw(part.data) if part.source == SOURCE else None
        case Media():
            text = media_text(part)
            return {"type": "text", "text": text} if text else None
        case _:
            return None


def _reasoning(part: Reasoning) -> JSON | None:
    state = part.state
    if not part.text:
        if state is None:
            return None
        if state.source != SOURCE or state.kind == "redacted":
            return {"type": "redacted_thinking", "data": carry(state)}
    signature = carry(state) if state is not None else ""
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _object(arguments: str) -> Any:
    """Tool input is an object in a whole message, whatever the model wrote."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except JSON_ERRORS:
        return {"invalid_json": arguments}
    return value if isinstance(value, dict) else {"value": value}


def render_count(count: TokenCount) -> bytes:
    """The body of a count's 200."""
    return encode({"input_tokens": count.tokens})
