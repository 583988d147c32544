"""What the herald can be asked and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct

from runtime import ControlTell, Request

if TYPE_CHECKING:
    from actors.herald.actor import Herald

AlertKind = Literal[
    "cap.soft", "cap.degrade", "cap.hard", "spend.overrun", "provider.down",
    "provider.up", "key.expiring", "audit.trouble", "records.trouble", "test",
]  # fmt: skip
"""What there is to tell.

- cap.soft, cap.degrade, cap.hard: a cap was reached (hard: it has refused somebody).
- spend.overrun: a call cost more than was held for it.
- provider.down, provider.up: its breaker opened; it works again.
- key.expiring: an API key will not serve much longer.
- audit.trouble: the audit log cannot be written, its anchor is late, or a witness or
  an anchor refuses it.
- records.trouble: the database takes no records; the journal keeps them.
- test: somebody pressed the button.
"""
KINDS: tuple[AlertKind, ...] = get_args(AlertKind)


class Raise(ControlTell["Herald"], frozen=True):
    """Somebody should know. Raised again with the same `dedupe`, it is told once.

    Attributes:
        subject: what it is about: a cap, a provider, a key's id.
        tenant: whose it is; empty for the operator's.
        dedupe: names this occasion. The kind and the hour are added where it is empty.
    """

    kind: AlertKind
    subject: str
    message: str
    tenant: str = ""
    detail: tuple[tuple[str, str | int], ...] = ()
    dedupe: str = ""


class Due(ControlTell["Herald"], frozen=True):
    """There may be something to deliver: a delivery was queued by hand."""


class ReportHerald(Request["Herald", "HeraldReport"], frozen=True):
    """How it stands."""


class HeraldReport(Struct, frozen=True):
    """The herald, for operators."""

    waiting: int
    """Alerts that are not in the database yet."""
    dropped: int
    """Alerts that found no room while it was gone; the log has a line of each."""
    delivered: int
    failed: int
    trouble: str
