"""What operators ask of the vault: take in, list, revoke, re-wrap, shred.

Each is decided by the policy, made durable in the audit log, and only then done. One
change at a time: rows are small and changes are rare. Never returns a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from msgspec.structs import replace

from actors.auditor.messages import AuditEvent
from actors.vault.delivery import DeliveryBox
from actors.vault.holdings import scope_of
from actors.vault.locked import LockedMemoryFull
from actors.vault.messages import (
    Deliver,
    KeyScope,
    RevokeSecret,
    RotateKek,
    RotateSecret,
    SecretFacts,
    Shred,
    VaultRefused,
)
from actors.vault.peppers import PEPPER
from actors.vault.policy import Action, Rule, Wish, decide
from actors.vault.ports import KmsError, RotationRow, SecretRow, StaleRow
from actors.vault.rotation import ENDS, Timing, is_overdue
from actors.vault.safe import STALE_RETRIES_MAX, Safe
from actors.vault.sealing import Unsealable, parse

T = TypeVar("T")

# Each is a digest of 32 bytes; beyond this many the delivery key is made anew.
DELIVERIES_MAX = 4096
ANY = "*"


class Desk:
    """The operators' side of the vault."""

    def __init__(
        self,
        safe: Safe,
        *,
        rules: Callable[[], Sequence[Rule]],
        attest: Callable[[AuditEvent], Awaitable[object]],
        now: Callable[[], float],
        timing: Timing,
    ) -> None:
        self._timing = timing
        self.box = DeliveryBox()
        self._safe = safe
        self._rules = rules
        self._attest = attest
        self._now = now
        self._turn = trio.Lock()
        self._delivered: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Desk {self._safe!r}>"

    async def deliver(self, msg: Deliver) -> SecretFacts:
        """Take in a key. Raises VaultRefused."""
        scope = msg.scope

        async def take_in() -> SecretFacts:
            if self._safe.holdings.secrets.get(scope) and not msg.replace:
                raise VaultRefused(
                    scope, "is in the vault already; use `stagedoor vault rotate`"
                )
            digest = hashlib.sha256(msg.delivery).digest()
            if digest in self._delivered:
                raise VaultRefused(scope, "this delivery was taken in already")
            if len(self._delivered) >= DELIVERIES_MAX:
                self._delivered.clear()
                self.box = DeliveryBox()
            key = self._safe.receive(self.box, scope, msg.delivery)
            self._delivered.add(digest)
            row = await self._safe.add(
                scope,
                key,
                hosts=msg.hosts,
                access_key_id=msg.access_key_id,
                principal=msg.principal,
                now=self._now,
            )
            return self.facts(row)

        act: Action = "rotate" if msg.replace else "add"
        return await self._do(act, f"key.{act}", msg.principal, scope, take_in)

    async def revoke(self, msg: RevokeSecret, wipe: Callable[[KeyScope], None]) -> int:
        """End its leases at once, then never lend it again. Raises VaultRefused."""
        scope = msg.scope
        self._check("revoke", msg.principal, scope)
        wipe(scope)  # Before any wait: what is revoked is not used again.

        async def end() -> int:
            wipe(scope)  # Those that were lent while the log was written.
            rows = [
                row
                for row in self._safe.holdings.secrets.get(scope, {}).values()
                if row.state != "revoked"
            ]
            for row in rows:
                await self._safe.move(row, "revoked")
            wipe(scope)
            return len(rows)

        return await self._do("revoke", "key.revoke", msg.principal, scope, end)

    async def rotate_kek(self, msg: RotateKek) -> int:
        """Re-wrap a tenant's records. Raises VaultRefused."""
        scope = KeyScope(ANY, ANY, msg.tenant, msg.environment)
        return await self._do(
            "rotate",
            "kek.rotate",
            msg.principal,
            scope,
            lambda: self._safe.rotate_kek(msg.tenant, msg.environment, self._now),
        )

    async def shred(self, msg: Shred) -> int:
        """Destroy a tenant's KEKs. Raises VaultRefused."""
        scope = KeyScope(ANY, ANY, msg.tenant, msg.environment)
        return await self._do(
            "revoke",
            "kek.shred",
            msg.principal,
            scope,
            lambda: self._safe.shred(msg.tenant, msg.environment),
        )

    def listing(self, principal: str) -> tuple[SecretFacts, ...]:
        """Every version that the principal may describe; peppers are no keys."""
        return tuple(
            self.facts(row)
            for scope, versions in sorted(
                self._safe.holdings.secrets.items(), key=lambda item: str(item[0])
            )
            if scope.provider != PEPPER
            and decide(self._rules(), _wish("describe", principal, scope)).allowed
            for row in versions.values()
        )

    def facts(self, row: SecretRow) -> SecretFacts:
        """What may be known of a row."""
        rotation = self._safe.holdings.rotations.get(scope_of(row))
        try:
            record = parse(row.record)
            kek = f"{record.kek_id}@{record.kek_ver}"
            sealed = self._safe.holdings.keks.get((record.kek_id, record.kek_ver))
            if sealed is not None and sealed.state == "destroyed":
                kek = "destroyed"  # Its records are there, and never open again.
        except Unsealable:
            kek = "damaged" if row.record else "none"
        return SecretFacts(
            tenant=row.tenant,
            environment=row.environment,
            provider=row.provider,
            name=row.name,
            version=row.version,
            state=row.state,
            hosts=row.hosts,
            created_s=row.created_s,
            created_by=row.created_by,
            kek=kek,
            rotation=self._rotation(row, rotation),
        )

    def rotations(self) -> tuple[int, int]:
        """How many keys are overdue, and how many rotations fail."""
        told = [self.facts(row).rotation for row in self._safe.holdings.live.values()]
        return told.count("overdue"), sum("failing" in one for one in told)

    async def allow_rotation(self, msg: RotateSecret) -> None:
        """Whether this principal may begin a rotation. Raises VaultRefused."""

        async def nothing() -> None:
            """The rotation itself records what it does."""

        await self._do("rotate", "key.rotate.ask", msg.principal, msg.scope, nothing)

    def _rotation(self, row: SecretRow, rotation: RotationRow | None) -> str:
        if rotation is not None and rotation.state not in ENDS:
            if rotation.failures:
                return f"{rotation.state}, failing: {rotation.note}"
            return rotation.state
        ages = row.provider != PEPPER  # Those end with their epoch.
        overdue = (
            ages
            and row.state == "active"
            and is_overdue(row.created_s, self._safe.wall(), self._timing)
        )
        return "overdue" if overdue else ""

    async def _do(
        self,
        action: Action,
        act: str,
        principal: str,
        scope: KeyScope,
        work: Callable[[], Awaitable[T]],
    ) -> T:
        """Decide, record, do; and record when it was not done after all."""
        self._check(action, principal, scope)
        fact = AuditEvent(
            act=act,
            actor=principal,
            tenant=scope.tenant,
            env=scope.environment,
            provider=scope.provider,
            name=scope.name,
        )
        await self._attest(fact)
        try:
            async with self._turn:
                return await self._tried(work)
        except (KmsError, StaleRow, OSError, VaultRefused, LockedMemoryFull) as error:
            await self._attest(replace(fact, out=type(error).__name__))
            if isinstance(error, VaultRefused):
                raise
            raise VaultRefused(scope, str(error)) from None

    async def _tried(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it; again, on fresh rows, when another worker was first."""
        for _ in range(STALE_RETRIES_MAX - 1):
            try:
                return await work()
            except StaleRow:
                await self._safe.load()
        return await work()

    def _check(self, action: Action, principal: str, scope: KeyScope) -> None:
        verdict = decide(self._rules(), _wish(action, principal, scope))
        if not verdict.allowed:
            raise VaultRefused(
                scope, f"{action} is denied to {principal}: {verdict.rule}"
            )


def _wish(action: Action, principal: str, scope: KeyScope) -> Wish:
    return Wish(
        action, principal, scope.tenant, scope.environment, scope.provider, scope.name
    )
