"""Parts of a turn into Converse's content blocks. Pure."""

import base64
import itertools
import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from wire import customtools
from wire.bedrock_read import CLAUDE_SOURCE, state_source
from wire.bedrock_terms import SOURCE
from wire.callids import fit_id
from wire.dialect import ClientError
from wire.request import (
    Audio,
    CacheMark,
    File,
    Image,
    OpaquePart,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
)

JSON = dict[str, Any]

_IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_CALL_ID_CHARS: Final = 24
# Bedrock names documents from a small alphabet, without two spaces in a row.
_NAME_FORBIDDEN: Final = re.compile(r"[^a-zA-Z0-9()\[\]-]+")
_NAME_CHARS_MAX: Final = 190  # Of its 200, so that a number can follow.


def cache_point(cache: CacheMark) -> JSON:
    """Cache everything before this block."""
    point: JSON = {"type": "default"}
    if cache.ttl is not None:
        point["ttl"] = cache.ttl
    return {"cachePoint": point}


class PartWriter:
    """Writes the parts of one request, which must name its documents apart."""

    def __init__(self, model: str) -> None:
        self._state_source = state_source(model)
        self._numbers = itertools.count(1)

    def block(self, part: Part, where: str) -> JSON | None:
        """One content block, None for what must be left out.

        Raises:
            ClientError: it cannot be expressed; `where` is its path.
        """
        match part:
            case Text() | Refusal():
                # Blank texts are a 400.
                return {"text": part.text} if part.text.strip() else None
            case Image():
                return _image(part, where)
            case File():
                return _document(part, where, next(self._numbers))
            case Audio():
                return _audio(part, where)
            case ToolUse():
                return _tool_use(part)
            case ToolResult():
                return self._tool_result(part, where)
            case Reasoning():
                return self._reasoning(part)
            case OpaquePart():
                return msgspec.json.decode(part.data) if part.source == SOURCE else None

    def _tool_result(self, part: ToolResult, where: str) -> JSON:
        blocks = (
            self.block(inner, f"{where}.content.{at}")
            for at, inner in enumerate(part.parts)
        )
        result: JSON = {
            "toolUseId": call_id(part.tool_use_id),
            "content": [block for block in blocks if block is not None],
        }
        if part.is_error:
            result["status"] = "error"
        return {"toolResult": result}

    def _reasoning(self, part: Reasoning) -> JSON | None:
        """Only signed thoughts may go back, and only to who signed them."""
        state = part.state
        if state is None or state.source != self._state_source:
            return None
        if state.kind == "redacted":
            blob = state.data
            if state.source == CLAUDE_SOURCE:
                # Anthropic's `data` is the text inside Bedrock's blob.
                blob = base64.b64encode(blob.encode()).decode()
            return {"reasoningContent": {"redactedContent": blob}}
        thought = {"text": part.text, "signature": state.data}
        return {"reasoningContent": {"reasoningText": thought}}


def call_id(any_id: str) -> str:
    """A tool call's id as Bedrock allows it."""
    return fit_id(any_id, _CALL_ID, _CALL_ID_CHARS, "call_")


def _tool_use(part: ToolUse) -> JSON:
    use = {"toolUseId": call_id(part.id), "name": part.name, "input": _input(part)}
    return {"toolUse": use}


def _input(part: ToolUse) -> Any:
    """Arguments as the object Converse insists on, also when a model wrote none."""
    if part.custom:
        return customtools.pack(part.arguments)
    written = part.arguments.strip() or "{}"
    try:
        value = msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError):
        return {"invalid_json": part.arguments}
    return Raw(written.encode()) if isinstance(value, dict) else {"value": value}


def _source(url: str, data: str, where: str, what: str) -> JSON:
    if data:
        return {"bytes": data}
    if url.startswith("s3://"):
        return {"s3Location": {"uri": url}}
    raise ClientError(
        f"Bedrock fetches no URLs: send the {what} as base64, or an s3:// location.",
        param=where,
    )


def _image(part: Image, where: str) -> JSON:
    form = _IMAGES.get(part.media_type) or _suffix(part.url, _IMAGES.values())
    source = _source(part.url, part.data, where, "picture")
    if form is None:
        raise ClientError(
            "Bedrock takes png, jpeg, gif and webp pictures.", param=where
        )
    return {"image": {"format": form, "source": source}}


def _document(part: File, where: str, number: int) -> JSON:
    form = _DOCUMENTS.get(part.media_type) or _suffix(
        part.name or part.url, _DOCUMENTS.values()
    )
    if part.text:
        form, source = form or "txt", {"text": part.text}
    else:
        source = _source(part.url, part.data, where, "file")
    if form is None:
        raise ClientError(
            f"Bedrock takes {', '.join(_DOCUMENTS.values())} files.", param=where
        )
    name = _NAME_FORBIDDEN.sub(" ", part.name).strip()[:_NAME_CHARS_MAX]
    document: JSON = {
        "format": form,
        "name": f"{name} {number}" if name else f"document {number}",
        "source": source,
    }
    if part.options:
        options = msgspec.json.decode(part.options)
        for field in ("context", "citations"):
            if isinstance(options, dict) and options.get(field):
                document[field] = options[field]
    return {"document": document}


def _audio(part: Audio, where: str) -> JSON:
    if not part.data:
        raise ClientError("Bedrock keeps no earlier sound: send its data.", param=where)
    return {"audio": {"format": part.format, "source": {"bytes": part.data}}}


def _suffix(name: str, known: Any) -> str | None:
    suffix = name.rpartition(".")[2].lower()
    suffix = "jpeg" if suffix == "jpg" else suffix
    return suffix if suffix in set(known) else None
