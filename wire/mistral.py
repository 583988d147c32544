"""The dialect of Mistral's API, as a provider: OpenAI's chat with a grammar of its own.

What differs, beside the row in `wire.flavours`: tool call ids have nine letters and
digits; thoughts are parts of a content list, both ways; a conversation may end with the
assistant only as a `prefix`; only some models take an effort, and most of them two.

Owns: those differences. The rest is `openai_chat_build` and `openai_chat_decoder`.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from wire import customtools, lowering
from wire.callids import fit_id
from wire.dialect import (
    ClientError,
    Headers,
    StreamDecoder,
    Target,
    UpstreamRequest,
    malformed,
)
from wire.embeddings import EmbedRequest, EmbedResult, Vector
from wire.errors import classify
from wire.events import Event, Fault, Finish
from wire.flavours import flavour
from wire.jsontext import JSON_ERRORS, decode_object
from wire.openai_chat_build import build, effort_of
from wire.openai_chat_decoder import ChatDecoder, ChunkReader
from wire.request import (
    ChatRequest,
    Message,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from wire.usage import from_openai

JSON = dict[str, Any]

SOURCE: Final = "mistral"
CHAT_PATH: Final = "/chat/completions"
EMBED_PATH: Final = "/embeddings"

TEMPERATURE_MAX: Final = 1.5

_CALL_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")
_CALL_ID_CHARS: Final = 9

_TWO_EFFORTS: Final = re.compile(r"mistral-(?:small|medium)")
_MANY_EFFORTS: Final = re.compile(r"mistral-large-4")
_ALWAYS_THINKS: Final = re.compile(r"magistral")
_LEVELS: Final = {"none": "none", "minimal": "low", "low": "low", "medium": "medium"}


class Mistral:
    """See `ProviderDialect` and `EmbedProvider`."""

    name = SOURCE

    def build_request(self, request: ChatRequest, target: Target) -> UpstreamRequest:
        """See `ProviderDialect.build_request`."""
        return _upstream(CHAT_PATH, build_body(request, target))

    def stream_decoder(self, request: ChatRequest, target: Target) -> StreamDecoder:
        """See `ProviderDialect.stream_decoder`."""
        del target
        return customtools.decoder_for(request, ChatDecoder(SOURCE, flavour(SOURCE)))

    def parse_response(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> list[Event]:
        """See `ProviderDialect.parse_response`."""
        del target
        if not 200 <= status < 300:
            return [classify(SOURCE, status, headers, body)]
        events = ChunkReader(SOURCE, flavour(SOURCE)).read(body)
        if not any(isinstance(event, (Finish, Fault)) for event in events):
            return [malformed(SOURCE, "an answer without a finished choice")]
        return events

    def classify_error(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> Fault:
        """See `ProviderDialect.classify_error`."""
        del target
        return classify(SOURCE, status, headers, body)

    def build_embed(self, request: EmbedRequest, target: Target) -> UpstreamRequest:
        """See `EmbedProvider.build_embed`."""
        texts = request.texts("Mistral")
        body: JSON = {
            "model": target.model,
            "input": texts,
            "encoding_format": request.encoding,
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        return _upstream(EMBED_PATH, body)

    def parse_embed(
        self, status: int, headers: Headers, body: bytes, target: Target
    ) -> EmbedResult | Fault:
        """See `EmbedProvider.parse_embed`."""
        if not 200 <= status < 300:
            return classify(SOURCE, status, headers, body)
        try:
            answer = _embedded.decode(body)
        except JSON_ERRORS:
            return malformed(SOURCE, "an answer without embeddings")
        rows = sorted(answer.data, key=lambda row: row.index)
        usage = decode_object(answer.usage)
        return EmbedResult(
            target.model,
            tuple(_vector(bytes(row.embedding)) for row in rows),
            from_openai(usage) if usage else None,
        )


class _Row(msgspec.Struct):
    embedding: Raw
    index: int = 0


class _Embedded(msgspec.Struct):
    data: list[_Row]
    usage: Raw = Raw(b"{}")


_embedded = msgspec.json.Decoder(_Embedded)


def _vector(raw: bytes) -> Vector:
    return Vector(raw[1:-1], "base64") if raw.startswith(b'"') else Vector(raw)


def _upstream(path: str, body: JSON) -> UpstreamRequest:
    headers = (("content-type", "application/json"),)
    return UpstreamRequest("POST", path, headers, msgspec.json.encode(body))


def build_body(request: ChatRequest, target: Target) -> JSON:
    """The body of /v1/chat/completions. Raises ClientError."""
    if request.logprobs:
        raise ClientError("Mistral gives no logprobs.", param="logprobs")
    if "audio" in request.modalities:
        raise ClientError("Mistral's chat answers in text only.", param="modalities")
    body = build(_prepared(request), flavour(SOURCE), target.model)
    _add_thoughts(body, request, target.model)
    turns = body["messages"]
    if turns and turns[-1]["role"] == "assistant" and "tool_calls" not in turns[-1]:
        turns[-1]["prefix"] = True
    body.pop("reasoning_effort", None)
    effort = _effort(request, target.model)
    if effort is not None:
        body["reasoning_effort"] = effort
    if request.temperature is not None:
        body["temperature"] = min(max(request.temperature, 0.0), TEMPERATURE_MAX)
    if request.cache_key is not None:
        body["prompt_cache_key"] = request.cache_key
    tokens = target.bound(request.max_output_tokens)
    if tokens is not None:
        body["max_tokens"] = tokens
    if request.source == SOURCE:
        body.update({name: Raw(data) for name, data in request.extra.items()})
    return body


def _effort(request: ChatRequest, model: str) -> str | None:
    wish = request.reasoning
    if wish is None:
        return None
    effort = "none" if wish.enabled is False else effort_of(wish)
    if _MANY_EFFORTS.search(model):
        return _LEVELS.get(effort or "high", "high")
    if _TWO_EFFORTS.search(model):
        return "none" if effort in {"none", "minimal"} else "high"
    return None  # Others refuse the field, or always think.


def _prepared(request: ChatRequest) -> ChatRequest:
    """The request in Mistral's ids, with functions in the place of custom tools."""
    return msgspec.structs.replace(
        request,
        messages=tuple(_message(message) for message in request.messages),
        tools=tuple(map(_function, lowering.offered(request))),
    )


