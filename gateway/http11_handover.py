"""What a request may upgrade to, and the head that the next protocol reads. Pure.

A proxy that passes `Upgrade` on, and we, must never read a request differently: that is
how requests are smuggled past it. So an upgrade is taken whole or not at all:

    taken     one protocol is asked for, and the connection is asked for it as well
    refused   a WebSocket handshake that is none: its answer is an HTTP error, and
              nothing else is read on the connection
    ignored   anything else (RFC 9110 section 7.8): an ordinary request, with its body

The head is written anew, with one `Connection` field that says what was decided.
hypercorn, which decides again from it, can then decide nothing else.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Sequence
from typing import Final, Literal

Upgrade = Literal["", "websocket", "h2"]
Fields = Sequence[tuple[bytes, bytes]]

WEBSOCKET_VERSION: Final = b"13"  # RFC 6455; there is no other.
_WEBSOCKET_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch  # 16 bytes.
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*").fullmatch
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
# Through a proxy that looks at paths, h2c is a tunnel in which it sees none. One that
# speaks it to us does so from its first byte, or after ALPN.
_PROXIED: Final = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip"}
)
_SETTING_BYTES: Final = 6
_SETTINGS_BYTES_MAX: Final = 1_024


class NoHandshake(Exception):
    """A WebSocket handshake that is none: with which status it is refused, and why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message


def upgrade_of(method: str, fields: Fields, *, http_1_0: bool, early: bool) -> Upgrade:
    """What to hand over to; "" for an ordinary request.

    `early`: bytes came right behind the head. The rule for a body is hypercorn's, and
    curl's and Java's clients live with it: they send their first POST with `Upgrade:
    h2c` and take the HTTP/1.1 answer. Raises NoHandshake.
    """
    asked = _all(fields, b"upgrade")
    if http_1_0 or len(asked) != 1 or any(name in _FRAMING for name, _ in fields):
        return ""
    protocol = asked[0].lower()
    if protocol == b"websocket" and method == "GET":
        _check_websocket(fields, early=early)
        return "websocket"
    return "h2" if protocol == b"h2c" and _is_h2c(fields) else ""


def head_for(upgrade: Upgrade, method: str, target: bytes, fields: Fields) -> bytes:
    """The head for who takes over."""
    tokens = b"upgrade" if upgrade == "websocket" else b"upgrade, http2-settings"
    kept = [field for field in fields if field[0] != b"connection"]
    return head_of(method, target, (*kept, (b"connection", tokens)))


def head_of(
    method: str,
    target: bytes,
    fields: Iterable[tuple[bytes, bytes]],
    version: str = "1.1",
) -> bytes:
    """A head as bytes, from what was accepted of it."""
    lines = [b"%b %b HTTP/%b" % (method.encode(), target, version.encode())]
    lines += [b"%b: %b" % field for field in fields]
    lines += [b"", b""]
    return b"\r\n".join(lines)


def _check_websocket(fields: Fields, *, early: bool) -> None:
    if _all(fields, b"sec-websocket-version") != [WEBSOCKET_VERSION]:
        raise NoHandshake(
            426, "websocket_version", "WebSockets are spoken in version 13 alone"
        )
    keys = _all(fields, b"sec-websocket-key")
    if len(keys) != 1 or _WEBSOCKET_KEY(keys[0]) is None:
        raise NoHandshake(
            400, "bad_handshake", "Sec-WebSocket-Key must be 16 bytes in base64, once"
        )
    for name, value in fields:
        if name.startswith(b"sec-websocket-") and not value.isascii():
            raise NoHandshake(
                400, "bad_handshake", "a Sec-WebSocket field has bytes beyond ASCII"
            )
    if early:
        raise NoHandshake(
            400, "bad_handshake", "bytes came before the handshake was answered"
        )


def _is_h2c(fields: Fields) -> bool:
    if any(name in _PROXIED for name, _ in fields):
        return False
    tokens = b",".join(_all(fields, b"connection")).lower().split(b",")
    if b"http2-settings" not in [token.strip() for token in tokens]:
        return False
    settings = _all(fields, b"http2-settings")
    return len(settings) == 1 and _are_settings(settings[0])


def _are_settings(text: bytes) -> bool:
    if (
        len(text) > _SETTINGS_BYTES_MAX
        or re.fullmatch(rb"[A-Za-z0-9_-]*", text) is None
    ):
        return False
    try:
        payload = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        return False
    return len(payload) % _SETTING_BYTES == 0


def _all(fields: Fields, name: bytes) -> list[bytes]:
    return [value for known, value in fields if known == name]
