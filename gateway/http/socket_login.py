"""Who opens a WebSocket, and from which page: what its handshake says. Pure.

A browser sends no header of its own with a WebSocket, so the key travels among the
subprotocols, as OpenAI's clients do it (`openai-insecure-api-key.KEY`). It is never
chosen, so it never comes back in the answer, and it is taken out of what is passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from gateway.settings.origins import Origins

KEY_PROTOCOLS: Final = ("openai-insecure-api-key.", "stagedoor-key.")
# What says who somebody is, or what they ask us to be at somebody else's: never chosen.
GRANT_PROTOCOL: Final = "stagedoor-grant."
UNSPOKEN: Final = (
    *KEY_PROTOCOLS,
    GRANT_PROTOCOL,
    "openai-organization.",
    "openai-project.",
)
NO_PROTOCOL: Final = (
    "Offer a subprotocol beside the one that holds the key, such as `realtime`: a "
    "browser closes a socket whose server chose none."
)
FOREIGN: Final = (
    "Pages of this origin may not open a WebSocket here. Add it to the allowed_origins "
    "of the key's site."
)
# Of the handshake alone, or of one request and not of all that follow on the socket.
HANDSHAKE_FIELDS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"idempotency-key",
        b"last-event-id",
        b"upgrade",
    }
)


class Login(Struct, frozen=True):
    """What a handshake amounts to.

    Args:
        headers: its fields, with a key of the subprotocols where clients without a
            browser have it.
        subprotocol: the one to speak; None where none was offered.
        refused: why this cannot go on, "" where it can.
        grant: the token of a stream grant, which is redeemed by this socket.
    """

    headers: list[tuple[bytes, bytes]]
    subprotocol: str | None = None
    refused: str = ""
    grant: str = ""

    def __repr__(self) -> str:
        """Without the fields: they hold a key."""
        return f"<Login {self.subprotocol!r} {self.refused!r}>"


def login(headers: Iterable[tuple[bytes, bytes]], offered: Sequence[str]) -> Login:
    """Read a handshake."""
    kept = [
        (name, value)
        for name, value in headers
        if name not in HANDSHAKE_FIELDS and not name.startswith(b"sec-websocket-")
    ]
    names = {name for name, _ in kept}
    key = next((told for told in map(_key, offered) if told), "")
    if key and b"authorization" not in names:
        kept.append((b"authorization", b"Bearer " + key.encode("latin-1", "replace")))
    chosen = next((one for one in offered if not one.startswith(UNSPOKEN)), None)
    refused = NO_PROTOCOL if offered and chosen is None else ""
    grant = next((told for told in map(_grant, offered) if told), "")
    return Login(kept, chosen, refused, grant)


def _key(protocol: str) -> str:
    for prefix in KEY_PROTOCOLS:
        if protocol.startswith(prefix):
            return protocol[len(prefix) :]
    return ""


def _grant(protocol: str) -> str:
    found = protocol.startswith(GRANT_PROTOCOL)
    return protocol[len(GRANT_PROTOCOL) :] if found else ""


def may_open(headers: Iterable[tuple[bytes, bytes]], origins: Origins) -> bool:
    """Whether the page that opens it may; without a page, everybody who has a key."""
    fields = dict(headers)
    origin = fields.get(b"origin", b"")
    if not origin or same_origin(origin, fields.get(b"host", b"")):
        return True  # No browser, or a page of our own.
    return origins.allow(origin.decode("latin-1"))


def same_origin(origin: bytes, host: bytes) -> bool:
    """Whether a page is the gateway's own: its origin's host and port are ours."""
    return bool(host) and origin.partition(b"://")[2].lower() == host.lower()
