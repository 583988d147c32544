"""Errors of OpenAI's shape and of the servers that nearly keep to it, both directions.

Shapes read: `{error: {message, type, param, code}}`, `{error: str, code}` (xAI), flat
`{object, message, type, code}` (vLLM), codes that are numbers or a status as text
(OpenRouter, Azure, Perplexity). The body decides, not its content-type.

Pure. Keeps the provider's message for the client, except for faults of our own key:
those may quote the key (`dialect.public` replaces them before a client sees them).
"""

import re
from collections.abc import Mapping
from typing import Any

from wire.dialect import ErrorResponse, Headers, public
from wire.events import Fault, FaultKind
from wire.jsontext import decode_object, encode, mapping, text, text_or_none
from wire.ratelimits import retry_after_s, server_now_s
from wire.sse import encode_data

MESSAGE_CHARS_MAX = 4000
"""Providers echo prompts and generations into messages; a log line has to end."""

_OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context length|max(?:imum)? context len"
    r"|prompt (?:is )?too long|too_many_prompt_tokens|context window|"
    r"input token count.{0,40}exceeds|total length of all messages is too long"
    r"|reduce the length of the (?:messages|prompt|input)",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"(?:incorrect|invalid|missing|expired|revoked|no) api[ _-]?key"
    r"|api[ _-]?key (?:not valid|is invalid|expired)|invalid_api_key",
    re.IGNORECASE,
)
_NO_MONEY = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "insufficient_credits",
        "access_terminated",
    }
)
_NO_MODEL = re.compile(
    r"model\b.{0,120}(?:not exist|not found|not available|not supported|unknown)"
    r"|(?:unknown|invalid|no such) model|not a valid model",
    re.IGNORECASE | re.DOTALL,
)
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "tokens": 429,
    "requests": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "api_error": 500,
    "overloaded_error": 529,
    "service_unavailable": 503,
}


def request_id(headers: Headers) -> str:
    """The provider's id of an exchange, whatever it calls the header."""
    for name in (
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-ds-trace-id",
        "x-debug-trace-id",
        "x-generation-id",
    ):
        value = headers.get(name)
        if value:
            return value[:200]
    return ""


def classify(status: int, headers: Headers, body: bytes, source: str) -> Fault:
    """The fault that a non-2xx answer tells of; never raises."""
    parsed = decode_object(body.strip())
    if parsed is None:
        # A proxy's HTML page or a bare sentence: its status is all we believe.
        inner: Mapping[str, Any] = {}
    else:
        inner = _inner(parsed)
    wait_s = retry_after_s(status, headers, parsed, server_now_s(headers))
    return _fault(status, inner, source, request_id(headers), wait_s)


def classify_event(error: Any, outer: Mapping[str, Any], source: str) -> Fault:
    """The fault of an error inside a stream of status 200."""
    inner = _inner({**outer, "error": error})
    status = _status_of(inner)
    wait_s = retry_after_s(status, {}, dict(inner), None)
    return _fault(status, inner, source, "", wait_s)


def _inner(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object that holds message, type, param and code, whatever the shape."""
    error = body.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {**body, "message": error}
    errors = body.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return errors[0]
    return body


def _status_of(inner: Mapping[str, Any]) -> int:
    """The HTTP status an in-stream error stands for: nobody sends it in one way."""
    for key in ("status_code", "status", "code", "http_status"):
        value = inner.get(key)
        if isinstance(value, str) and value.isdigit():
            value = int(value[:4])
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and 400 <= value < 600
        ):
            return value
    for key in ("type", "code"):
        known = _STATUS_OF_TYPE.get(text(inner.get(key)))
        if known is not None:
            return known
    return 500


def _fault(
    status: int,
    inner: Mapping[str, Any],
    source: str,
    exchange_id: str,
    wait_s: float | None,
) -> Fault:
    message = _message(inner) or f"{source} answered with status {status}."
    code = _code(inner)
    type_ = text(inner.get("type"))
    kind = _kind(status, code, type_, message, inner)
    if kind == "context":
        code = "context_length_exceeded"
    elif kind == "client" and code is None and status in {400, 404}:
        code = "model_not_found" if _NO_MODEL.search(message) else None
    elif kind == "throttle" and code is None:
        code = "rate_limit_exceeded"
    return Fault(
        kind=kind,
        message=message,
        status=status,
        code=code,
        type=type_ or _type_of(kind),
        param=text_or_none(inner.get("param")),
        retry_after_s=wait_s,
        source=source,
        request_id=exchange_id,
    )


def _message(inner: Mapping[str, Any]) -> str:
    message = inner.get("message") or inner.get("detail") or inner.get("msg")
    if message is None or message == "":
        return ""
    if not isinstance(message, str):
        message = encode(message).decode()
    if len(message) > MESSAGE_CHARS_MAX:
        message = message[:MESSAGE_CHARS_MAX] + "…"
    return message


def _code(inner: Mapping[str, Any]) -> str | None:
    """The code that agents branch on; a status written as code says nothing."""
    code = inner.get("code")
    if isinstance(code, str) and code and not code.isdigit():
        return code
    type_ = text(inner.get("type"))
    if isinstance(code, (int, str)) and type_ and type_ not in _STATUS_OF_TYPE:
        return type_  # Perplexity: the code is the status, the type is the code.
    return None


def _kind(
    status: int, code: str | None, type_: str, message: str, inner: Mapping[str, Any]
) -> FaultKind:
    names = {code or "", type_}
    if status in {400, 413, 422, 500} and (
        "context_length_exceeded" in names or _OVERFLOW.search(f"{code} {message}")
    ):
        return "context"
    if names & _NO_MONEY:
        return "key"
    if status == 403 and mapping(inner.get("metadata")).get("reasons"):
        return "client"  # OpenRouter: the prompt was moderated, the key is fine.
    if status in {401, 402, 403}:
        return "key"
    if status in {429, 498, 529}:
        return "throttle"
    if status in {408, 409, 424} or status >= 500:
        return "transient"
    if _BAD_KEY.search(message) or "invalid_api_key" in names:
        return "key"  # xAI answers 400 to a bad key.
    return "client"


def _type_of(kind: FaultKind) -> str:
    match kind:
        case "client" | "context":
            return "invalid_request_error"
        case "throttle":
            return "rate_limit_error"
        case "key" | "transient":
            return "upstream_error"
        case "ours":
            return "server_error"


def error_object(fault: Fault) -> dict[str, Any]:
    """OpenAI's error object for a fault that is already `public`."""
    return {
        "message": fault.message,
        "type": fault.type or _type_of(fault.kind),
        "param": fault.param,
        "code": fault.code,
    }


def render_error(fault: Fault) -> ErrorResponse:
    """The whole answer for a fault before the first byte."""
    shown = public(fault)
    headers = [("content-type", "application/json")]
    if shown.retry_after_s is not None:
        # Whole seconds, rounded up: OpenAI's client ignores 0.
        headers.append(("retry-after", str(max(1, int(-(-shown.retry_after_s // 1))))))
    if shown.kind in {"client", "context"}:
        headers.append(("x-should-retry", "false"))
    body = encode({"error": error_object(shown)})
    return ErrorResponse(shown.status, tuple(headers), body)


def error_event(fault: Fault) -> bytes:
    """The frames that end a chat or completion stream with an error.

    No `[DONE]`: it would tell the client that the answer is complete.
    """
    return encode_data(encode({"error": error_object(public(fault))}))
