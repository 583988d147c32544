"""Which pages may read an answer: CORS, for the origins that keys allow.

Owns: preflights and the fields of CORS. Credentials are never allowed: there are no
cookies here, and a key travels in a header. The origin is told by name, never as `*`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from gateway.http.replies import reply_error
from gateway.http.request import Request
from gateway.settings.origins import Origins

MAX_AGE_S: Final = 7200  # As long as Chromium believes a preflight.
METHODS: Final = "GET, POST, DELETE, OPTIONS"
# What SDKs and our own clients send; a preflight names what it wants, and gets of it
# what a header name may be: there is none that a page must not send here.
HEADERS_CHARS_MAX: Final = 4096
EXPOSED: Final = (
    "x-request-id, request-id, retry-after, retry-after-ms, x-stagedoor-attempts, "
    "x-stagedoor-buffered, x-stagedoor-cost, x-stagedoor-count, x-stagedoor-degraded, "
    "x-stagedoor-replayed, x-stagedoor-route"
)
FOREIGN: Final = (
    "Pages of this origin may not call here. Add it to the allowed_origins of the "
    "key's site."
)


def origin_of(request: Request) -> str | None:
    """The Origin field, None where there is none: no page has sent this."""
    raw = request.marks.get(b"origin")
    return None if raw is None else raw.decode("latin-1")


def is_preflight(request: Request) -> bool:
    """Whether a browser asks before it sends."""
    return (
        request.method == "OPTIONS"
        and request.field(b"access-control-request-method") is not None
    )


async def preflight(request: Request, origin: str, origins: Origins) -> None:
    """Answer it. A preflight has no key: an origin that any key allows may go on."""
    if not origins.allow(origin):
        await reply_error(
            request.send, 403, "origin_not_allowed", FOREIGN, [("vary", "Origin")]
        )
        return
    fields = [
        ("access-control-allow-origin", origin),
        ("access-control-allow-methods", METHODS),
        ("access-control-max-age", str(MAX_AGE_S)),
        ("vary", "Origin, Access-Control-Request-Headers"),
    ]
    wanted = request.field(b"access-control-request-headers")
    if wanted and len(wanted) <= HEADERS_CHARS_MAX:
        fields.append(("access-control-allow-headers", wanted.decode("latin-1")))
    if request.field(b"access-control-request-private-network") == b"true":
        # A public page may reach a gateway in a private network, if it is allowed.
        fields.append(("access-control-allow-private-network", "true"))
    head = [(k.encode("ascii"), v.encode("latin-1")) for k, v in fields]
    await request.send({"type": "http.response.start", "status": 204, "headers": head})
    await request.send({"type": "http.response.body", "body": b""})


def let_read(request: Request, origin: str) -> None:
    """Add the fields to the answer, if `readable` still stands when it begins."""
    send = request.send
    allowed = origin.encode("latin-1")
    request.readable = True

    async def with_fields(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            fields = [*message["headers"], (b"vary", b"Origin")]
            if request.readable:
                fields.append((b"access-control-allow-origin", allowed))
                fields.append((b"access-control-expose-headers", EXPOSED.encode()))
            message["headers"] = fields
        await send(message)

    request.send = with_fields
