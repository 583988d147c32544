"""What the deltas of one stream have in common: all but their text. Sans-io.

A server writes the same JSON again and again, with other characters in one string. Once
such an event was decoded, one of the same prefix and suffix, with nothing between them
but plain characters of a string, can only differ in that string: it need not be decoded
to be known. Anything else does not fit, and is decoded.
"""

import re
from typing import Final

# Inside a JSON string these stand for themselves, one byte a character.
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]+").fullmatch


class Mould:
    """One event without its text, as it comes and as it is relayed."""

    __slots__ = ("_prefix", "_size", "_suffix", "_told_prefix", "_told_suffix")

    def __init__(self, prefix: bytes, suffix: bytes, told: tuple[bytes, bytes]) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._size = len(prefix) + len(suffix)
        self._told_prefix, self._told_suffix = told

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<Mould of {len(self._prefix)} and {len(self._suffix)} bytes>"

    def chars(self, event: bytes) -> int:
        """How many characters of text the event has; 0: it does not fit."""
        prefix, suffix = self._prefix, self._suffix
        chars = len(event) - self._size
        if chars <= 0 or not event.startswith(prefix) or not event.endswith(suffix):
            return 0
        plain = _PLAIN(event, len(prefix), len(event) - len(suffix))
        return 0 if plain is None else chars

    def told(self, event: bytes) -> bytes:
        """The event that fits as it is relayed: the same object when unchanged."""
        prefix, suffix = self._prefix, self._suffix
        if self._told_prefix is prefix and self._told_suffix is suffix:
            return event
        text = event[len(prefix) : len(event) - len(suffix)]
        return b"".join((self._told_prefix, text, self._told_suffix))


def mould_of(event: bytes, key: bytes, text: str, told: bytes) -> Mould | None:
    """Of an event that was decoded, whose string at `key` is `text`; None without one.

    `told` is the event as it is relayed.
    """
    plain = text.encode("utf-8", "replace")
    name = b'"%b"' % key
    at = event.find(name)
    # Inside a string its quotes would be escaped: this is a field, and the only one.
    if at < 0 or _PLAIN(plain) is None or event.count(name) != 1:
        return None
    start = event.find(b'"', at + len(name)) + 1
    if event[at + len(name) : start].strip() not in (b':"', b': "'):
        return None
    end = start + len(plain)
    if event[start:end] != plain or event[end : end + 1] != b'"':
        return None
    prefix, suffix = event[:start], event[end:]
    if told is event:
        return Mould(prefix, suffix, (prefix, suffix))
    # What was changed stands in front of the text, or behind it.
    cut = len(told) - len(plain) - len(suffix)
    for own in ((told[:cut], suffix), (prefix, told[end:])):
        if plain.join(own) == told:
            return Mould(prefix, suffix, own)
    return None
