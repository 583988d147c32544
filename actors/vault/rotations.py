"""All rotations of a vault: which secrets have a minter, and when the next step is due.

Owns: one `Rotator` a secret that can be minted, and the leases of the keys that mint.
A step that fails is tried again; one rotation never waits for another's provider.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

import attrs

from actors.auditor.messages import AuditEvent, AuditUnavailable
from actors.vault.keyuse import KeyHandle
from actors.vault.messages import KeyScope, LeaseRefused, VaultRefused
from actors.vault.policy import Rule, Wish, decide
from actors.vault.ports import KmsError, Minter, StaleRow
from actors.vault.rotation import Timing
from actors.vault.rotator import PRINCIPAL, Rotator
from actors.vault.safe import KekMissing, Safe
from actors.vault.secret import LeasedKey
from runtime import AskError

RETRY_S: Final = 60.0  # After a fault that is not the provider's: the disk, the KMS.
LOOK_S: Final = 3600.0  # Rows may have changed elsewhere; looking costs nothing.
LEASE_S: Final = 30.0  # For one call to a provider's key API.

Lend = Callable[[], Awaitable[KeyHandle]]


@attrs.frozen
class MintSpec:
    """How a secret's successors are made: where, and with which other secret."""

    kind: Literal["openai", "openrouter", "aws"]
    with_key: KeyScope
    account: str = ""  # OpenAI's project, AWS's user.
    base: str = ""  # Where its API is; empty for its public address.


MakeMinter = Callable[[MintSpec, Lend], Minter]


class Rotations:
    """What rotates by itself."""

    def __init__(
        self,
        safe: Safe,
        specs: Mapping[KeyScope, MintSpec],
        make: MakeMinter,
        *,
        timing: Timing,
        rules: Callable[[], Sequence[Rule]],
        now: Callable[[], float],
        attest: Callable[[AuditEvent], Awaitable[object]],
    ) -> None:
        self._safe = safe
        self._rules = rules
        self._now = now
        self._attest = attest
        self._due: dict[KeyScope, float] = {}
        self._rotators = {
            scope: Rotator(
                scope,
                safe,
                make(spec, self._lends(spec.with_key)),
                timing=timing,
                now=now,
                attest=attest,
            )
            for scope, spec in specs.items()
        }

    def __repr__(self) -> str:
        return f"<Rotations {len(self._rotators)}>"

    def __bool__(self) -> bool:
        return bool(self._rotators)

    def refused(self, scope: KeyScope) -> bool:
        """A provider refused this key; true when a rotation wants to know."""
        rotator = self._rotators.get(scope)
        if rotator is None or rotator.row is None:
            return False
        rotator.refused()
        self._due[scope] = 0.0
        return True

    def ask(self, scope: KeyScope) -> None:
        """Begin a rotation with the next turn. Raises VaultRefused."""
        if scope not in self._rotators:
            raise VaultRefused(
                scope, "cannot be minted here; give the new key with `vault rotate`"
            )
        self._due[scope] = -1.0

    async def turn(self) -> float:
        """One step of everything that is due; in how many seconds to come again."""
        soonest = self._safe.wall() + LOOK_S
        for scope, rotator in self._rotators.items():
            due = self._due.get(scope, 0.0)
            if due <= self._safe.wall():
                due = await self._step(rotator, asked=due < 0)
                self._due[scope] = due
            soonest = min(soonest, due)
        return max(1.0, soonest - self._safe.wall())

    async def _step(self, rotator: Rotator, *, asked: bool) -> float:
        try:
            return await rotator.advance(asked=asked)
        except (OSError, StaleRow, KmsError, AuditUnavailable, AskError):
            # Nothing was stored, so the step is done again as a whole.
            return self._safe.wall() + RETRY_S

    def _lends(self, scope: KeyScope) -> Lend:
        async def lend() -> KeyHandle:
            return await self._lend(scope)

        return lend

    async def _lend(self, scope: KeyScope) -> KeyHandle:
        """The key that mints, for one call: allowed, recorded, then opened."""
        wish = Wish(
            "lease",
            PRINCIPAL,
            scope.tenant,
            scope.environment,
            scope.provider,
            scope.name,
            "rotation",
        )
        verdict = decide(self._rules(), wish)
        if not verdict.allowed:
            raise LeaseRefused(scope, f"is denied to {PRINCIPAL}: {verdict.rule}")
        await self._attest(
            AuditEvent(
                act="key.lease",
                actor=PRINCIPAL,
                tenant=scope.tenant,
                env=scope.environment,
                provider=scope.provider,
                name=scope.name,
            )
        )
        try:
            found = self._safe.open(scope, self._now())
            while isinstance(found, KekMissing):
                await self._safe.fetch_kek(found.row, self._now)
                found = self._safe.open(scope, self._now())
        except VaultRefused as refused:
            raise LeaseRefused(scope, refused.why) from None
        return LeasedKey(
            scope,
            found.memory,
            found.key,
            hosts=frozenset(found.facts.hosts),
            plain_allowed=False,
            expires_at=self._now() + LEASE_S,
            now=self._now,
            on_end=lambda _: None,
            access_key_id=found.facts.access_key_id,
        )
