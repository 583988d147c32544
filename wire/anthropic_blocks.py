"""The parts of a message as Anthropic's content blocks.

Used by anthropic_build.py. Only thoughts that Anthropic signed go back to it; what it
takes no kind of is refused with its path. `own` means: the request came from an
Anthropic client, so its blocks keep what only Anthropic understands.
"""

import re
from typing import Any

import msgspec
from msgspec import Raw

from wire.anthropic_carry import carry, tool_id
from wire.anthropic_schema import SOURCE
from wire.customtools import pack
from wire.dialect import ClientError
from wire.jsontext import JSON_ERRORS
from wire.lowering import decoded
from wire.request import (
    CacheMark,
    File,
    Image,
    Message,
    OpaquePart,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
)

JSON = dict[str, Any]

_NO_INDEX = re.compile(rb'"encrypted_index"\s*:\s*""')
"""Links of other providers, as our encoder wrote them; Anthropic refuses them."""


def marked(block: JSON, cache: CacheMark | None) -> JSON:
    """Put the cache mark on a block, a tool or a system text."""
    if cache is not None:
        block["cache_control"] = {"type": "ephemeral"}
        if cache.ttl is not None:
            block["cache_control"]["ttl"] = cache.ttl
    return block


def blocks_of(message: Message, where: str, own: bool) -> list[JSON]:
    """The blocks of one message. Raises ClientError with the path of a part."""
    blocks: list[JSON] = []
    for at, part in enumerate(message.parts):
        block = _block(part, f"{where}.content.{at}", own)
        if block is not None:
            blocks.append(block)
    return blocks


def _block(part: Part, where: str, own: bool) -> JSON | None:
    match part:
        case Text():
            if not own and not part.text.strip():
                return None  # Empty texts are a 400 at Anthropic.
            block: JSON = {"type": "text", "text": part.text}
            if part.citations and own and not _NO_INDEX.search(part.citations):
                block["citations"] = Raw(part.citations)
            return marked(block, part.cache)
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Image():
            return marked(
                {"type": "image", "source": _image(part, where, own)}, part.cache
            )
        case File():
            return marked(_document(part, where, own), part.cache)
        case ToolUse():
            return _tool_use(part)
        case ToolResult():
            return _tool_result(part, where, own)
        case Reasoning():
            return _reasoning(part)
        case OpaquePart():
            return msgspec.json.decode(part.data) if part.source == SOURCE else None
        case _:
            raise ClientError("Claude takes no sound.", param=where)


def _reasoning(part: Reasoning) -> JSON | None:
    """Only thoughts that Anthropic signed may go back to it."""
    if part.state is None or part.state.source != SOURCE:
        return None
    if part.state.kind == "redacted":
        return {"type": "redacted_thinking", "data": part.state.data}
    return {"type": "thinking", "thinking": part.text, "signature": carry(part.state)}


def _image(part: Image, where: str, own: bool) -> JSON:
    if part.file_id and own:
        return {"type": "file", "file_id": part.file_id}
    if part.data:
        return {"type": "base64", "media_type": part.media_type, "data": part.data}
    if part.url:
        return {"type": "url", "url": part.url}
    raise ClientError("An image needs a URL or its data here.", param=where)


def _document(part: File, where: str, own: bool) -> JSON:
    options: dict[str, Raw] = {}
    if part.options and own:
        options = msgspec.json.decode(part.options, type=dict[str, Raw])
        if "search_result" in options:
            whole: JSON = msgspec.json.decode(options["search_result"])
            return whole
    block: JSON = {"type": "document"}
    if part.file_id and own:
        block["source"] = {"type": "file", "file_id": part.file_id}
    elif part.text:
        block["source"] = _plain_text(part.text)
    elif part.url:
        block["source"] = {"type": "url", "url": part.url}
    elif part.media_type == "application/pdf":
        block["source"] = {
            "type": "base64",
            "media_type": part.media_type,
            "data": part.data,
        }
    elif part.media_type.startswith("text/") or part.media_type == "application/json":
        block["source"] = _plain_text(decoded(part.data, where))
    else:
        raise ClientError("Claude takes PDF and text files only.", param=where)
    if part.name:
        block["title"] = part.name
    block.update(options)
    return block


def _plain_text(text: str) -> JSON:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _tool_use(part: ToolUse) -> JSON:
    block: JSON = {"type": "tool_use", "id": tool_id(part.id), "name": part.name}
    block["input"] = pack(part.arguments) if part.custom else _input(part)
    if part.state is not None and part.state.source == SOURCE:
        block[part.state.kind] = Raw(part.state.data.encode())
    return marked(block, part.cache)


def _input(part: ToolUse) -> Any:
    """Arguments as the object Anthropic insists on, also when a model wrote none."""
    text = part.arguments.strip() or "{}"
    try:
        value = msgspec.json.decode(text)
    except JSON_ERRORS:
        return {"invalid_json": part.arguments}
    return Raw(text.encode()) if isinstance(value, dict) else {"value": value}


def _tool_result(part: ToolResult, where: str, own: bool) -> JSON:
    block: JSON = {"type": "tool_result", "tool_use_id": tool_id(part.tool_use_id)}
    content: list[JSON] = []
    for at, inner in enumerate(part.parts):
        made = _block(inner, f"{where}.content.{at}", own)
        if made is not None:
            content.append(made)
    if content:
        block["content"] = content
    if part.is_error:
        block["is_error"] = True
    return marked(block, part.cache)
