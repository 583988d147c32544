"""What the herald is to tell: from the ledger's alerts, and from what nobody tells.

Owns: which occasion is which, so that several processes (and several looks) tell one
thing once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from actors.archivist.messages import ReportArchive
from actors.auditor import anchoring
from actors.directory.messages import DirectoryDown, KeyFacts
from actors.directory.ports import Directory
from actors.herald.messages import AlertKind, Raise
from actors.ledger.messages import Alert
from gateway.settings.config import Config
from runtime import AskError

if TYPE_CHECKING:
    from gateway.gate import Gate

DAY_MS: Final = 86_400_000
LAST_DAYS: Final = (3, 1)  # A second and a third reminder.
LOOK_AT_KEYS_MS: Final = 600_000  # Every ten minutes: an end comes by the day.

MONEY: Final[dict[str, AlertKind]] = {
    "soft": "cap.soft",
    "degrade": "cap.degrade",
    "hard": "cap.hard",
    "overrun": "spend.overrun",
}


def of_money(alert: Alert, config: Config) -> Raise:
    """A ledger's alert. The ledger tells each once a window, each process for itself.

    It is about a site, or a key of one: then its tenant should know too.
    """
    site = alert.subject.partition(":")[0]
    tenant = next(
        (config.home_of(one)[0] for one in config.sites if one.name == site), ""
    )
    return Raise(
        kind=MONEY[alert.kind],
        subject=alert.cap or alert.subject,
        message=alert.message,
        tenant=tenant,
        detail=(("about", alert.subject), ("nanousd", alert.nanousd)),
    )


def of_key(key: KeyFacts, tenant: str, now_ms: int, days: int) -> Raise | None:
    """A key whose end is near, at the reminder that is due."""
    ends_ms = key.terms.expires_ms
    if ends_ms is None or key.revoked_ms is not None or ends_ms <= now_ms:
        return None
    left_ms = ends_ms - now_ms
    due = [one for one in (days, *LAST_DAYS) if left_ms <= one * DAY_MS]
    if not due:
        return None
    left = max(1, -(-left_ms // DAY_MS))
    return Raise(
        kind="key.expiring",
        subject=key.key_id,
        message=f"key {key.key_id} expires in {left} day{'s' if left > 1 else ''}; "
        "rotate it, or give it a later end",
        tenant=tenant,
        detail=(("expires_ms", ends_ms),),
        dedupe=f"{ends_ms}/{min(due)}",
    )


class Watcher:
    """Looks every now and then. A herald's `Watch`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._keys_at_ms = 0

    def __repr__(self) -> str:
        return "<Watcher>"

    async def __call__(self) -> Sequence[Raise]:
        """All that is to be told now; the herald knows what it has told."""
        found = [*self._of_log(), *await self._of_records()]
        now_ms = int(self._gate.wall() * 1000)
        directory = getattr(self._gate, "directory", None)
        if directory is not None and now_ms - self._keys_at_ms >= LOOK_AT_KEYS_MS:
            self._keys_at_ms = now_ms
            found += await self._of_keys(directory, now_ms)
        return found

    def _of_log(self) -> list[Raise]:
        book = self._gate.book
        if book is None:
            return []
        anchors = book.anchoring
        late_s = anchoring.late_s(anchors, book.log.published, trio.current_time())
        if book.disowned:
            what = f"a witness or an anchor refuses the audit log: {book.disowned}"
        elif trouble := book.trouble or book.publish_trouble or book.journal_trouble:
            what = f"the audit log cannot be written: {trouble}"
        elif late_s and anchors is not None:
            what = (
                f"the audit log's anchor is late, by {late_s:,.0f} s: {anchors.trouble}"
            )
        else:
            return []
        return [Raise("audit.trouble", book.log.origin, what)]

    async def _of_records(self) -> list[Raise]:
        archivist = self._gate.lookup("archivist")
        if archivist is None:
            return []
        try:
            report = await archivist.ask(ReportArchive())
        except AskError:
            return []
        if not report.trouble:
            return []
        return [
            Raise(
                "records.trouble",
                "records",
                f"the database takes no records: {report.trouble}",
            )
        ]

    async def _of_keys(self, directory: Directory, now_ms: int) -> list[Raise]:
        days = self._gate.config.alerts.key_expiry_days
        homes = {
            site.name: self._gate.config.home_of(site)[0]
            for site in self._gate.config.sites
        }
        found: list[Raise] = []
        after = ""
        while True:
            try:
                page = await directory.list_keys(after=after, limit=500)
            except DirectoryDown:
                return found
            for key in page.items:
                told = of_key(key, homes.get(key.site, ""), now_ms, days)
                if told is not None:
                    found.append(told)
            after = page.next
            if not after:
                return found
