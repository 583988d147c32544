"""Errors as OpenAI's clients read them. What a provider's error means is `wire.errors`.

Pure. Every fault goes through `dialect.public` first: a client never sees our own key's
trouble as its own.
"""

from typing import Any

from wire.dialect import ErrorResponse, public
from wire.events import Fault, FaultKind
from wire.jsontext import encode
from wire.rate_headers import retry_fields
from wire.sse import encode_data

_TYPES: dict[FaultKind, str] = {
    "client": "invalid_request_error",
    "context": "invalid_request_error",
    "key": "upstream_error",
    "throttle": "rate_limit_error",
    "transient": "upstream_error",
    "ours": "server_error",
}


def error_object(fault: Fault) -> dict[str, Any]:
    """OpenAI's error object for a fault that is already `public`."""
    return {
        "message": fault.message,
        "type": fault.type or _TYPES[fault.kind],
        "param": fault.param,
        "code": fault.code,
    }


def render_error(fault: Fault) -> ErrorResponse:
    """The whole answer for a fault before the first byte."""
    shown = public(fault)
    headers = (("content-type", "application/json"), *retry_fields(shown))
    body = encode({"error": error_object(shown)})
    return ErrorResponse(shown.status, headers, body)


def error_event(fault: Fault) -> bytes:
    """The frame that ends a chat or completion stream with an error.

    No `[DONE]` after it: that would tell the client that the answer is complete.
    """
    return encode_data(encode({"error": error_object(public(fault))}))
