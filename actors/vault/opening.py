"""The reading half of the safe: rows in, a key in locked memory out.

Owns: the rows, the KEKs in use, the scratch buffer. A secret's plaintext is

    u16 length ‖ facts as JSON (hosts, access key id) ‖ the key's bytes

so that where a key may be sent is sealed with it: a changed base URL, or a changed row,
moves no key. Opening never awaits; what it needs of a KMS is fetched before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import msgspec

from actors.vault.holdings import (
    Holdings,
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
    Mark,
    Put,
    SecretRow,
    VaultStore,
)
from actors.vault.sealing import (
    SCRATCH_BYTES,
    Entropy,
    Kek,
    Record,
    SecretName,
    Unsealable,
    open_into,
    parse,
    plain_bytes,
)

RECORDS_PARSED_MAX: Final = 4096  # Sealed ones, 200 bytes each; then begin anew.


class SealedFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed beside a key."""

    hosts: tuple[str, ...]
    access_key_id: str = ""


@attrs.frozen
class KekMissing:
    """The lease must wait: this KEK has to be unwrapped first."""

    row: KekRow


class Opened(msgspec.Struct, frozen=True):
    """A secret in locked memory; whoever takes it wipes it."""

    memory: LockedBytes
    key: memoryview
    facts: SealedFacts
    version: int
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"<Opened version={self.version}>"


_facts: Final = msgspec.json.Decoder(SealedFacts)


class Opener:
    """Rows, KEKs, and what opens them."""

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
        # Whoever wants to write down which state the store is in.
        self.on_mark: Callable[[Mark], None] = lambda _: None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.holdings!r} {self.keks!r}>"

    @property
    def seals_with(self) -> str:
        """The KMS that wraps new KEKs."""
        return self._seals_with

    def kms(self, name: str) -> Kms:
        """A KMS by its name, as rows have it. Raises KmsUnavailable: not configured."""
        found = self._kms.get(name)
        if found is None:
            raise KmsUnavailable(name, "it is not configured here any more")
        return found

    @property
    def follows(self) -> bool:
        """Whether other processes may change the rows."""
        return self._store.shared

    @property
    def mark(self) -> Mark:
        """Which state of the store this is."""
        return self._store.mark

    @property
    def outdated(self) -> bool:
        """Whether another worker has changed the rows."""
        return self._store.generation() != self._generation

    async def load(self) -> None:
        """Read the rows. Raises OSError."""
        generation = self._store.generation()
        self.holdings = Holdings.of(await self._store.load())
        self._generation = generation
        self.on_mark(self._store.mark)
        for place, kek in self.holdings.keks.items():
            if kek.state == "destroyed":  # By another worker: nothing opens any more.
                self.keks.drop(*place)

    def opens(self, scope: KeyScope) -> bool:
        """Whether it is there, and neither revoked nor shredded."""
        row = self.holdings.active(scope)
        if row is None:
            return False
        record, _ = self._parse(row)
        kek = self.holdings.keks.get((record.kek_id, record.kek_ver))
        return kek is not None and kek.state != "destroyed"

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
        key = await kms.unwrap(row.blob, context_of(row))
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

    async def commit(self, *changes: Put | Drop) -> None:
        """Change rows, in the store and here. Raises StaleRow, OSError."""
        await self._store.commit(*changes)
        self.on_mark(self._store.mark)
        # Others may have committed before us: then these rows are not all there is.
        self.holdings.apply(changes)


def name_of(row: SecretRow) -> SecretName:
    """What a row's record is bound to."""
    return SecretName(row.tenant, row.environment, row.provider, row.name, row.version)


def context_of(row: KekRow) -> dict[str, str]:
    """What the KMS binds a KEK to."""
    return {
        "tenant": row.tenant,
        "env": row.environment,
        "kek": f"{row.id}@{row.version}",
    }


def _flags(scope: KeyScope) -> str:
    flags = f"{scope.provider} {scope.name}"
    if (scope.tenant, scope.environment) != ("default", "default"):
        flags = f"--tenant {scope.tenant} --env {scope.environment} {flags}"
    return flags
