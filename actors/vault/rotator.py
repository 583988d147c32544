"""Rotates one provider's key, a step at a time; each step is stored before the next.

Owns: the order of effects. Decides nothing: the table in rotation.py does. What it does
to rows goes through the safe, what it does at the provider through a `Minter`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from msgspec.structs import replace

from actors.auditor.messages import AuditEvent
from actors.vault.holdings import moved, scope_of
from actors.vault.messages import KeyScope, VaultRefused
from actors.vault.ports import (
    Minted,
    Minter,
    MintFault,
    Put,
    RotationRow,
    SecretRow,
)
from actors.vault.rotation import (
    ENDS,
    REFUSALS_MAX,
    Event,
    State,
    Timing,
    due_at,
    follow,
    gives_up,
    pause_s,
    wait_until,
)
from actors.vault.safe import KekMissing, Safe

PRINCIPAL = "vault:rotation"


class Rotator:
    """One secret's rotations."""

    def __init__(
        self,
        scope: KeyScope,
        safe: Safe,
        minter: Minter,
        *,
        timing: Timing,
        now: Callable[[], float],
        attest: Callable[[AuditEvent], Awaitable[object]],
    ) -> None:
        self.scope = scope
        self._safe = safe
        self._minter = minter
        self._timing = timing
        self._now = now
        self._attest = attest
        self._refusals = 0
        self._paused_until_s = 0.0

    def __repr__(self) -> str:
        row = self.row
        return f"<Rotator {self.scope.provider}/{self.scope.name} {row and row.state}>"

    @property
    def row(self) -> RotationRow | None:
        """Where it stands."""
        return self._safe.holdings.rotations.get(self.scope)

    def refused(self) -> None:
        """The provider refused the key that is in use."""
        self._refusals += 1

    async def advance(self, *, asked: bool = False) -> float:
        """Do what is due; when to come again (wall time). `asked`: begin at once.

        Raises OSError, StaleRow, KmsError, AuditUnavailable, AskError: come again too.
        """
        row = self.row
        now_s = self._safe.wall()
        if row is None or row.state in ENDS:
            active = self._safe.holdings.active(self.scope)
            if active is None:
                return now_s + self._timing.retry_s
            due_s = due_at(active.created_s, self._timing)
            if row is not None and row.state == "rolled_back":
                due_s = max(due_s, wait_until("rolled_back", row.since_s, self._timing))
            if not asked and now_s < due_s:
                return due_s
            row = await self._begin(row, active)
        if now_s < self._paused_until_s and not asked:
            return self._paused_until_s
        return await self._step(row)

    async def _begin(
        self, before: RotationRow | None, active: SecretRow
    ) -> RotationRow:
        self._refusals = 0
        row = RotationRow(
            tenant=self.scope.tenant,
            environment=self.scope.environment,
            provider=self.scope.provider,
            name=self.scope.name,
            state="minting",
            new_version=self._safe.holdings.newest_version(self.scope) + 1,
            old_version=active.version,
            since_s=self._safe.wall(),
            revision=1 if before is None else before.revision + 1,
        )
        await self._record("begin", row)
        await self._safe.commit(Put(row))
        return row

    async def _step(self, row: RotationRow) -> float:
        state = cast("State", row.state)
        now_s = self._safe.wall()
        waits_s = wait_until(state, row.since_s, self._timing)
        if state in ("overlap", "watching"):
            if self._refusals >= REFUSALS_MAX:
                return await self._move(row, "refused")
            if now_s < waits_s:
                return waits_s
            return await self._move(row, "over" if state == "overlap" else "quiet")
        try:
            event = await self._act(state, row)
        except (MintFault, VaultRefused) as fault:
            return await self._failed(state, row, fault)
        row = self.row or row
        return await self._move(row, event)

    async def _act(self, state: State, row: RotationRow) -> Event:
        """The state's own effect; it may have happened before. Raises MintFault."""
        match state:
            case "minting":
                return await self._mint(row)
            case "probing":
                return await self._probe(row)
            case "deactivating":
                # A key that was pasted in has no id here: its owner ends it there.
                if old_id := self._id_of(row.old_version):
                    await self._minter.deactivate(old_id)
                return "deactivated"
            case "deleting":
                if old_id := self._id_of(row.old_version):
                    await self._minter.delete(old_id)
                return "deleted"
            case _:
                assert state == "rolling_back"
                return await self._undo(row)

    async def _mint(self, row: RotationRow) -> Event:
        staged = self._version(row.new_version)
        if staged is not None:  # It was sealed; only the step was not stored.
            return "minted"
        old = self._version(row.old_version)
        assert old is not None
        minted = await self._minter.mint(_label(self.scope, row.new_version))
        await self._safe.add(
            self.scope,
            minted.key,
            hosts=old.hosts,
            access_key_id=minted.access_key_id,
            principal=PRINCIPAL,
            now=self._now,
            state="staged",
            provider_key_id=minted.provider_key_id,
        )
        return "minted"

    async def _probe(self, row: RotationRow) -> Event:
        """Try the new key; then, in one commit, let it take the old one's place."""
        new, old = self._version(row.new_version), self._version(row.old_version)
        assert new is not None
        if new.state == "staged":
            found = self._safe.open_row(new, self._now())
            while isinstance(found, KekMissing):
                await self._safe.fetch_kek(found.row, self._now)
                found = self._safe.open_row(new, self._now())
            held = self._safe.memory.hold(found.key)
            found.memory.wipe()
            try:
                await self._minter.probe(
                    Minted(held, new.provider_key_id, found.facts.access_key_id)
                )
            finally:
                held.wipe()
            changes = [Put(moved(new, "active"))]
            if old is not None and old.state == "active":
                changes.append(Put(moved(old, "retired", now_s=self._safe.wall())))
            await self._record("promote", row)
            await self._safe.commit(*changes)
        return "probed"

    async def _undo(self, row: RotationRow) -> Event:
        """Back to the old key; then end the new one."""
        new, old = self._version(row.new_version), self._version(row.old_version)
        if old is not None and old.state == "retired":
            if old.provider_key_id:
                await self._minter.reactivate(old.provider_key_id)
            changes = [Put(moved(old, "active"))]
            if new is not None and new.state == "active":
                changes.append(Put(moved(new, "revoked", now_s=self._safe.wall())))
            await self._safe.commit(*changes)
        elif new is not None and new.state == "staged":
            await self._safe.move(new, "revoked")
        if new is not None and new.provider_key_id:
            await self._minter.delete(new.provider_key_id)
        return "undone"

    async def _move(self, row: RotationRow, event: Event) -> float:
        state = follow(cast("State", row.state), event)
        changed = replace(
            row,
            state=state,
            since_s=self._safe.wall(),
            failures=0,
            revision=row.revision + 1,
        )
        await self._record(event, changed)
        if state == "done":
            await self._retire(row.old_version)
        await self._safe.commit(Put(changed))
        self._paused_until_s = 0.0
        if state in ENDS:
            self._refusals = 0
        return self._safe.wall()

    async def _failed(
        self, state: State, row: RotationRow, fault: MintFault | VaultRefused
    ) -> float:
        failures = row.failures + 1
        lasting = isinstance(fault, MintFault) and fault.lasting
        changed = replace(
            row, failures=failures, note=str(fault), revision=row.revision + 1
        )
        await self._safe.commit(Put(changed))
        if gives_up(state, failures, lasting=lasting):
            return await self._move(changed, "failed")
        self._paused_until_s = self._safe.wall() + pause_s(failures)
        return self._paused_until_s

    async def _retire(self, version: int) -> None:
        old = self._version(version)
        if old is not None and old.state != "revoked":
            await self._safe.move(old, "revoked")

    async def _record(self, what: str, row: RotationRow) -> None:
        scope = scope_of(row)
        await self._attest(
            AuditEvent(
                act="key.rotate",
                actor=PRINCIPAL,
                out=what,
                tenant=scope.tenant,
                env=scope.environment,
                provider=scope.provider,
                name=scope.name,
                ver=row.new_version,
                detail=(("state", row.state), ("old", row.old_version)),
            )
        )

    def _version(self, version: int) -> SecretRow | None:
        return self._safe.holdings.secrets.get(self.scope, {}).get(version)

    def _id_of(self, version: int) -> str:
        row = self._version(version)
        return row.provider_key_id if row is not None else ""


def _label(scope: KeyScope, version: int) -> str:
    """What the key is called at the provider; the same for a repeated mint."""
    return f"stagedoor-{scope.tenant}-{scope.environment}-{scope.name}-v{version}"
