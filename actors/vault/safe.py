"""The safe: opens sealed secrets for leases, seals new ones, re-wraps. No actor.

Owns: the rows, the KEKs in use, the scratch buffer. A secret's plaintext is

    u16 length ‖ facts as JSON (hosts, access key id) ‖ the key's bytes

so that where a key may be sent is sealed with it: a changed base URL, or a changed row,
moves no key. Talks to its ports only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import msgspec

from actors.vault import delivery as hpke
from actors.vault.holdings import (
    Holdings,
    kek_id,
    kek_moved,
    moved,
    name_problem,
    scope_of,
)
from actors.vault.keks import KekCache, KekLimits
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemory
from actors.vault.messages import KeyScope, VaultRefused
from actors.vault.ports import (
    Drop,
    KekRow,
    Kms,
    KmsUnavailable,
    Put,
    SecretRow,
    SecretState,
    StaleRow,
    VaultStore,
)
from actors.vault.sealing import (
    PLAIN_BYTES_MAX,
    SCRATCH_BYTES,
    Entropy,
    Kek,
    Record,
    SecretName,
    Unsealable,
    open_into,
    parse,
    plain_bytes,
    rewrap,
    seal,
)

RECORDS_PARSED_MAX: Final = 4096  # Sealed ones, 200 bytes each; then begin anew.
HOSTS_MAX: Final = 16
KEY_BYTES_MAX: Final = PLAIN_BYTES_MAX - 2048
STALE_RETRIES_MAX: Final = 8  # Each means that another worker got ahead.


class SealedFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed beside a key."""

    hosts: tuple[str, ...]
    access_key_id: str = ""


@attrs.frozen
class KekMissing:
    """The lease must wait: this KEK has to be unwrapped first."""

    row: KekRow


@attrs.frozen(repr=False)
class Opened:
    """A secret in locked memory; whoever takes it wipes it."""

    memory: LockedBytes
    key: memoryview
    facts: SealedFacts
    version: int
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"<Opened version={self.version}>"


_encode: Final = msgspec.json.Encoder().encode
_facts: Final = msgspec.json.Decoder(SealedFacts)


