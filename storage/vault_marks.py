"""Which state of the vault's store the audit log has seen last, and what is there now.

A store that is put back to an older copy would lend keys again that were revoked since.
The vault notes each state in the log (`vault.store`: the number of commits and the
file's hash); a start compares the last note with the file. Whoever has the disk could
put both back: that is what the log's anchors and witnesses are for.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from actors.auditor.messages import AuditEvent
from actors.auditor.ports import AuditBook
from actors.vault.ports import Mark, WentBack
from storage.audit_records import newest_first
from storage.vault_files import VaultFiles, went_back

ACT: Final = "vault.store"
# A mark is noted every ten minutes; at 100 entries a second it is 60,000 back.
ENTRIES_MAX: Final = 200_000


def last_mark(book: AuditBook) -> Mark | None:
    """The newest mark in the log; None where there is none, or none near its end."""
    for fields in islice(newest_first(book), ENTRIES_MAX):
        if fields.get("act") == ACT:
            commits, digest = fields.get("commits"), fields.get("sha256")
            if isinstance(commits, int) and isinstance(digest, str):
                return Mark(commits, digest)
    return None


def check(
    book: AuditBook, store: VaultFiles, now_ms: int, *, accepted: int = -1
) -> None:
    """Raise WentBack unless the store goes on from what the log has seen.

    `accepted`: an operator put it back on purpose, to a state of so many commits. That
    is an entry of its own, and from then on the newest.
    """
    seen = last_mark(book)
    store.read()
    found = store.mark
    problem = went_back(seen, found) if seen is not None else ""
    if not problem:
        return
    if accepted == found.commits:
        detail = (("commits", found.commits), ("sha256", found.digest))
        event = AuditEvent(ACT, actor="operator", out="accepted", detail=detail)
        book.log.add(event, now_ms)
        return
    raise WentBack(
        f"{store.folder} {problem}: keys that were revoked since would be lent again. "
        f"Restore the newest copy; or, if this one is meant, start once with "
        f"--set vault.accept_commits={found.commits}"
    )
