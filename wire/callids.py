"""Tool call ids of one provider in the alphabet of another. Pure.

An id that fits stays as it is. One that does not is replaced by a digest of itself, so
that a call and its result, and the same call in every later turn, keep agreeing
without anybody remembering a mapping.
"""

import hashlib
import re
from typing import Final

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def fit_id(call_id: str, allowed: re.Pattern[str], chars: int, prefix: str = "") -> str:
    """`call_id`, or `chars` letters and digits that stand for it after `prefix`."""
    if allowed.fullmatch(call_id):
        return call_id
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest())
    letters: list[str] = []
    for _ in range(chars):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return prefix + "".join(letters)
