"""Lending: grants first, then leases under them; what waits, waits side by side.

Owns: the leases that are out, the grants, and what was done under them. The vault's
actor owns its life; this is what the actor does when it is asked for a key. Nothing
here awaits on the way of a lease whose grant and KEK are there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import msgspec

from actors.auditor.messages import AuditEvent, AuditUnavailable
from actors.vault.cell import VaultCell
from actors.vault.federation import Credentials, NotFederated
from actors.vault.flights import Flights
from actors.vault.grants import GRANT_S, TALLY_S, Book, Grant, GrantKey, event
from actors.vault.lease import LeaseActor, LeaseEnded, Loan
from actors.vault.locked import LockedMemoryFull
from actors.vault.messages import (
    Acquire,
    Federation,
    KeyScope,
    Lease,
    LeaseRefused,
    VaultRefused,
)
from actors.vault.policy import Wish, decide
from actors.vault.ports import KekRow, KmsError
from actors.vault.safe import KekMissing, Opened, SealedFacts
from actors.vault.secret import LeasedKey
from runtime import (
    Actor,
    AskError,
    ChildSpec,
    Context,
    ControlTell,
    Deferred,
    Ref,
)

# For a grant or a KEK: beyond it, the KMS or the disk hangs.
LEASES_WAITING_MAX: Final = 4096


class Lender:
    """Lends keys, for the actor that owns it."""

    def __init__(
        self,
        cell: VaultCell,
        owner: Actor,
        *,
        attest: Callable[[AuditEvent], Awaitable[object]],
        note: Callable[[AuditEvent], None],
        tally: ControlTell[Any],
        sweep: ControlTell[Any],
    ) -> None:
        self.cell = cell
        self.safe = cell.safe
        self.loans: dict[str, list[Loan]] = {}  # By stream: what its end must wipe.
        self.book = Book()
        self.waiting = 0
        self._owner = owner
        self._attest = attest
        self._note = note
        self._tally = tally
        self._sweep = sweep
        self._granting: Flights[GrantKey, Grant] = Flights()
        self._fetching: Flights[tuple[str, int], None] = Flights()
        self._federating: Flights[KeyScope, None] = Flights()
        self.credentials = Credentials(cell.safe.wall)

    def __repr__(self) -> str:
        """How much is out."""
        return f"<Lender live={self.live} waiting={self.waiting}>"

    @property
    def ctx(self) -> Context:
        """The owner's; it has none before it starts."""
        return self._owner.ctx

    @property
    def live(self) -> int:
        """Leases that still hold a key."""
        return sum(
            not loan.key.ended for loans in self.loans.values() for loan in loans
        )

    def ended(self, stream_id: str) -> None:
        """A stream ended: what it did not spend is wiped."""
        for loan in self.loans.pop(stream_id, ()):
            loan.key.wipe("abandoned")

    def revoke(self, scope: KeyScope) -> list[str]:
        """Wipe every lease of this key; the streams that had one."""
        self.book.revoke(scope)
        hit: list[str] = []
        for stream_id, loans in self.loans.items():
            theirs = [loan for loan in loans if loan.scope == scope]
            for loan in theirs:
                loan.key.wipe("revoked")
            if theirs:
                hit.append(stream_id)
        return hit

    def acquire(self, msg: Acquire) -> Lease | Deferred[Lease]:
        """Lend a key for one request, bound to its hosts and a deadline."""
        if msg.site in self.cell.homes:
            scope = self.cell.scope_for(msg.site, msg.scope)
            msg = msgspec.structs.replace(msg, scope=scope)
        key = GrantKey(msg.site, msg.scope, msg.route)
        now = self.ctx.now()
        grant = self.book.get(key, now)
        if grant is not None and msg.site not in self.cell.strict_sites:
            found = self._find(msg.scope, key, now)
            if isinstance(found, Opened):
                return self._lend(msg, grant, found)
        if self.waiting >= LEASES_WAITING_MAX:
            raise self._refused(key, "waits", f"{self.waiting} leases wait already")
        deferred: Deferred[Lease] = Deferred()
        self.ctx.start_soon(self._lend_later, msg, key, deferred, name="lease")
        return deferred

    async def _lend_later(
        self, msg: Acquire, key: GrantKey, deferred: Deferred[Lease]
    ) -> None:
        self.waiting += 1
        try:
            grant = await self._grant(key, msg)
            found = await self._fetch(msg.scope, key)
            if deferred.abandoned:
                found.memory.wipe()
                return
            lease = self._lend(msg, grant, found)
            if msg.site in self.cell.strict_sites:
                await self._attest_lease(key, grant, lease, msg)
        except LeaseRefused as refused:
            deferred.fail(refused)
        else:
            if not deferred.reply(lease):
                _wipe(lease)
        finally:
            self.waiting -= 1

    async def _grant(self, key: GrantKey, msg: Acquire) -> Grant:
        """The grant, made durable first where there is none. Raises LeaseRefused."""
        grant = self.book.get(key, self.ctx.now())
        if grant is not None:
            return grant
        return await self._granting.together(key, lambda: self._new(key, msg))

    async def _new(self, key: GrantKey, msg: Acquire) -> Grant:
        scope = key.scope
        verdict = decide(
            self.cell.rules,
            Wish(
                "lease",
                key.principal,
                scope.tenant,
                scope.environment,
                scope.provider,
                scope.name,
                key.route,
                self.cell.homes.get(key.site, ("", "")),
            ),
        )
        if not verdict.allowed:
            raise self._refused(key, "denied", f"is denied to it: {verdict.rule}")
        bounds = (("ttl_s", verdict.ttl_s), ("uses", verdict.uses))
        await self._attest_for(
            key, event("key.grant", key, request=msg.request_id, detail=bounds)
        )
        now = self.ctx.now()
        grant = Grant(key, verdict.ttl_s, verdict.uses, now + GRANT_S, verdict.rule)
        self.book.add(grant, now)
        return grant

    async def _attest_lease(
        self, key: GrantKey, grant: Grant, lease: Lease, msg: Acquire
    ) -> None:
        """A strict site's lease is in the log before it can be used."""
        try:
            await self._attest_for(
                key,
                event(
                    "key.lease",
                    key,
                    version=grant.version,
                    lease=lease.id,
                    request=msg.request_id,
                ),
            )
        except BaseException:
            _wipe(lease)
            raise

    async def _attest_for(self, key: GrantKey, fact: AuditEvent) -> None:
        try:
            await self._attest(fact)
        except (AuditUnavailable, AskError) as error:
            raise self._refused(
                key, "unaudited", f"no key without its audit record: {error}"
            ) from None

    def _find(
        self, scope: KeyScope, key: GrantKey, now: float
    ) -> Opened | KekMissing | Federation:
        """The key in locked memory, or what it waits for. Raises LeaseRefused."""
        source = self.cell.source_of(scope)
        if source is None:
            raise self._refused(key, "unknown", "is not in the vault; name its key_env")
        try:
            if source.federation is not None:
                return self._credential(scope, source.federation)
            if not source.env:
                return self._open(scope, now)
            value = self.cell.environ.get(source.env)
            if not value:
                raise self._refused(key, "unset", f"is empty: {source.env} is not set")
            memory = self.cell.memory.hold(value.encode())
        except LockedMemoryFull as full:
            raise self._refused(key, "full", str(full)) from None
        except VaultRefused as refused:
            raise self._refused(key, "unusable", refused.why) from None
        facts = SealedFacts((), self._from_environ(source.access_key_id_env) or "")
        return Opened(memory, memory.view, facts, 0)

    def _from_environ(self, name: str) -> str | None:
        """A variable's value as it is now; most keys have only the one."""
        return self.cell.environ.get(name) if name else None

    def _open(self, scope: KeyScope, now: float) -> Opened | KekMissing:
        found = self.safe.open(scope, now)
        row = self.safe.due_for_refresh(scope, now)
        if row is not None:
            self.ctx.start_soon(self._refresh, row, name="refresh")
        return found

    async def _fetch(self, scope: KeyScope, key: GrantKey) -> Opened:
        """The key, its KEK unwrapped first where it is not. Raises LeaseRefused."""
        while True:
            found = self._find(scope, key, self.ctx.now())
            if isinstance(found, Opened):
                return found
            if isinstance(found, Federation):
                await self._federating.together(
                    scope, partial(self._federate, scope, found, key)
                )
                continue
            row = found.row
            try:
                if self.safe.keks.limits.strict:
                    # For this lease alone, which opens its key in the next step.
                    await self._kek(row)
                else:
                    await self._fetching.together(
                        (row.id, row.version), partial(self._kek, row)
                    )
            except KmsError as error:
                raise self._refused(key, "kms", str(error)) from None

    def _credential(
        self, scope: KeyScope, federation: Federation
    ) -> Opened | Federation:
        """A credential's copy for one lease; a new one is fetched ahead of its end."""
        held = self.credentials.get(scope)
        if held is None:
            return federation
        if self.credentials.is_due(scope) and not self._federating.under_way(scope):
            self.ctx.start_soon(self._renew, scope, federation, name="federation")
        memory = self.cell.memory.hold(held.secret.view)
        facts = SealedFacts((), held.access_key_id)
        return Opened(memory, memory.view, facts, 0, held.session_token)

    async def _federate(
        self, scope: KeyScope, federation: Federation, key: GrantKey
    ) -> None:
        make = self.cell.make_federated
        if make is None:
            raise self._refused(key, "unset", "is federated, and nothing exchanges it")
        try:
            self.credentials.put(scope, await make(federation).fetch())
        except NotFederated as error:
            raise self._refused(key, "federation", str(error)) from None

    async def _renew(self, scope: KeyScope, federation: Federation) -> None:
        """Ahead of its end; a failure is for the end itself to report."""
        key = GrantKey("", scope, "renewal")
        with suppress(LeaseRefused):
            await self._federating.together(
                scope, partial(self._federate, scope, federation, key)
            )

    async def _kek(self, row: KekRow) -> None:
        await self.safe.fetch_kek(row, self.ctx.now)
        at = self.safe.keks.sweep(self.ctx.now())
        if at is not None:
            self.ctx.tell_at(at, self._sweep)

    async def _refresh(self, row: KekRow) -> None:
        """Ahead of its end. A KMS that is down is for the end itself to report."""
        try:
            await self._kek(row)
        except KmsError as error:
            self._note(
                AuditEvent(
                    act="kms.fault",
                    actor="vault",
                    out=type(error).__name__,
                    tenant=row.tenant,
                    env=row.environment,
                )
            )

    def _lend(self, msg: Acquire, grant: Grant, found: Opened) -> Lease:
        """Make the lease; what was opened is its own from here."""
        cell, ctx = self.cell, self.ctx
        source = cell.source_of(msg.scope)
        assert source is not None, "it was found just now"
        cell.leases_granted += 1
        name = f"lease-{cell.leases_granted}"
        expires_at = ctx.now() + min(msg.ttl_s, grant.ttl_s)
        lease: Ref[LeaseActor]

        def on_end(why: str) -> None:
            grant.ended(why)
            self._touch(grant)
            lease.offer(LeaseEnded(why))

        hosts = found.facts.hosts
        key = LeasedKey(
            msg.scope,
            found.memory,
            found.key,
            hosts=source.hosts.intersection(hosts) if hosts else source.hosts,
            plain_allowed=source.plain_allowed,
            expires_at=expires_at,
            now=ctx.now,
            on_end=on_end,
            uses=grant.uses,
            access_key_id=found.facts.access_key_id,
            session_token=found.session_token
            or self._from_environ(source.session_token_env),
        )
        lease = ctx.spawn(
            ChildSpec(name, lambda: LeaseActor(key, expires_at), restart="temporary")
        )
        loan = Loan(msg.scope, key, lease)
        loans = self.loans.get(msg.stream.id)
        if loans is None:
            self.loans[msg.stream.id] = [loan]
            ctx.monitor(msg.stream)
        else:
            loans.append(loan)
        grant.lent(name, found.version)
        self._touch(grant)
        return Lease(name, expires_at, key)

    def _touch(self, grant: Grant) -> None:
        if self.book.touch(grant):
            self.ctx.tell_at(self.ctx.now() + TALLY_S, self._tally)

    def _refused(self, key: GrantKey, word: str, why: str) -> LeaseRefused:
        """The refusal to raise; it is counted for the log, many in one event."""
        self.cell.leases_refused += 1
        if self.book.refuse(key, word):
            self.ctx.tell_at(self.ctx.now() + TALLY_S, self._tally)
        return LeaseRefused(key.scope, why)


def _wipe(lease: Lease) -> None:
    cast("LeasedKey", lease.handle).wipe("abandoned")
