"""Faults as an Anthropic client reads them, before and after the first byte. Pure."""

from typing import Final

from wire.anthropic_encode import JSON, frame
from wire.anthropic_schema import ERROR_STATUSES
from wire.dialect import ErrorResponse, public
from wire.events import Fault
from wire.jsontext import encode
from wire.rate_headers import retry_fields

_TYPES: Final[dict[int, str]] = {
    status: kind for kind, status in ERROR_STATUSES.items()
}

OVERFLOW: Final = "prompt is too long"
"""What agents look for in the message to know that they must compact."""


def error_json(fault: Fault) -> tuple[int, JSON]:
    """Status and body of an error, for a client to see."""
    seen = public(fault)
    status = seen.status
    if seen.kind == "throttle" and status not in {429, 529}:
        status = 529
    kind = _TYPES.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "api_error"
    message = seen.message
    if seen.kind == "context" and OVERFLOW not in message.lower():
        message = f"{OVERFLOW}: {message}"
    error: JSON = {"type": kind, "message": message}
    if seen.code is not None:
        error["details"] = {"error_code": seen.code}
    body: JSON = {"type": "error", "error": error}
    if seen.request_id:
        body["request_id"] = seen.request_id
    return status, body


def render_error(fault: Fault) -> ErrorResponse:
    """An error before the first byte."""
    status, body = error_json(fault)
    headers = (("content-type", "application/json"), *retry_fields(public(fault)))
    return ErrorResponse(status, headers, encode(body))


def error_event(fault: Fault) -> bytes:
    """An error after the first byte; the stream ends with it."""
    _, body = error_json(fault)
    return frame("error", {name: body[name] for name in body if name != "type"})
