"""Which state of the store the audit log has been told last. Pure.

A start compares the log's newest mark with the store, so each new state is noted, and
the same one again now and then.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.auditor.messages import AuditEvent
from actors.vault.ports import Mark

ACT: Final = "vault.store"
MARK_S: Final = 600.0  # So that a start finds the last mark near the log's end.


@attrs.define
class Marks:
    """The last mark, and when it was noted."""

    last: Mark | None = None
    out: str = ""
    at_s: float = 0.0

    def due(self, now_s: float) -> bool:
        """Whether the state is to be noted once more; the next event then is."""
        if now_s < self.at_s + MARK_S:
            return False
        self.last = None
        return True

    def event(self, mark: Mark, out: str, now_s: float) -> AuditEvent | None:
        """What the log is to be told of a state; nothing of one that it knows."""
        if not mark.digest or (mark == self.last and out == self.out):
            return None
        self.last, self.out, self.at_s = mark, out, now_s
        detail = (("commits", mark.commits), ("sha256", mark.digest))
        return AuditEvent(ACT, out=out, detail=detail)
