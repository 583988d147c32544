"""Parts of a message as Google's parts, in a request.

Thought signatures go back exactly where they came from. A call without one, in a
conversation that began at another provider, gets Google's placeholder where the model
insists on it. Tool names are looked up for results, ids are left out where Google never
gave any.
"""

import base64
import binascii
import mimetypes
from typing import Any, Final

import msgspec
from msgspec import Raw

from wire.customtools import pack
from wire.dialect import ClientError
from wire.events import ProviderState
from wire.gemini_schema import SKIP_SIGNATURE, SOURCE
from wire.jsontext import JSON_ERRORS
from wire.request import (
    Audio,
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
from wire.toolids import unpack

JSON = dict[str, Any]

SYNTHETIC_ID: Final = "call_st_"
"""Begins the ids we make up for calls that came without one. Google never sees them."""

RESPONSE: Final = "functionResponse"

_CARRY: Final = b"stagedoor1."

CARRIED: Final = b'"' + base64.b64encode(_CARRY)[:14]
"""How a carried signature begins in JSON: its mark in base64, up to a whole sign."""

_AUDIO_TYPES: Final = {
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "pcm16": "audio/pcm",
    "flac": "audio/flac",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
}
AUDIO_FORMATS: Final = {
    **{kind: name for name, kind in _AUDIO_TYPES.items()},
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
}


def carry(state: ProviderState) -> str:
    """Any provider's state as a thought signature, which clients send back as it is."""
    if state.source == SOURCE:
        return state.data
    return base64.b64encode(_CARRY + msgspec.json.encode(state)).decode()


def uncarry(signature: str) -> ProviderState:
    """Read a signature that a client sent back: Google's, or one we carried."""
    try:
        raw = base64.b64decode(signature, validate=True)
        if raw.startswith(_CARRY):
            return msgspec.json.decode(raw[len(_CARRY) :], type=ProviderState)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        pass
    return ProviderState(SOURCE, "thought_signature", signature)


class PartBuilder:
    """Builds the parts of one request; knows the calls that results answer.

    Args:
        signed: the model insists on a signature for calls sent back.
        ids: the service takes ids of calls (Vertex's older versions do not).
        own: the request came from a Gemini client.
    """

    def __init__(self, *, signed: bool, ids: bool, own: bool) -> None:
        self._signed = signed
        self._ids = ids
        self._own = own
        self._names: dict[str, str] = {}

    def parts(self, parts: tuple[Part, ...], where: str) -> list[Any]:
        """The parts of one message. Raises ClientError with the path of a part."""
        out: list[Any] = []
        called = False
        for at, part in enumerate(parts):
            path = f"{where}.parts[{at}]"
            if isinstance(part, ToolUse):
                out.append(self._call(part, first=not called))
                called = True
            elif isinstance(part, ToolResult):
                out += self._result(part, path)
            else:
                made = self._part(part, path)
                if made is not None:
                    out.append(made)
        return out

    def _part(self, part: Part, where: str) -> Any:
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text or self._own else None
            case Reasoning():
                return self._thought(part)
            case Image():
                return _image(part, where)
            case Audio():
                return _audio(part, where)
            case File():
                return _file(part, where)
            case OpaquePart():
                return Raw(part.data) if part.source == SOURCE else None
            case _:
                raise AssertionError("calls and results are handled by their caller")

    def _thought(self, part: Reasoning) -> JSON | None:
        """Only what Google signed goes back to it, or what its own client sent."""
        state = part.state
        if state is None or state.source != SOURCE:
            return {"text": part.text, "thought": True} if self._own else None
        if not part.text:
            return {"text": "", "thoughtSignature": state.data}
        return {"text": part.text, "thought": True, "thoughtSignature": state.data}

    def _call(self, part: ToolUse, *, first: bool) -> JSON:
        call_id, packed = unpack(part.id)
        self._names[part.id] = self._names[call_id] = part.name
        call: JSON = {"name": part.name}
        if self._ids and not call_id.startswith(SYNTHETIC_ID):
            call["id"] = call_id
        if part.custom:
            call["args"] = pack(part.arguments)
        else:
            call["args"] = _object(part.arguments)
        out: JSON = {"functionCall": call}
        state = part.state or packed
        if state is not None and state.source == SOURCE:
            out["thoughtSignature"] = state.data
        elif self._signed and first:
            out["thoughtSignature"] = SKIP_SIGNATURE
        return out

    def _result(self, part: ToolResult, where: str) -> list[Any]:
        for inner in part.parts:
            if isinstance(inner, OpaquePart) and inner.source == SOURCE:
                return [Raw(inner.data)]
        call_id, _ = unpack(part.tool_use_id)
        name = part.name or self._names.get(call_id, "")
        if not name:
            message = "A tool result answers no earlier tool call."
            raise ClientError(message, param=where)
        texts = [inner.text for inner in part.parts if isinstance(inner, Text)]
        response: JSON = {"name": name, "response": _response(part, "".join(texts))}
        if self._ids and not call_id.startswith(SYNTHETIC_ID):
            response["id"] = call_id
        media = [
            made
            for at, inner in enumerate(part.parts)
            if not isinstance(inner, (Text, OpaquePart, ToolResult, ToolUse))
            and (made := self._part(inner, f"{where}.parts[{at}]")) is not None
        ]
        if media and self._signed:  # Since Gemini 3 results may hold media themselves.
            response["parts"] = media
            media = []
        return [{RESPONSE: response}, *media]


def _response(part: ToolResult, text: str) -> JSON:
    """What the tool said as an object: its own, or `output` or `error` of one."""
    if part.is_error:
        return {"error": text}
    try:
        value = msgspec.json.decode(text)
    except JSON_ERRORS:
        return {"output": text}
    if isinstance(value, dict):
        return value
    return {"output": text if isinstance(value, str) else value}


def _object(arguments: str) -> Any:
    text = arguments.strip() or "{}"
    try:
        value = msgspec.json.decode(text)
    except JSON_ERRORS:
        return {"invalid_json": arguments}
    return Raw(text.encode()) if isinstance(value, dict) else {"value": value}


def guess_type(url: str, fallback: str) -> str:
    """The media type a URL's name suggests; Google wants one with every link."""
    guessed, _ = mimetypes.guess_type(url.partition("?")[0], strict=True)
    return guessed or fallback


def _image(part: Image, where: str) -> JSON:
    if part.data:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    url = part.url or (part.file_id if "://" in part.file_id else "")
    if not url:
        raise ClientError("An image needs a URL or its data here.", param=where)
    kind = part.media_type or guess_type(url, "image/jpeg")
    return {"fileData": {"fileUri": url, "mimeType": kind}}


def _audio(part: Audio, where: str) -> JSON:
    if not part.data:
        raise ClientError("Sound needs its data here.", param=where)
    kind = _AUDIO_TYPES.get(part.format, f"audio/{part.format or 'wav'}")
    return {"inlineData": {"mimeType": kind, "data": part.data}}


def _file(part: File, where: str) -> JSON:
    if part.text:
        return {"text": part.text}
    url = part.url or (part.file_id if "://" in part.file_id else "")
    if part.data:
        kind = part.media_type or guess_type(part.name, "application/pdf")
        made: JSON = {"inlineData": {"mimeType": kind, "data": part.data}}
    elif url:
        made = {"fileData": {"fileUri": url}}
        kind = part.media_type or guess_type(url, "")
        if kind:
            made["fileData"]["mimeType"] = kind
    else:
        raise ClientError("A file needs a URL or its data here.", param=where)
    if part.options:
        made.update(msgspec.json.decode(part.options, type=dict[str, Raw]))
    return made