def _function(tool: Tool) -> Tool:
    if tool.kind != "custom":
        return tool
    schema = msgspec.json.encode(customtools.SCHEMA)
    return Tool(tool.name, tool.description, schema)


def _message(message: Message) -> Message:
    return msgspec.structs.replace(message, parts=tuple(map(_part, message.parts)))


def _part(part: Part) -> Part:
    if isinstance(part, ToolUse):
        arguments = part.arguments or "{}"
        if part.custom:
            packed = customtools.pack(part.arguments)
            arguments = msgspec.json.encode(packed).decode()
        return ToolUse(call_id(part.id), part.name, arguments)
    if isinstance(part, ToolResult):
        return msgspec.structs.replace(part, tool_use_id=call_id(part.tool_use_id))
    return part


def call_id(any_id: str) -> str:
    """A tool call's id as Mistral demands it: nine letters and digits."""
    return fit_id(any_id, _CALL_ID, _CALL_ID_CHARS)


def _add_thoughts(body: JSON, request: ChatRequest, model: str) -> None:
    """Earlier thoughts as parts of the content, for models that know such parts."""
    thinks = (_ALWAYS_THINKS, _TWO_EFFORTS, _MANY_EFFORTS)
    if not any(pattern.search(model) for pattern in thinks):
        return
    turns = [turn for turn in body["messages"] if turn["role"] == "assistant"]
    said = [message for message in request.messages if message.role == "assistant"]
    for turn, message in zip(turns, said, strict=True):
        # A state is another provider's, and so is its thought.
        thoughts = [
            part.text
            for part in message.parts
            if isinstance(part, Reasoning) and part.state is None and part.text
        ]
        if not thoughts:
            continue
        thinking = [{"type": "text", "text": "".join(thoughts)}]
        texts = [part.text for part in message.parts if isinstance(part, Text)]
        turn["content"] = [
            {"type": "thinking", "thinking": thinking, "closed": True},
            *({"type": "text", "text": text} for text in texts if text),
        ]
