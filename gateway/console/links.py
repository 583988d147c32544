"""Links that work once: how they look, and how long they work. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

SECRET_BYTES: Final = 32
LINK_MS: Final = 24 * 3600 * 1000  # Long enough to be told, too short to be lost.
WELCOME: Final = "/console/welcome"


def digest_of(secret: bytes) -> bytes:
    """What is stored of a session's or a link's secret."""
    return hashlib.sha256(secret).digest()


def link_of(secret: bytes) -> str:
    """Below the Console's address. The secret is behind the #.

    Browsers send that part to nobody, so no log and no proxy has it.
    """
    return f"{WELCOME}#{secret.hex()}"
