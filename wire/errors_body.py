"""Error bodies of all providers in one shape. Pure; never raises on bytes from outside.

Eight shapes are known: OpenAI's and Anthropic's object under `error` (Google puts it in
a list of one, too), AWS's message beside a header, Cohere's flat message, xAI's and
Ollama's string under `error`, Mistral's and vLLM's flat object, and FastAPI's `detail`
as text or as a list of field errors.
"""

from typing import Any

import msgspec

from wire.dialect import Headers
from wire.jsontext import JSON_ERRORS, decode_any, text


class Said(msgspec.Struct, frozen=True):
    """An error body in one shape. `words` are its codes, most telling first."""

    message: str = ""
    words: tuple[str, ...] = ()
    param: str | None = None
    status: int | None = None
    request_id: str = ""
    readable: bool = False
    body: Any = None


def read_body(body: bytes, headers: Headers) -> Said:
    """Any provider's error body; never raises."""
    parsed = _parse(body)
    name = headers.get("x-amzn-errortype", "").partition(":")[0]
    whole = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if not isinstance(whole, dict):
        return Said(words=(name,) if name else (), readable=bool(name))
    inner = whole.get("error", whole)
    if isinstance(inner, str):  # xAI, Ollama
        inner = {"message": inner, "code": whole.get("code")}
    if not isinstance(inner, dict):
        inner = whole
    if not name:
        # Coral's older habit: "__type": "com.amazon.coral#ValidationException".
        name = text(whole.get("__type")).rpartition("#")[2]
    message = inner.get("message", inner.get("Message", inner.get("detail")))
    words = (name, *_reasons(inner), *_words(inner), *_words(whole))
    return Said(
        message=_flatten(message),
        words=tuple(dict.fromkeys(word for word in words if word)),
        param=text(inner.get("param")) or None,
        status=_status(inner),
        request_id=text(whole.get("request_id")) or text(whole.get("id")),
        readable=bool(message) or any(words),
        body=whole,
    )


def _parse(body: bytes) -> Any:
    try:
        return decode_any(body)
    except JSON_ERRORS:
        return None


def _words(error: dict[str, Any]) -> list[str]:
    """The codes of an error, most telling first; a status as text is none."""
    inner = error.get("innererror")  # Azure
    deeper = inner.get("code") if isinstance(inner, dict) else None
    found = (
        deeper,
        error.get("code"),
        error.get("error_type"),
        error.get("status"),
        error.get("type"),
    )
    return [word for word in found if isinstance(word, str) and not word.isdigit()]


def _reasons(error: dict[str, Any]) -> list[str]:
    """Google's `details[].reason`: more telling than its status."""
    details = error.get("details")
    return [
        detail["reason"]
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, dict) and isinstance(detail.get("reason"), str)
    ]


def _status(error: dict[str, Any]) -> int | None:
    for name in ("status_code", "code", "raw_status_code", "originalStatusCode"):
        value = error.get(name)
        if isinstance(value, str) and value.isdigit() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _flatten(message: Any) -> str:
    """A message as text. Mistral's may be an object or a list of field errors."""
    if isinstance(message, str):
        return message
    if isinstance(message, dict):
        for name in ("message", "detail", "msg", "error"):
            if name in message:
                return _flatten(message[name])
        return ""
    if isinstance(message, list):
        return "; ".join(filter(None, map(_field_error, message)))
    return ""


def _field_error(error: Any) -> str:
    """FastAPI's {loc, msg}: the place, then what is wrong. Never its `input`."""
    if not isinstance(error, dict):
        return ""
    loc = error.get("loc")
    place = ".".join(map(str, loc)) if isinstance(loc, list) else ""
    said = text(error.get("msg"))
    return f"{place}: {said}" if place and said else said