class Safe:
    """Rows, KEKs and the ports behind them."""

    def __init__(
        self,
        store: VaultStore,
        kms: Mapping[str, Kms],
        memory: LockedMemory,
        *,
        seals_with: str,
        wall: Callable[[], float],
        limits: KekLimits | None = None,
        entropy: Entropy = OS_ENTROPY,
    ) -> None:
        self.holdings = Holdings()
        self.keks = KekCache(limits or KekLimits())
        self.memory = memory
        self.wall = wall
        self._store = store
        self._kms = dict(kms)
        self._seals_with = seals_with
        self._entropy = entropy
        self._scratch = memory.take(SCRATCH_BYTES)
        self._parsed: dict[bytes, tuple[Record, SealedFacts | None]] = {}
        self._generation = -1

    def __repr__(self) -> str:
        return f"<Safe {self.holdings!r} {self.keks!r}>"

    @property
    def seals_with(self) -> str:
        """The KMS that wraps new KEKs."""
        return self._seals_with

    @property
    def follows(self) -> bool:
        """Whether other processes may change the rows."""
        return self._store.shared

    @property
    def outdated(self) -> bool:
        """Whether another worker has changed the rows."""
        return self._store.generation() != self._generation

    async def load(self) -> None:
        """Read the rows. Raises OSError."""
        generation = self._store.generation()
        self.holdings = Holdings.of(await self._store.load())
        self._generation = generation

    # -- opening -----------------------------------------------------------------

    def open(self, scope: KeyScope, now: float) -> Opened | KekMissing:
        """The active version of a secret, in locked memory.

        Raises VaultRefused, LockedMemoryFull.
        """
        row = self.holdings.active(scope)
        if row is None:
            raise VaultRefused(scope, self._absent(scope))
        return self.open_row(row, now)

    def open_row(self, row: SecretRow, now: float) -> Opened | KekMissing:
        """One version of a secret. Raises VaultRefused, LockedMemoryFull."""
        scope = scope_of(row)
        record, facts = self._parse(row)
        kek = self.keks.get(record.kek_id, record.kek_ver, now)
        if kek is None:
            return KekMissing(self._kek_row(scope, record))
        size = plain_bytes(record)
        memory = self.memory.take(size)
        try:
            open_into(
                record, name_of(row), kek, memory.view, scratch=self._scratch.view
            )
            head = 2 + int.from_bytes(memory.view[:2], "big")
            if facts is None:
                facts = _facts.decode(memory.view[2:head])
                self._parsed[row.record] = (record, facts)
        except (Unsealable, msgspec.MsgspecError):
            memory.wipe()
            raise VaultRefused(
                scope, "its sealed record does not open; restore it or add it anew"
            ) from None
        return Opened(memory, memory.view[head:], facts, row.version)

    def due_for_refresh(self, scope: KeyScope, now: float) -> KekRow | None:
        """The KEK of a secret, when it ends soon and nobody fetches it yet."""
        row = self.holdings.active(scope)
        if row is None:
            return None
        record, _ = self._parse(row)
        if not self.keks.wants_refresh(record.kek_id, record.kek_ver, now):
            return None
        return self._kek_row(scope, record)

    async def fetch_kek(self, row: KekRow, now: Callable[[], float]) -> Kek:
        """Unwrap a KEK and keep it. Raises KmsError."""
        kms = self._kms.get(row.kms)
        if kms is None:
            raise KmsUnavailable(
                row.kms, "sealed keys need it and it is not configured"
            )
        key = await kms.unwrap(row.blob, _context(row))
        return self.keks.put(row.id, row.version, key, now())

    def _kek_row(self, scope: KeyScope, record: Record) -> KekRow:
        row = self.holdings.keks.get((record.kek_id, record.kek_ver))
        # The KEK's own row says whose it is; the record's word alone is not enough.
        if row is None or (row.tenant, row.environment) != (
            scope.tenant,
            scope.environment,
        ):
            raise VaultRefused(scope, "is sealed under a key that is not its tenant's")
        if row.state == "destroyed":
            raise VaultRefused(scope, "was shredded with its tenant's key")
        return row

    def _parse(self, row: SecretRow) -> tuple[Record, SealedFacts | None]:
        found = self._parsed.get(row.record)
        if found is None:
            try:
                found = (parse(row.record), None)
            except Unsealable:
                raise VaultRefused(
                    scope_of(row), "its sealed record is damaged; restore it"
                ) from None
            if len(self._parsed) >= RECORDS_PARSED_MAX:
                self._parsed.clear()
            self._parsed[row.record] = found
        return found

    def _absent(self, scope: KeyScope) -> str:
        versions = self.holdings.secrets.get(scope)
        if not versions:
            return f"is not in the vault; `stagedoor vault add` {_flags(scope)}"
        if all(row.state == "revoked" for row in versions.values()):
            return "was revoked; add a new one"
        return "has no active version; finish or roll back its rotation"

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
            try:
                await self.commit(Put(row), *map(Put, older))
            except StaleRow:
                await self.load()
                continue
            return row
        raise VaultRefused(scope, "is being changed by others all the time; try again")

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
        wrapped = await kms.generate(_context(row))
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

    async def commit(self, *changes: Put | Drop) -> None:
        """Change rows, in the store and here. Raises StaleRow, OSError."""
        await self._store.commit(*changes)
        # Others may have committed before us: then these rows are not all there is.
        self.holdings.apply(changes)

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


def name_of(row: SecretRow) -> SecretName:
    """What a row's record is bound to."""
    return SecretName(row.tenant, row.environment, row.provider, row.name, row.version)


def _context(row: KekRow) -> dict[str, str]:
    return {
        "tenant": row.tenant,
        "env": row.environment,
        "kek": f"{row.id}@{row.version}",
    }


def _flags(scope: KeyScope) -> str:
    flags = f"--provider {scope.provider} {scope.name}"
    if (scope.tenant, scope.environment) != ("default", "default"):
        flags = f"--tenant {scope.tenant} --env {scope.environment} {flags}"
    return flags


def _key_problem(key: memoryview, hosts: tuple[str, ...]) -> str:
    if not len(key):
        return "is empty"
    if any(byte < 0x21 or byte > 0x7E for byte in key):
        # It goes into a header line: a line break there would be another header.
        return "holds spaces or characters that no header may carry"
    if not hosts or len(hosts) > HOSTS_MAX:
        return f"needs 1 to {HOSTS_MAX} hosts that it may be sent to"
    return ""
