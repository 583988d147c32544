"""Who gets one JSON body although it asked for a stream: and why.

Owns: the three reasons, and what the request then looks like. It is the same request in
every other way: one call, one hold, one record. The answer's `x-stagedoor-buffered`
names the reason, so that whoever expected a stream can see why there is none.

    client-too-old   a WordPress plugin before 1.7, whose relay may not flush
    requested        the client says `x-stagedoor-buffered: 1`: a proxy buffers
    site             the site's setting says so for all of its requests

`x-stagedoor-buffered: 0` asks for a stream where the site's setting says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from actors.stream.messages import Inquiry
from gateway.access import Access
from wire.dialect import ClientDialect
from wire.gemini import GeminiClient, Route
from wire.jsontext import decode_fields

Reason = Literal["client-too-old", "requested", "site"]

HEADER: Final = "x-stagedoor-buffered"
WISH: Final = b"x-stagedoor-buffered"
CLIENT: Final = b"x-stagedoor-client"
AGENT: Final = b"user-agent"
# What a request's own header says of it; of a socket's handshake it means nothing.
FIELDS: Final = frozenset({WISH, CLIENT, AGENT})
PLUGIN_MIN: Final = (1, 7)  # The first whose relay and page notice a buffering host.

_PLUGIN: Final = re.compile(
    rb"(?:wordpress-plugin|stagedoor-wordpress)/([0-9]{1,4})(?:\.([0-9]{1,4}))?",
    re.IGNORECASE,
)
_STREAMING: Final = frozenset({"stream", "stream_options"})


def reason_of(marks: Mapping[bytes, bytes], access: Access) -> Reason | None:
    """Why this one may not have its stream; None: it may."""
    version = _plugin(marks)
    if version is not None and version < PLUGIN_MIN:
        return "client-too-old"
    wish = marks.get(WISH)
    if wish is not None:
        return "requested" if wish.strip().lower() in {b"1", b"true"} else None
    return "site" if access.buffered else None


def unstreamed(inquiry: Inquiry) -> Inquiry:
    """The same request for a whole answer. Raises ClientError."""
    dialect: ClientDialect = inquiry.dialect
    body = inquiry.body
    if isinstance(dialect, GeminiClient):
        dialect = GeminiClient(Route(dialect.route.model, "generateContent"))
    else:
        fields = decode_fields(body)
        for name in _STREAMING:
            fields.pop(name, None)
        body = msgspec.json.encode(fields)
    return msgspec.structs.replace(
        inquiry,
        dialect=dialect,
        body=body,
        head=dialect.read_head(body, inquiry.headers),
    )


def _plugin(marks: Mapping[bytes, bytes]) -> tuple[int, int] | None:
    """The version of the WordPress plugin that calls, if it is one."""
    told = marks.get(CLIENT)
    match = _PLUGIN.search(told) if told is not None else None
    if match is None:
        agent = marks.get(AGENT)
        # Every client has one; few are a plugin of ours.
        if agent is not None and b"Stagedoor-WordPress/" in agent:
            match = _PLUGIN.search(agent)
    return None if match is None else (int(match[1]), int(match[2] or 0))
