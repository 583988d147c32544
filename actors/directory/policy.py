"""How keys are made, rotated and judged. Pure: chance and time are arguments."""

from __future__ import annotations

import hashlib
import string
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from actors.directory.messages import SECRET_PREFIX, KeyTerms

RANDOM_BYTES: Final = 40  # 8 for the id, which is shown, and 256 bits that are not.
ID_CHARS: Final = 8  # 47 bits: among a million keys, two alike once in 400 tries.
SECRET_CHARS: Final = 43  # 256 bits in 62 signs.
CHECK_CHARS: Final = 6  # So that scanners of leaks know a key from a look-alike.
SECRETS_MAX: Final = 4  # Live ones of a key; each more is one that can leak.
OVERLAP_S_MAX: Final = 90 * 86_400  # Longer is no rotation but a second key.

_SIGNS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_id(chance: bytes) -> str:
    """A key's id, from 8 random bytes."""
    return _base62(int.from_bytes(chance[:8], "big"), ID_CHARS)


def new_secret(key_id: str, chance: bytes) -> str:
    """A secret of a key, from 32 random bytes."""
    assert len(chance) == 32
    body = f"{SECRET_PREFIX}{key_id}{_base62(int.from_bytes(chance, 'big'), 43)}"
    return body + _base62(zlib.crc32(body.encode()), CHECK_CHARS)


def is_secret(text: str) -> bool:
    """Whether this has the form of a key of ours, its check signs included."""
    body, check = text[:-CHECK_CHARS], text[-CHECK_CHARS:]
    return (
        len(text) == len(SECRET_PREFIX) + ID_CHARS + SECRET_CHARS + CHECK_CHARS
        and text.isascii()
        and text.startswith(SECRET_PREFIX)
        and _base62(zlib.crc32(body.encode()), CHECK_CHARS) == check
    )


def id_of(text: str) -> str:
    """The id in an id, a prefix, a secret, or `SITE:ID` as logs have it."""
    text = text.rpartition(":")[2]
    return text.removeprefix(SECRET_PREFIX)[:ID_CHARS]


def digest(secret: str) -> bytes:
    """What a secret is known by. It is long and random: a slow hash adds nothing."""
    return hashlib.sha256(secret.encode()).digest()


def ends_ms(expires_ms: int | None, now_ms: int, overlap_s: int) -> int:
    """When a secret that is replaced now is refused: never later than it was to be."""
    at = now_ms + overlap_s * 1000
    return at if expires_ms is None else min(at, expires_ms)


def is_live(expires_ms: int | None, now_ms: int) -> bool:
    """Whether something with this end still serves."""
    return expires_ms is None or now_ms < expires_ms


def may_ask(terms: KeyTerms, names: Sequence[str]) -> bool:
    """Whether a key may ask for a model, known by these names."""
    denied, allowed = terms.models_denied, terms.models
    if any(fnmatchcase(name, one) for name in names for one in denied):
        return False
    return not allowed or any(
        fnmatchcase(name, one) for name in names for one in allowed
    )


def _base62(number: int, chars: int) -> str:
    made: list[str] = []
    for _ in range(chars):
        number, rest = divmod(number, 62)
        made.append(_SIGNS[rest])
    return "".join(reversed(made))
