"""The safe: what `Opener` reads, and all that changes it: seal, re-wrap, shred.

Owns: the order in which rows change. Everything may be interrupted between two commits
and run again. Talks to its ports only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from actors.vault import delivery as hpke
from actors.vault.holdings import (
    kek_id,
    kek_moved,
    moved,
    name_problem,
    scope_of,
)
from actors.vault.locked import LockedBytes
from actors.vault.messages import KeyScope, VaultRefused
from actors.vault.opening import (
    KekMissing,
    Opened,
    Opener,
    SealedFacts,
    context_of,
    name_of,
)
from actors.vault.ports import (
    KekRow,
    KmsUnavailable,
    Put,
    SecretRow,
    SecretState,
    StaleRow,
)
from actors.vault.sealing import (
    PLAIN_BYTES_MAX,
    Kek,
    Record,
    Unsealable,
    rewrap,
    seal,
)

__all__ = ["KekMissing", "Opened", "Safe", "SealedFacts", "name_of"]

HOSTS_MAX: Final = 16
KEY_BYTES_MAX: Final = PLAIN_BYTES_MAX - 2048
STALE_RETRIES_MAX: Final = 8  # Each means that another worker got ahead.

_encode: Final = msgspec.json.Encoder().encode


class Safe(Opener):
    """Rows, KEKs and the ports behind them."""

    # -- sealing -----------------------------------------------------------------

    async def add(
        self,
        scope: KeyScope,
        key: LockedBytes,
        *,
        hosts: tuple[str, ...],
        access_key_id: str,
        principal: str,
        now: Callable[[], float],
        state: SecretState = "active",
        provider_key_id: str = "",
    ) -> SecretRow:
        """Seal a key as the next version. Wipes `key`. The older ones are retired.

        Raises VaultRefused, KmsError, OSError.
        """
        try:
            return await self._add(
                scope,
                key,
                SealedFacts(tuple(sorted(set(hosts))), access_key_id),
                principal=principal,
                now=now,
                state=state,
                provider_key_id=provider_key_id,
            )
        finally:
            key.wipe()
            self.keks.settle()

    async def _add(
        self,
        scope: KeyScope,
        key: LockedBytes,
        facts: SealedFacts,
        *,
        principal: str,
        now: Callable[[], float],
        state: SecretState,
        provider_key_id: str,
    ) -> SecretRow:
        problem = name_problem(scope) or _key_problem(key.view, facts.hosts)
        if problem:
            raise VaultRefused(scope, problem)
        for _ in range(STALE_RETRIES_MAX):
            try:
                return await self._add_once(
                    scope,
                    key,
                    facts,
                    principal=principal,
                    now=now,
                    state=state,
                    provider_key_id=provider_key_id,
                )
            except StaleRow:  # Another worker was first; its rows come before ours.
                await self.load()
        raise VaultRefused(scope, "is being changed by others all the time; try again")

    async def _add_once(
        self,
        scope: KeyScope,
        key: LockedBytes,
        facts: SealedFacts,
        *,
        principal: str,
        now: Callable[[], float],
        state: SecretState,
        provider_key_id: str,
    ) -> SecretRow:
        """Raises StaleRow: nothing has happened."""
        kek = await self._sealing_kek(scope.tenant, scope.environment, now)
        version = self.holdings.newest_version(scope) + 1
        row = SecretRow(
            tenant=scope.tenant,
            environment=scope.environment,
            provider=scope.provider,
            name=scope.name,
            version=version,
            state=state,
            record=b"",
            created_s=self.wall(),
            created_by=principal,
            hosts=facts.hosts,
            provider_key_id=provider_key_id,
        )
        row = msgspec.structs.replace(row, record=self._seal(row, key, facts, kek))
        older = [
            moved(old, "retired", now_s=self.wall())
            for old in self.holdings.secrets.get(scope, {}).values()
            if old.state == "active" and state == "active"
        ]
        await self.commit(Put(row), *map(Put, older))
        return row

    def _seal(
        self, row: SecretRow, key: LockedBytes, facts: SealedFacts, kek: Kek
    ) -> bytes:
        head = _encode(facts)
        plain = self.memory.take(2 + len(head) + len(key.view))
        try:
            plain.view[:2] = len(head).to_bytes(2, "big")
            plain.view[2 : 2 + len(head)] = head
            plain.view[2 + len(head) :] = key.view
            return seal(
                plain.view,
                name_of(row),
                kek,
                entropy=self._entropy,
                scratch=self._scratch.view,
            )
        finally:
            plain.wipe()

    async def _sealing_kek(
        self, tenant: str, environment: str, now: Callable[[], float]
    ) -> Kek:
        """The active KEK of a tenant and environment, made where there is none."""
        row = self.holdings.active_kek(tenant, environment)
        if row is None:
            return await self._make_kek(tenant, environment, now)
        return self.keks.get(row.id, row.version, now()) or await self.fetch_kek(
            row, now
        )

    async def _make_kek(
        self,
        tenant: str,
        environment: str,
        now: Callable[[], float],
        *retiring: KekRow,
    ) -> Kek:
        """A new KEK, in the place of those that retire. Raises StaleRow."""
        kms = self._kms[self._seals_with]
        versions = self.holdings.keks_of(tenant, environment)
        row = KekRow(
            tenant=tenant,
            environment=environment,
            id=kek_id(tenant, environment),
            version=max((one.version for one in versions), default=0) + 1,
            state="active",
            kms=self._seals_with,
            blob=b"",
            created_s=self.wall(),
        )
        wrapped = await kms.generate(context_of(row))
        try:
            await self.commit(
                Put(msgspec.structs.replace(row, blob=wrapped.blob)),
                *(Put(kek_moved(one, "decrypt_only")) for one in retiring),
            )
        except BaseException:
            wrapped.key.wipe()
            raise
        return self.keks.put(row.id, row.version, wrapped.key, now())

    # -- changing ----------------------------------------------------------------

    async def rotate_kek(
        self, tenant: str, environment: str, now: Callable[[], float]
    ) -> int:
        """A new KEK, and every record re-wrapped under it; how many were.

        May be run again at any point: what is done stays done. Raises VaultRefused,
        KmsError, StaleRow, OSError.
        """
        active = self.holdings.active_kek(tenant, environment)
        try:
            if active is not None:
                await self._make_kek(tenant, environment, now, active)
            return await self.rewrap_all(tenant, environment, now)
        finally:
            self.keks.settle()

    async def rewrap_all(
        self, tenant: str, environment: str, now: Callable[[], float]
    ) -> int:
        """Bring every record under the active KEK, then destroy those unused."""
        done = 0
        for row in list(self.holdings.rows_of(tenant, environment)):
            record, _ = self._parse(row)
            active = self.holdings.active_kek(tenant, environment)
            if active is not None and (record.kek_id, record.kek_ver) == (
                active.id,
                active.version,
            ):
                continue
            old, new = await self._both(scope_of(row), record, now)
            try:
                data = rewrap(
                    record,
                    name_of(row),
                    old,
                    new,
                    entropy=self._entropy,
                    scratch=self._scratch.view,
                )
            except Unsealable:
                raise VaultRefused(
                    scope_of(row), "its sealed record does not open; restore it first"
                ) from None
            changed = msgspec.structs.replace(
                row, record=data, revision=row.revision + 1
            )
            await self.commit(Put(changed))
            done += 1
        await self._destroy_unused(tenant, environment)
        return done

    async def _both(
        self, scope: KeyScope, record: Record, now: Callable[[], float]
    ) -> tuple[Kek, Kek]:
        """The KEK of a record and the one that seals, both alive at once.

        Fetching one lets time pass, in which the other may end: ask again then.
        """
        row = self._kek_row(scope, record)
        for _ in range(STALE_RETRIES_MAX):
            new = await self._sealing_kek(scope.tenant, scope.environment, now)
            old = self.keks.get(row.id, row.version, now())
            if old is not None:
                return old, new
            await self.fetch_kek(row, now)
        raise KmsUnavailable(row.kms, "is too slow: one key ends before another comes")

    async def _destroy_unused(self, tenant: str, environment: str) -> None:
        used = {
            (record.kek_id, record.kek_ver)
            for row in self.holdings.rows_of(tenant, environment)
            for record, _ in [self._parse(row)]
        }
        for kek in self.holdings.keks_of(tenant, environment):
            if kek.state == "decrypt_only" and (kek.id, kek.version) not in used:
                await self.commit(Put(kek_moved(kek, "destroyed")))
                self.keks.drop(kek.id, kek.version)

    async def shred(self, tenant: str, environment: str) -> int:
        """Destroy a tenant's KEKs: its records never open again. How many keys."""
        keks = [
            row
            for row in self.holdings.keks_of(tenant, environment)
            if row.state != "destroyed"
        ]
        for kek in keks:
            self.keks.drop(kek.id, kek.version)
        await self.commit(*(Put(kek_moved(kek, "destroyed")) for kek in keks))
        return len(keks)

    async def move(self, row: SecretRow, state: SecretState) -> SecretRow:
        """Put a version into another state. Raises StaleRow, OSError."""
        changed = moved(row, state, now_s=self.wall())
        await self.commit(Put(changed))
        return changed

    async def health(self) -> None:
        """Raises KmsError when the KMS that seals would not serve."""
        await self._kms[self._seals_with].health()

    def receive(
        self, box: hpke.DeliveryBox, scope: KeyScope, delivery: bytes
    ) -> LockedBytes:
        """Open a delivered key into locked memory. Raises VaultRefused."""
        bound_to = hpke.info(
            scope.tenant, scope.environment, scope.provider, scope.name
        )
        try:
            size = hpke.size_of(delivery)
            if size > KEY_BYTES_MAX:
                raise VaultRefused(scope, f"a key has at most {KEY_BYTES_MAX} bytes")
            key = self.memory.take(size)
            try:
                box.open_into(delivery, bound_to, key.view)
            except hpke.BadDelivery:
                key.wipe()
                raise
        except hpke.BadDelivery as bad:
            raise VaultRefused(scope, str(bad)) from None
        return key


def _key_problem(key: memoryview, hosts: tuple[str, ...]) -> str:
    if not len(key):
        return "is empty"
    if any(byte < 0x21 or byte > 0x7E for byte in key):
        # It goes into a header line: a line break there would be another header.
        return "holds spaces or characters that no header may carry"
    if not hosts or len(hosts) > HOSTS_MAX:
        return f"needs 1 to {HOSTS_MAX} hosts that it may be sent to"
    return ""
