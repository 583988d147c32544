"""Content blocks of an Anthropic client's request as neutral parts.

Used by anthropic_parse.py, and the home of its `decode`: errors name the path of the
field as Anthropic does ("messages.0.content.1.text") and never quote its value. Blocks
without a word in `wire.request` become `OpaquePart`. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from wire.anthropic_carry import uncarry
from wire.anthropic_schema import SOURCE, CacheControl
from wire.dialect import ClientError
from wire.events import ProviderState
from wire.jsontext import JSON_ERRORS
from wire.request import (
    CacheMark,
    File,
    Image,
    OpaquePart,
    Part,
    Reasoning,
    Text,
    ToolResult,
    ToolUse,
)
from wire.toolids import unpack

_AT = re.compile(r" - at `\$\.?(.*)`$")

T = TypeVar("T")


class _Source(Struct):
    type: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class _Kind(Struct):
    type: str


class _Text(Struct):
    text: str
    cache_control: CacheControl | None = None
    citations: Raw = Raw(b"")


class _Image(Struct):
    source: _Source
    cache_control: CacheControl | None = None


class _DocumentOptions(Struct, omit_defaults=True):
    context: str | None = None
    citations: Raw = Raw(b"")


class _Document(_DocumentOptions):
    source: _Source = msgspec.field(default_factory=_Source)
    title: str | None = None
    cache_control: CacheControl | None = None


class _ToolUse(Struct):
    id: str
    name: str
    input: Raw
    caller: Raw = Raw(b"")
    cache_control: CacheControl | None = None


class _ToolResult(Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class _Thinking(Struct):
    thinking: str
    signature: str = ""


class _Redacted(Struct):
    data: str


def decode(raw: bytes | Raw, kind: type[T], where: str = "") -> T:
    """Decode a client's JSON. Raises ClientError with the path, never the value."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as wrong:
        text = str(wrong)
        at = _AT.search(text)
        path = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", at.group(1) if at else "")
        param = ".".join(filter(None, (where, path)))
        reason = text[: at.start()] if at else text
        missing = re.fullmatch(r"Object missing required field `(\w+)`", reason)
        if missing:
            param = ".".join(filter(None, (param, missing.group(1))))
            reason = "Field required"
        message = f"{param}: {reason}" if param else reason
        raise ClientError(message, param=param or None) from None
    except JSON_ERRORS:
        raise ClientError("The request body is not valid JSON.") from None


def decode_optional(raw: Raw, kind: type[T], where: str) -> T | None:
    """Decode a field that may be absent or null."""
    text = bytes(raw)
    return None if text in {b"", b"null"} else decode(text, kind, where)


def mark(control: CacheControl | None) -> CacheMark | None:
    """A cache mark; None where there is none."""
    return None if control is None else CacheMark(control.ttl)


def parts_of(blocks: list[Raw], where: str, names: Mapping[str, str]) -> Iterable[Part]:
    """The parts of one content list. `names` knows the tools of earlier calls."""
    for at, raw in enumerate(blocks):
        yield _part(raw, f"{where}.{at}", names)


def _part(raw: Raw, where: str, names: Mapping[str, str]) -> Part:
    kind = decode(raw, _Kind, where).type
    match kind:
        case "text":
            text = decode(raw, _Text, where)
            return Text(
                text.text,
                cache=mark(text.cache_control),
                citations=_present(text.citations),
            )
        case "image":
            image = decode(raw, _Image, where)
            return Image(
                url=image.source.url,
                data=image.source.data,
                media_type=image.source.media_type,
                file_id=image.source.file_id,
                cache=mark(image.cache_control),
            )
        case "document":
            return _document(raw, where)
        case "tool_use":
            use = decode(raw, _ToolUse, where)
            caller = bytes(use.caller).decode()
            if '"direct"' in caller:  # The usual case needs no telling.
                caller = ""
            own_id, state = unpack(use.id)
            if caller:
                state = ProviderState(SOURCE, "caller", caller)
            return ToolUse(
                id=own_id,
                name=use.name,
                arguments=bytes(use.input).decode(),
                state=state,
                cache=mark(use.cache_control),
            )
        case "tool_result":
            return _tool_result(raw, where, names)
        case "thinking":
            thinking = decode(raw, _Thinking, where)
            return Reasoning(thinking.thinking, uncarry(thinking.signature))
        case "redacted_thinking":
            data = decode(raw, _Redacted, where).data
            return Reasoning(state=uncarry(data, kind="redacted"))
        case "search_result":
            return _search_result(raw, where)
        case _:
            return OpaquePart(SOURCE, kind, bytes(raw))


def _present(raw: Raw) -> bytes:
    """JSON that says something: b"" for absent, null and []."""
    text = bytes(raw)
    return b"" if text in {b"null", b"[]"} else text


def _document(raw: Raw, where: str) -> Part:
    document = decode(raw, _Document, where)
    source = document.source
    if source.type == "content":  # Blocks inside a document: only Anthropic has that.
        return OpaquePart(SOURCE, "document", bytes(raw))
    options = decode(raw, _DocumentOptions, where)
    keeps = options.context is not None or bool(options.citations)
    is_text = source.type == "text"
    return File(
        url=source.url,
        data="" if is_text else source.data,
        text=source.data if is_text else "",
        media_type=source.media_type,
        file_id=source.file_id,
        name=document.title or "",
        cache=mark(document.cache_control),
        options=msgspec.json.encode(options) if keeps else b"",
    )


class _Found(Struct):
    source: str = ""
    title: str = ""
    content: list[_Text] = []
    cache_control: CacheControl | None = None


def _search_result(raw: Raw, where: str) -> File:
    """A search result is a text with a source; the whole block goes back as it came."""
    found = decode(raw, _Found, where)
    return File(
        text="\n".join(text.text for text in found.content),
        media_type="text/plain",
        name=found.title or found.source,
        cache=mark(found.cache_control),
        options=b'{"search_result":' + bytes(raw) + b"}",
    )


def _tool_result(raw: Raw, where: str, names: Mapping[str, str]) -> ToolResult:
    result = decode(raw, _ToolResult, where)
    if isinstance(result.content, str):
        parts: tuple[Part, ...] = (Text(result.content),)
    else:
        parts = tuple(parts_of(result.content or [], f"{where}.content", names))
    own_id, _ = unpack(result.tool_use_id)
    return ToolResult(
        tool_use_id=own_id,
        parts=parts,
        is_error=bool(result.is_error),
        name=names.get(own_id, ""),
        cache=mark(result.cache_control),
    )
