"""OpenAI chat to a client: events into chunks, a completion into an answer.

The grammar that official SDKs take: role chunk, deltas, finish, usage chunk when asked
for, `[DONE]`. What OpenAI has no field for uses the fields that clients have agreed on:
`reasoning_content` (DeepSeek's, read by most), `reasoning_details` and `images`
(OpenRouter's). A provider's state on a tool call rides inside the call's id
(`wire.toolids`), because clients drop fields they do not know.

Sans-io. Chunks are built from prepared bytes: one `encode` of the text is all that a
delta costs.
"""

from collections.abc import Sequence
from typing import Any

from wire.completion import Completion
from wire.dialect import Reply
from wire.events import (
    Citation,
    Event,
    Finish,
    Logprobs,
    Media,
    ProviderState,
    ReasoningDelta,
    ReasoningState,
    RefusalDelta,
    Start,
    TextDelta,
    ToolArgsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from wire.jsontext import decode_any, encode
from wire.request import ChatRequest, Reasoning, Refusal, Text, ToolUse
from wire.toolids import pack
from wire.usage import to_openai

DONE = b"data: [DONE]\n\n"


def answer_id(reply: Reply, start: Start) -> str:
    """OpenAI's kind of id; the provider's own where it already is of that kind."""
    return start.id if start.id.startswith("chatcmpl-") else f"chatcmpl-{reply.id}"


class ChatEncoder:
    """`StreamEncoder` of OpenAI chat."""

    def __init__(self, request: ChatRequest, reply: Reply) -> None:
        self._reply = reply
        self._include_usage = request.include_usage
        self._prefix = b""
        self._after = b""
        self._usage: Usage | None = None
        self._begun: set[int] = set()
        self._bare_calls: set[tuple[int, int]] = set()
        self._custom: set[tuple[int, int]] = set()
        self._thoughts: dict[int, list[str]] = {}  # since the last proof
        self._set_start(Start())

    def __repr__(self) -> str:
        return f"<ChatEncoder {len(self._begun)} choices begun>"

    def _set_start(self, start: Start) -> None:
        head = {
            "id": answer_id(self._reply, start),
            "object": "chat.completion.chunk",
            "created": start.created or self._reply.created,
            "model": self._reply.model,
            "service_tier": start.service_tier,
            "system_fingerprint": start.fingerprint,
        }
        if start.service_tier is None:
            del head["service_tier"]
        self._head = b"data: " + encode(head)[:-1] + b',"choices":['
        usage = b',"usage":null' if self._include_usage else b""
        self._after = b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"

    def encode(self, events: Sequence[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        out: list[bytes] = []
        for event in events:
            if isinstance(event, TextDelta):
                self._delta(event.choice, b'{"content":' + encode(event.text), out)
            else:
                self._other(event, out)
        return b"".join(out)

    def finish(self) -> bytes:
        """See `StreamEncoder.finish`."""
        out: list[bytes] = []
        if not self._begun:
            self._begin(0, out)
        if self._include_usage:
            usage = encode(to_openai(self._usage or Usage()))
            out.append(self._head + b'],"usage":' + usage + b"}\n\n")
        out.append(DONE)
        return b"".join(out)

    def _begin(self, choice: int, out: list[bytes]) -> None:
        self._begun.add(choice)
        role = b'{"role":"assistant","content":"","refusal":null'
        self._write(choice, role, out)

    def _delta(self, choice: int, delta: bytes, out: list[bytes]) -> None:
        """Write a delta given without its closing brace."""
        if choice not in self._begun:
            self._begin(choice, out)
        self._write(choice, delta, out)

    def _write(self, choice: int, delta: bytes, out: list[bytes]) -> None:
        out.append(
            b'%b{"index":%d,"delta":%b}%b' % (self._head, choice, delta, self._after)
        )

    def _other(self, event: Event, out: list[bytes]) -> None:
        match event:
            case Start():
                self._set_start(event)
                if not self._begun:
                    self._begin(0, out)
            case ReasoningDelta():
                self._thoughts.setdefault(event.choice, []).append(event.text)
                delta = b'{"reasoning_content":' + encode(event.text)
                self._delta(event.choice, delta, out)
            case ReasoningState():
                told = "".join(self._thoughts.pop(event.choice, ()))
                details = encode(reasoning_details(event.state, told))
                self._delta(event.choice, b'{"reasoning_details":' + details, out)
            case RefusalDelta():
                delta = b'{"refusal":' + encode(event.text)
                self._delta(event.choice, delta, out)
            case ToolCallStart():
                self._tool_start(event, out)
            case ToolArgsDelta():
                self._bare_calls.discard((event.choice, event.index))
                self._tool_args(event.choice, event.index, event.text, out)
            case ToolCallEnd():
                if (event.choice, event.index) in self._bare_calls:
                    self._bare_calls.discard((event.choice, event.index))
                    self._tool_args(event.choice, event.index, "{}", out)
            case Citation():
                annotations = encode([annotation(event)])
                self._delta(event.choice, b'{"annotations":' + annotations, out)
            case Media():
                self._delta(event.choice, encode(media_field(event))[:-1], out)
            case Logprobs():
                self._logprobs(event, out)
            case Usage():
                self._usage = event
            case Finish():
                self._finish(event, out)
            case _:  # ServerTool and Opaque have no words here; a Fault is not ours.
                pass

    def _tool_start(self, event: ToolCallStart, out: list[bytes]) -> None:
        key = (event.choice, event.index)
        call: dict[str, Any] = {
            "index": event.index,
            "id": pack(event.id, event.state),
            "type": "custom" if event.custom else "function",
        }
        if event.custom:
            self._custom.add(key)
            call["custom"] = {"name": event.name, "input": ""}
        else:
            self._bare_calls.add(key)
            call["function"] = {"name": event.name, "arguments": ""}
        self._delta(event.choice, b'{"tool_calls":' + encode([call]), out)

    def _tool_args(self, choice: int, index: int, piece: str, out: list[bytes]) -> None:
        field = (
            b'"custom":{"input":'
            if (choice, index) in self._custom
            else b'"function":{"arguments":'
        )
        delta = b'{"tool_calls":[{"index":%d,%b%b}}]' % (index, field, encode(piece))
        self._delta(choice, delta, out)

    def _logprobs(self, event: Logprobs, out: list[bytes]) -> None:
        if event.choice not in self._begun:
            self._begin(event.choice, out)
        after = self._after.replace(b'"logprobs":null', b'"logprobs":' + event.data, 1)
        out.append(b'%b{"index":%d,"delta":{}%b' % (self._head, event.choice, after))

    def _finish(self, event: Finish, out: list[bytes]) -> None:
        if event.choice not in self._begun:
            self._begin(event.choice, out)
        reason = b'"finish_reason":"' + event.reason.encode() + b'"'
        after = self._after.replace(b'"finish_reason":null', reason, 1)
        out.append(b'%b{"index":%d,"delta":{}%b' % (self._head, event.choice, after))


def reasoning_details(state: ProviderState, told: str) -> list[Any]:
    """What proves or hides thoughts, in OpenRouter's field: some clients keep it."""
    if state.source == "openrouter":
        details = decode_any(state.data.encode())
        return details if isinstance(details, list) else []
    hidden = state.kind in {"redacted", "encrypted"}
    detail: dict[str, Any] = {
        "type": "reasoning.encrypted" if hidden else "reasoning.text",
        "data" if hidden else "signature": state.data,
        "id": state.id or None,
        "format": f"{state.source}:{state.kind}",
        "index": 0,
    }
    if told:
        # A signature proves these very words: they travel together.
        detail["text"] = told
    return [detail]


def annotation(event: Citation) -> Any:
    """A citation as OpenAI's annotation; its own JSON where it came as one."""
    if event.source == "openai_chat" and event.data:
        return decode_any(event.data)
    cited: dict[str, Any] = {
        "url": event.url,
        "title": event.title,
        "start_index": event.start or 0,
        "end_index": event.end or 0,
    }
    if event.text:
        cited["content"] = event.text
    return {"type": "url_citation", "url_citation": cited}


def media_field(event: Media) -> dict[str, Any]:
    """Sound in OpenAI's field, pictures in OpenRouter's."""
    if event.media_type.startswith("audio"):
        audio: dict[str, Any] = {"id": event.id}
        if event.data:
            audio["data"] = event.data
        if event.transcript:
            audio["transcript"] = event.transcript
        if event.expires_at is not None:
            audio["expires_at"] = event.expires_at
        return {"audio": audio}
    url = f"data:{event.media_type};base64,{event.data}"
    return {"images": [{"type": "image_url", "image_url": {"url": url}}]}


def render(completion: Completion, request: ChatRequest, reply: Reply) -> bytes:
    """The body of a unary answer."""
    del request
    start = completion.start
    body: dict[str, Any] = {
        "id": answer_id(reply, start),
        "object": "chat.completion",
        "created": start.created or reply.created,
        "model": reply.model,
        "choices": [
            {
                "index": choice.index,
                "message": _message(choice.parts, choice.citations),
                "logprobs": _joined_logprobs(choice.logprobs),
                "finish_reason": choice.finish.reason if choice.finish else "stop",
            }
            for choice in completion.choices
        ],
        "usage": to_openai(completion.usage or Usage()),
        "system_fingerprint": start.fingerprint,
    }
    if start.service_tier is not None:
        body["service_tier"] = start.service_tier
    return encode(body)


def _message(parts: Sequence[Any], citations: Sequence[Citation]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    details: list[Any] = []
    calls: list[Any] = []
    extra: dict[str, Any] = {}
    for part in parts:
        match part:
            case Text():
                texts.append(part.text)
            case Reasoning():
                thoughts.append(part.text)
                if part.state is not None:
                    details += reasoning_details(part.state, part.text)
            case Refusal():
                refusals.append(part.text)
            case ToolUse():
                calls.append(tool_call(part))
            case Media():
                for name, value in media_field(part).items():
                    if isinstance(value, list):
                        extra.setdefault(name, []).extend(value)
                    else:
                        extra.setdefault(name, {}).update(value)
            case _:
                pass
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not (calls or refusals) else None,
        "refusal": "".join(refusals) or None,
        "annotations": [annotation(citation) for citation in citations],
    }
    if calls:
        message["tool_calls"] = calls
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if details:
        message["reasoning_details"] = details
    return {**message, **extra}


def tool_call(part: ToolUse) -> dict[str, Any]:
    """A call of the assistant, its state inside the id."""
    call_id = pack(part.id, part.state)
    if part.custom:
        custom = {"name": part.name, "input": part.arguments}
        return {"id": call_id, "type": "custom", "custom": custom}
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": call_id, "type": "function", "function": function}


def _joined_logprobs(pieces: Sequence[bytes]) -> dict[str, Any] | None:
    """The logprobs of all deltas as one object."""
    content: list[Any] = []
    refusal: list[Any] = []
    for piece in pieces:
        value = decode_any(piece)
        if isinstance(value, dict):
            content += value.get("content") or []
            refusal += value.get("refusal") or []
    if not content and not refusal:
        return None
    return {"content": content or None, "refusal": refusal or None}
