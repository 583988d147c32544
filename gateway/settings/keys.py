"""Site keys as the gateway holds them: a digest and a prefix to tell them apart.

Owns: `SiteKey`.
Never: keeps the key itself. A site key is random and long, so SHA-256 is enough (a
slow hash is for passwords, and this one is computed for every request).
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs

PREFIX_CHARS: Final = 6  # "sk-acm…" tells two keys apart and opens nothing.
KEY_CHARS_MIN: Final = 10  # Shorter is guessed, and half of it would be shown.
KEY_CHARS_MAX: Final = 512  # A header line must still hold it.


@attrs.frozen(repr=False)
class SiteKey:
    """What a client must present; compares by digest, prints its first characters."""

    digest: bytes
    prefix: str = attrs.field(eq=False)

    @classmethod
    def of(cls, text: str) -> SiteKey:
        """The key that `text` is; `text` itself is not kept."""
        shown = min(PREFIX_CHARS, len(text) // 2)
        return cls(digest(text), text[:shown])

    def __repr__(self) -> str:
        return f"SiteKey({self.prefix}…)"

    __str__ = __repr__


def digest(text: str) -> bytes:
    """The digest by which a presented key is looked up."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
