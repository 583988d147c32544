"""What the vault holds, indexed. Pure: rows in, answers out.

Decides which version a lease is made of, which KEK seals next, and what follows from a
change. Never holds a key: rows are sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from msgspec.structs import replace

from actors.vault.messages import KeyScope
from actors.vault.ports import (
    Drop,
    KekRow,
    KekState,
    Put,
    RotationRow,
    Row,
    SecretRow,
    SecretState,
)

NAME_CHARS_MAX = 128  # As the settings' own names.


@attrs.define
class Holdings:
    """The rows, by what they are asked for."""

    secrets: dict[KeyScope, dict[int, SecretRow]] = attrs.field(factory=dict)
    keks: dict[tuple[str, int], KekRow] = attrs.field(factory=dict)
    rotations: dict[KeyScope, RotationRow] = attrs.field(factory=dict)
    live: dict[KeyScope, SecretRow] = attrs.field(factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Holdings:
        """Index the rows of a store."""
        made = cls()
        for row in rows:
            made._take(row)
        return made

    def __repr__(self) -> str:
        return f"<Holdings secrets={len(self.secrets)} keks={len(self.keks)}>"

    def active(self, scope: KeyScope) -> SecretRow | None:
        """The version that leases are made of."""
        return self.live.get(scope)

    def newest_version(self, scope: KeyScope) -> int:
        """The highest version ever given; 0 when there is none."""
        return max(self.secrets.get(scope, {}), default=0)

    def active_kek(self, tenant: str, environment: str) -> KekRow | None:
        """The KEK that seals next."""
        rows = self.keks_of(tenant, environment)
        return next((row for row in rows if row.state == "active"), None)

    def keks_of(self, tenant: str, environment: str) -> list[KekRow]:
        """All versions, newest first."""
        found = [
            row
            for row in self.keks.values()
            if (row.tenant, row.environment) == (tenant, environment)
        ]
        return sorted(found, key=lambda row: -row.version)

    def rows_of(self, tenant: str, environment: str) -> Iterator[SecretRow]:
        """Every row of a tenant and environment that has a sealed record."""
        for scope, versions in self.secrets.items():
            if (scope.tenant, scope.environment) == (tenant, environment):
                yield from (row for row in versions.values() if row.record)

    def apply(self, changes: Iterable[Put | Drop]) -> None:
        """Follow what was committed."""
        for change in changes:
            if isinstance(change, Put):
                self._take(change.row)
            else:
                self._forget(change.row)

    def _take(self, row: Row) -> None:
        match row:
            case KekRow():
                self.keks[row.id, row.version] = row
            case SecretRow():
                scope = scope_of(row)
                self.secrets.setdefault(scope, {})[row.version] = row
                self._choose(scope)
            case RotationRow():
                self.rotations[scope_of(row)] = row

    def _forget(self, row: Row) -> None:
        match row:
            case KekRow():
                self.keks.pop((row.id, row.version), None)
            case SecretRow():
                scope = scope_of(row)
                self.secrets.get(scope, {}).pop(row.version, None)
                self._choose(scope)
            case RotationRow():
                self.rotations.pop(scope_of(row), None)

    def _choose(self, scope: KeyScope) -> None:
        versions = self.secrets.get(scope, {}).values()
        active = [row for row in versions if row.state == "active"]
        if active:
            self.live[scope] = max(active, key=lambda row: row.version)
        else:
            self.live.pop(scope, None)


def scope_of(row: SecretRow | RotationRow) -> KeyScope:
    """The name of a secret, without its version."""
    return KeyScope(row.provider, row.name, row.tenant, row.environment)


def kek_id(tenant: str, environment: str) -> str:
    """One KEK a tenant and environment; two workers that make it meet at the store."""
    return f"{tenant}/{environment}"


def moved(row: SecretRow, state: SecretState, *, now_s: float = 0.0) -> SecretRow:
    """The row in another state; `retired_s` is when it left service.

    A revoked one loses its record: whoever can change the row's state in the store
    still brings no revoked key back.
    """
    return replace(
        row,
        state=state,
        record=b"" if state == "revoked" else row.record,
        revision=row.revision + 1,
        retired_s=now_s if state in ("retired", "revoked") else 0.0,
    )


def kek_moved(row: KekRow, state: KekState) -> KekRow:
    """The KEK in another state; a destroyed one keeps its name and loses its key."""
    blob = b"" if state == "destroyed" else row.blob
    return replace(row, state=state, blob=blob, revision=row.revision + 1)


def name_problem(scope: KeyScope) -> str:
    """Why a secret cannot be called so; empty when it can."""
    for what, name in (
        ("tenant", scope.tenant),
        ("environment", scope.environment),
        ("provider", scope.provider),
        ("name", scope.name),
    ):
        plain = name.replace("-", "").replace("_", "").replace(".", "")
        if not (name and plain.isascii() and plain.isalnum()):
            return f"{what} {name!r} has other characters than letters, digits, . _ -"
        if len(name) > NAME_CHARS_MAX:
            return f"{what} has more than {NAME_CHARS_MAX} characters"
    return ""
