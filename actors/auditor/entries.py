"""An event as a leaf of the log: JSON with sorted keys, kept and hashed as it is. Pure.

    {"act":"key.grant","actor":"site:acme","boot":"9f…","env":"prod","out":"ok","seq":7,
     "tenant":"acme","ts":1800000000000,"v":1}

Integers only (a float reads differently in every language), empty fields left out, at
most 65,535 bytes. Also here: reading a leaf back, and which nonces it used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from actors.auditor.messages import AuditEvent
from actors.auditor.tiles import ENTRY_BYTES_MAX
from runtime import DomainError

VERSION: Final = 1
FIELD_CHARS_MAX: Final = 256  # Names and identifiers; free text has no place here.
DETAILS_MAX: Final = 16  # With all at their bounds a leaf is still under its own.
INTEGER_MAX: Final = (1 << 53) - 1  # What every JSON reader keeps exact.

_ACT: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,3}")
_TEXTS: Final = (
    "actor", "out", "tenant", "env", "provider", "name", "lease", "req", "nonce",
)  # fmt: skip
_OWN: Final = frozenset({"v", "seq", "ts", "boot", "act", "n", "ver", *_TEXTS})


class BadEvent(DomainError):
    """An event that has no place in the log. Says which field; never its value."""


def check(event: AuditEvent) -> None:
    """Raise BadEvent for what a leaf cannot hold."""
    if not _ACT.fullmatch(event.act):
        raise BadEvent("an event's act is a short dotted verb, as key.grant")
    for field in _TEXTS:
        value = getattr(event, field)
        if len(value) > FIELD_CHARS_MAX or not value.isprintable():
            raise BadEvent(
                f"{event.act}: {field} is longer than {FIELD_CHARS_MAX} "
                f"characters or not printable"
            )
    if len(event.detail) > DETAILS_MAX:
        raise BadEvent(f"{event.act}: more than {DETAILS_MAX} details")
    for name, value in event.detail:
        if name in _OWN or not 0 < len(name) <= FIELD_CHARS_MAX:
            raise BadEvent(f"{event.act}: a detail is named as a field, or too long")
        if isinstance(value, str):
            fits = len(value) <= FIELD_CHARS_MAX and value.isprintable()
        else:
            fits = type(value) is int and abs(value) <= INTEGER_MAX
        if not fits:
            raise BadEvent(f"{event.act}: detail {name} is no short text or integer")
    if not 0 <= event.ver <= INTEGER_MAX:
        raise BadEvent(f"{event.act}: ver is no version")


def leaf(
    event: AuditEvent, *, seq: int, ts_ms: int, boot: str, count: int = 1
) -> bytes:
    """The bytes of an event's leaf. The event has been checked."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "seq": seq,
        "ts": ts_ms,
        "boot": boot,
        "act": event.act,
    }
    for field in _TEXTS:
        if value := getattr(event, field):
            fields[field] = value
    if event.ver:
        fields["ver"] = event.ver
    if count > 1:
        fields["n"] = count
    fields.update(event.detail)
    data = msgspec.json.encode(fields, order="sorted")
    assert len(data) <= ENTRY_BYTES_MAX, "checked events fit"
    return data


def read(data: bytes) -> dict[str, str | int]:
    """A leaf's fields. Raises ValueError: it is none of ours."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, str | int])
    except msgspec.MsgspecError:
        raise ValueError(
            "an entry is a flat JSON object of texts and integers"
        ) from None
    if msgspec.json.encode(fields, order="sorted") != data:
        raise ValueError("an entry has sorted keys and no spaces")
    for name in ("v", "seq", "ts"):
        if type(fields.get(name)) is not int:
            raise ValueError(f"an entry has an integer {name}")
    return fields


def nonces(leaves: Iterable[bytes], since_ms: int) -> list[tuple[str, int]]:
    """The nonces of signed requests since a time, with theirs: none may come again."""
    found: list[tuple[str, int]] = []
    for data in leaves:
        fields = read(data)
        nonce, ts_ms = fields.get("nonce"), fields["ts"]
        if isinstance(nonce, str) and isinstance(ts_ms, int) and ts_ms >= since_ms:
            found.append((nonce, ts_ms))
    return found
