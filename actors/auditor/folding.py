"""Refusals in bulk, as one entry. Pure: time is an argument.

Somebody who guesses keys must not fill the disk, nor hide among a million lines: of
alike refusals the first is written at once, those of the next `FOLD_S` are counted and
written as one entry with their number.
"""

from __future__ import annotations

from typing import Final

import msgspec

from actors.auditor.messages import AuditEvent

FOLD_S: Final = 10.0  # A minute has at most seven entries of one kind of refusal.
KINDS_MAX: Final = 1024  # Distinct refusals counted at a time; the rest count as one.

Key = tuple[str, ...]


class Folding:
    """The refusals that are being counted."""

    __slots__ = ("_counts", "_until", "folded")

    def __init__(self) -> None:
        self._counts: dict[Key, tuple[AuditEvent, int]] = {}
        self._until: dict[Key, float] = {}
        self.folded = 0

    def __repr__(self) -> str:
        return f"<Folding kinds={len(self._counts)} folded={self.folded}>"

    def admit(self, event: AuditEvent, now_s: float) -> bool:
        """Whether to write this refusal by itself; else it is counted."""
        key = _key(event)
        if key not in self._until:
            if len(self._until) < KINDS_MAX:
                self._until[key] = now_s + FOLD_S
                return True
            event = AuditEvent(act=event.act, out="denied", name="*")
            key = _key(event)
            self._until.setdefault(key, now_s + FOLD_S)
        kept, count = self._counts.get(key, (_common(event), 0))
        self._counts[key] = (kept, count + 1)
        self.folded += 1
        return False

    def due_s(self) -> float | None:
        """When the next count is due; None when nothing is being counted."""
        return min(self._until.values(), default=None)

    def due(
        self, now_s: float, *, everything: bool = False
    ) -> list[tuple[AuditEvent, int]]:
        """The counts whose time is up, to be written."""
        ended = [key for key, at in self._until.items() if everything or at <= now_s]
        found: list[tuple[AuditEvent, int]] = []
        for key in ended:
            del self._until[key]
            if key in self._counts:
                found.append(self._counts.pop(key))
                if not everything:  # It goes on: so does the counting.
                    self._until[key] = now_s + FOLD_S
        return found


def _key(event: AuditEvent) -> Key:
    return (
        event.act, event.actor, event.out, event.tenant, event.env, event.provider,
        event.name,
    )  # fmt: skip


def _common(event: AuditEvent) -> AuditEvent:
    """What alike refusals share."""
    return msgspec.structs.replace(event, req="", nonce="", lease="", detail=(), ver=0)
