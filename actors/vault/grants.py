"""Grants, and what was done under them. Pure: time is an argument.

A grant says that a principal may borrow one key for one route, for minutes. Its audit
event is durable before the first lease under it; the leases themselves are counted here
and recorded in batches, one event a grant and batch, so that the normal request waits
for no disk.
"""

from __future__ import annotations

from typing import Final

import attrs
from msgspec import Struct

from actors.auditor.messages import AuditEvent
from actors.vault.messages import KeyScope

GRANT_S: Final = 300.0  # Minutes: long enough to spare the disk, short to be revoked.
GRANTS_MAX: Final = 65_536  # Sites times routes; 200 bytes each.
REFUSALS_MAX: Final = 1024  # Kinds of refusals counted apart in one batch.
TALLY_S: Final = 0.1  # Uses are in the log this long after they happened.

ENDS: Final = ("spent", "expired", "revoked", "abandoned")


class GrantKey(Struct, frozen=True):
    """What a grant is for."""

    site: str
    scope: KeyScope
    route: str

    @property
    def principal(self) -> str:
        """Who borrows."""
        return f"site:{self.site}"


@attrs.define
class Grant:
    """A grant that is in the log, and what was done under it since the last batch."""

    key: GrantKey
    ttl_s: int
    uses: int
    expires_at: float
    rule: str
    version: int = 0
    leases: int = 0
    first: str = ""
    last: str = ""
    ends: dict[str, int] = attrs.field(factory=dict[str, int])

    def lent(self, lease: str, version: int) -> None:
        """One more lease."""
        self.version = version
        self.leases += 1
        self.first = self.first or lease
        self.last = lease

    def ended(self, why: str) -> None:
        """One lease less."""
        end = why if why in ENDS else "abandoned"
        self.ends[end] = self.ends.get(end, 0) + 1

    def take_tally(self) -> AuditEvent | None:
        """The batch's event, and begin anew."""
        if not self.leases and not self.ends:
            return None
        detail: list[tuple[str, str | int]] = [("leases", self.leases)]
        if self.leases:
            detail += [("first", self.first), ("last", self.last)]
        detail += sorted(self.ends.items())
        made = event("key.use", self.key, version=self.version, detail=tuple(detail))
        self.leases, self.first, self.last = 0, "", ""
        self.ends = {}
        return made


def event(
    act: str,
    key: GrantKey,
    *,
    out: str = "ok",
    version: int = 0,
    lease: str = "",
    request: str = "",
    detail: tuple[tuple[str, str | int], ...] = (),
) -> AuditEvent:
    """An event about a key and who borrows it."""
    scope = key.scope
    return AuditEvent(
        act=act,
        actor=key.principal,
        out=out,
        tenant=scope.tenant,
        env=scope.environment,
        provider=scope.provider,
        name=scope.name,
        ver=version,
        lease=lease,
        req=request,
        detail=(("route", key.route), *detail),
    )


class Book:
    """All grants, and the refusals of this batch."""

    def __init__(self) -> None:
        self._grants: dict[GrantKey, Grant] = {}
        self._touched: dict[int, Grant] = {}
        self._refusals: dict[tuple[GrantKey, str], int] = {}

    def __repr__(self) -> str:
        return f"<Book grants={len(self._grants)}>"

    def __len__(self) -> int:
        return len(self._grants)

    def get(self, key: GrantKey, now: float) -> Grant | None:
        """A grant that still holds."""
        grant = self._grants.get(key)
        if grant is None or now >= grant.expires_at:
            return None
        return grant

    def add(self, grant: Grant, now: float) -> None:
        """Keep a grant that is in the log. The oldest go when there are too many."""
        if len(self._grants) >= GRANTS_MAX:
            self._grants = {k: g for k, g in self._grants.items() if now < g.expires_at}
            while len(self._grants) >= GRANTS_MAX:
                del self._grants[next(iter(self._grants))]
        self._grants[grant.key] = grant

    def touch(self, grant: Grant) -> bool:
        """Something happened under it; true when that is the batch's first."""
        first = not self._touched and not self._refusals
        self._touched[id(grant)] = grant
        return first

    def refuse(self, key: GrantKey, why: str) -> bool:
        """Count a refusal: a flood of them is one event a batch."""
        first = not self._touched and not self._refusals
        place = (key, why)
        if place in self._refusals or len(self._refusals) < REFUSALS_MAX:
            self._refusals[place] = self._refusals.get(place, 0) + 1
        return first

    def revoke(self, scope: KeyScope | None = None) -> None:
        """End the grants of a key, or all of them."""
        self._grants = {
            key: grant
            for key, grant in self._grants.items()
            if scope is not None and key.scope != scope
        }

    def take_batch(self) -> tuple[AuditEvent, ...]:
        """The events of what happened since the last batch."""
        tallies = [grant.take_tally() for grant in self._touched.values()]
        refusals = [
            event("key.refuse", key, out=why, detail=(("times", times),))
            for (key, why), times in self._refusals.items()
        ]
        self._touched = {}
        self._refusals = {}
        return (*(one for one in tallies if one is not None), *refusals)
