"""Answers: JSON, text, and errors in OpenAI's shape where no dialect is at stake."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.http11_exchange import Send

JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode

TYPES: Final[dict[int, str]] = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    429: "requests",
}


async def reply(
    send: Send,
    status: int,
    body: bytes,
    headers: Iterable[tuple[str, str]],
) -> None:
    """One whole answer."""
    fields = [(k.encode("ascii"), v.encode("latin-1")) for k, v in headers]
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def reply_json(
    send: Send, status: int, value: Any, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """A value as JSON."""
    await reply(send, status, _encode(value), [("content-type", JSON), *headers])


def error_body(status: int, code: str, message: str) -> tuple[str, bytes]:
    """The body of an error that has no dialect: OpenAI's shape, as most clients read.

    Also what the HTTP/1.1 protocol answers malformed requests with.
    """
    kind = TYPES.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSON, _encode({"error": error})


async def reply_error(
    send: Send,
    status: int,
    code: str,
    message: str,
    headers: Iterable[tuple[str, str]] = (),
) -> None:
    """An error that has no dialect."""
    content_type, body = error_body(status, code, message)
    await reply(send, status, body, [("content-type", content_type), *headers])
