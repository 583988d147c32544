"""The chunks and answers of OpenAI's chat dialect, as much of them as anyone reads.

One typed decode a chunk is the whole cost of looking at it: fields that are not named
here are skipped by msgspec without building anything. Servers that put other types in
these fields (a list as content, a float as index) are read by `lenient`, slower.

Pure. Never raises on bytes from outside but `jsontext.JSON_ERRORS`.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct, ValidationError

from wire.jsontext import NULL, decode_any, encode, mapping, text_or_none


class FunctionDelta(Struct, gc=False):
    """Name and arguments of a call, in pieces; `input` is a custom tool's text."""

    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class ToolDelta(Struct, gc=False):
    """A piece of a tool call."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None
    custom: FunctionDelta | None = None
    extra_content: Raw = NULL  # Gemini's compatible endpoint: its signature.


class Delta(Struct, gc=False):
    """What a chunk adds to a message; a whole message in a unary answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolDelta] | None = None
    refusal: str | None = None
    function_call: FunctionDelta | None = None
    audio: Raw = NULL
    images: Raw = NULL
    annotations: Raw = NULL
    reasoning_details: Raw = NULL
    extra_content: Raw = NULL


class FinishDetails(Struct, gc=False):
    """An early OpenAI vision model's way to say why it stopped."""

    type: str | None = None


class ChunkChoice(Struct, gc=False):
    """One choice of a chunk (`delta`), of an answer (`message`), of a completion."""

    delta: Delta | None = None
    finish_reason: str | None = None
    index: int | None = None
    message: Delta | None = None
    text: str | None = None
    logprobs: Raw = NULL
    finish_details: FinishDetails | None = None


class GroqExtra(Struct, gc=False):
    """Groq's own corner: sometimes the only place with usage."""

    usage: Raw = NULL


class Chunk(Struct, gc=False):
    """A chunk of a stream, or a whole unary answer."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[ChunkChoice] | None = None
    usage: Raw = NULL
    error: Raw = NULL
    x_groq: GroqExtra | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    citations: Raw = NULL  # Perplexity: URLs, once an answer.

    def usage_anywhere(self) -> Raw:
        """Usage, wherever this server puts it; NULL for none."""
        if self.usage != NULL or self.x_groq is None:
            return self.usage
        return self.x_groq.usage


_decoder = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes) -> Chunk:
    """Decode a chunk. Raises one of JSON_ERRORS when it is no JSON object."""
    try:
        return _decoder.decode(data)
    except ValidationError:
        value = decode_any(data)
        if not isinstance(value, dict):
            raise
        return lenient(value)


def lenient(value: dict[str, Any]) -> Chunk:
    """The same from any object: what has a type of its own kind is left out."""
    choices = value.get("choices")
    groq = mapping(value.get("x_groq"))
    return Chunk(
        id=text_or_none(value.get("id")),
        model=text_or_none(value.get("model")),
        created=_int(value.get("created")),
        choices=(
            [_choice(c) for c in choices if isinstance(c, dict)]
            if isinstance(choices, list)
            else None
        ),
        usage=_raw(value.get("usage")),
        error=_raw(value.get("error")),
        x_groq=GroqExtra(_raw(groq.get("usage"))),
        service_tier=text_or_none(value.get("service_tier")),
        system_fingerprint=text_or_none(value.get("system_fingerprint")),
        citations=_raw(value.get("citations")),
    )


def _choice(value: dict[str, Any]) -> ChunkChoice:
    delta, message = value.get("delta"), value.get("message")
    return ChunkChoice(
        delta=_delta(delta) if isinstance(delta, dict) else None,
        message=_delta(message) if isinstance(message, dict) else None,
        finish_reason=text_or_none(value.get("finish_reason")),
        index=_int(value.get("index")),
        text=text_or_none(value.get("text")),
        logprobs=_raw(value.get("logprobs")),
        finish_details=FinishDetails(
            text_or_none(mapping(value.get("finish_details")).get("type"))
        ),
    )


def _delta(value: dict[str, Any]) -> Delta:
    content, thoughts = _content(value.get("content"))
    calls = value.get("tool_calls")
    legacy = value.get("function_call")
    return Delta(
        content=content,
        reasoning_content=text_or_none(value.get("reasoning_content")) or thoughts,
        reasoning=text_or_none(value.get("reasoning")),
        tool_calls=(
            [_tool(c) for c in calls if isinstance(c, dict)]
            if isinstance(calls, list)
            else None
        ),
        refusal=text_or_none(value.get("refusal")),
        function_call=_function(legacy) if isinstance(legacy, dict) else None,
        audio=_raw(value.get("audio")),
        images=_raw(value.get("images")),
        annotations=_raw(value.get("annotations")),
        reasoning_details=_raw(value.get("reasoning_details")),
        extra_content=_raw(value.get("extra_content")),
    )


def _content(value: Any) -> tuple[str | None, str | None]:
    """Text and thoughts of a content that may be a list of parts (Mistral's models)."""
    if isinstance(value, str):
        return value, None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in value if isinstance(value, list) else []:
        inner = mapping(part)
        if inner.get("type") == "thinking":
            thinking = inner.get("thinking")
            if isinstance(thinking, str):
                thoughts.append(thinking)
            thoughts += [
                text_or_none(mapping(piece).get("text")) or ""
                for piece in (thinking if isinstance(thinking, list) else [])
            ]
        else:
            texts.append(text_or_none(inner.get("text")) or "")
    return "".join(texts) or None, "".join(thoughts) or None


def _tool(value: dict[str, Any]) -> ToolDelta:
    function, custom = value.get("function"), value.get("custom")
    return ToolDelta(
        index=_int(value.get("index")),
        id=text_or_none(value.get("id")),
        type=text_or_none(value.get("type")),
        function=_function(function) if isinstance(function, dict) else None,
        custom=_function(custom) if isinstance(custom, dict) else None,
        extra_content=_raw(value.get("extra_content")),
    )


def _function(value: dict[str, Any]) -> FunctionDelta:
    arguments = value.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = encode(arguments).decode()  # Some send the object itself.
    return FunctionDelta(
        name=text_or_none(value.get("name")),
        arguments=arguments,
        input=text_or_none(value.get("input")),
    )


def _int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if abs(value) < 2**53 else None


def _raw(value: Any) -> Raw:
    return NULL if value is None else Raw(encode(value))
