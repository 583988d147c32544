"""The peppers under which people are named: one a tenant and epoch, kept as a key is.

A pepper is a row of the provider `pepper`, sealed under its tenant's KEK: shredding the
tenant destroys it, and so does the end of its time. While it is in use it lies in
locked memory. What is computed with it is no key of anybody's, so it is read in this
process and lent to nobody. Implements `Peppers` of the auditor's privacy.py.
Owns: which peppers are at hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from actors.auditor.messages import AuditEvent
from actors.auditor.privacy import PEPPER_BYTES
from actors.vault.locked import OS_ENTROPY, LockedBytes, LockedMemoryFull
from actors.vault.messages import KeepPeppers, KeyScope, VaultRefused
from actors.vault.opening import KekMissing
from actors.vault.ports import KmsError, StaleRow
from actors.vault.safe import Safe

PEPPER: Final = "pepper"
NOWHERE: Final = "pepper.invalid"  # The host that a pepper may be sent to: none.
PRINCIPAL: Final = "vault:privacy"

Home = tuple[str, str]  # Tenant and environment.


class PepperBox:
    """Peppers in use."""

    def __init__(self, safe: Safe) -> None:
        self._safe = safe
        self._open: dict[tuple[str, int], tuple[KeyScope, LockedBytes]] = {}

    def __repr__(self) -> str:
        """How many."""
        return f"<PepperBox {len(self._open)}>"

    def pepper(self, tenant: str, epoch: int) -> memoryview | None:
        """See Peppers. None too while it has not been opened yet."""
        found = self._open.get((tenant, epoch))
        if found is None:
            return None
        scope, held = found
        if not self._safe.opens(scope):
            held.wipe()
            del self._open[tenant, epoch]
            return None
        return held.view

    async def keep(
        self,
        homes: Iterable[Home],
        *,
        epoch: int,
        oldest: int,
        make: bool,
        reads: Iterable[Home] = (),
        now: Callable[[], float],
    ) -> tuple[list[KeyScope], list[KeyScope]]:
        """Open this epoch's peppers, and end those of epochs before the `oldest`.

        `make`: those that are missing; one process of a gateway does. `reads`: whose of
        the epochs between are opened as well. Returns what was made and what was
        destroyed. Raises KmsError, StaleRow, VaultRefused, OSError.
        """
        made: list[KeyScope] = []
        for tenant, environment in homes:
            scope = scope_of(tenant, environment, epoch)
            if self._safe.holdings.active(scope) is None:
                if not make or self._safe.holdings.newest_version(scope):
                    continue  # Another makes it; or it was destroyed, and stays so.
                await self._make(scope, now)
                made.append(scope)
            if (tenant, epoch) not in self._open:
                self._open[tenant, epoch] = (scope, await self._opened(scope, now))
        for tenant, environment in reads:
            for earlier in range(max(0, oldest), epoch):
                scope = scope_of(tenant, environment, earlier)
                known = (tenant, earlier) in self._open
                if not known and self._safe.holdings.active(scope) is not None:
                    opened = await self._opened(scope, now)
                    self._open[tenant, earlier] = (scope, opened)
        return made, await self._end(oldest)

    async def _make(self, scope: KeyScope, now: Callable[[], float]) -> None:
        key = self._safe.memory.take(PEPPER_BYTES)
        OS_ENTROPY.fill(key.view)
        for place, byte in enumerate(key.view):
            # Rows hold what a header may carry: six bits a byte, 192 in all.
            key.view[place] = 0x30 + (byte & 0x3F)
        await self._safe.add(
            scope,
            key,
            hosts=(NOWHERE,),
            access_key_id="",
            principal=PRINCIPAL,
            now=now,
        )

    async def _opened(self, scope: KeyScope, now: Callable[[], float]) -> LockedBytes:
        found = self._safe.open(scope, now())
        while isinstance(found, KekMissing):
            await self._safe.fetch_kek(found.row, now)
            found = self._safe.open(scope, now())
        try:
            return self._safe.memory.hold(found.key)
        finally:
            found.memory.wipe()

    async def _end(self, oldest: int) -> list[KeyScope]:
        ended: list[KeyScope] = []
        for scope, row in list(self._safe.holdings.live.items()):
            if scope.provider == PEPPER and epoch_in(scope) < oldest:
                await self._safe.move(row, "revoked")
                ended.append(scope)
        for place, (scope, held) in list(self._open.items()):
            if epoch_in(scope) < oldest:
                held.wipe()
                del self._open[place]
        return ended


def scope_of(tenant: str, environment: str, epoch: int) -> KeyScope:
    """Where a pepper is kept."""
    return KeyScope(PEPPER, f"e{epoch}", tenant, environment)


def epoch_in(scope: KeyScope) -> int:
    """Which epoch's a pepper is."""
    return int(scope.name[1:]) if scope.name[1:].isdecimal() else 0


async def kept_and_told(
    box: PepperBox,
    msg: KeepPeppers,
    attest: Callable[[AuditEvent], Awaitable[None]],
    now: Callable[[], float],
) -> bool:
    """Have the peppers at hand, and what was made and destroyed in the audit log.

    Whether all are there. Raises VaultRefused.
    """
    try:
        made, ended = await box.keep(
            msg.homes,
            epoch=msg.epoch,
            oldest=msg.oldest,
            make=msg.make,
            reads=msg.reads,
            now=now,
        )
    except (KmsError, StaleRow, OSError, LockedMemoryFull) as error:
        raise VaultRefused(KeyScope(PEPPER), str(error)) from None
    for out, scopes in (("made", made), ("destroyed", ended)):
        for one in scopes:
            await attest(
                AuditEvent(
                    "privacy.pepper",
                    actor=PRINCIPAL,
                    out=out,
                    tenant=one.tenant,
                    env=one.environment,
                    name=one.name,
                )
            )
    return all(box.pepper(home[0], msg.epoch) is not None for home in msg.homes)
