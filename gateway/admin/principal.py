"""Who asks: a role, and the tenants it is about. Pure.

viewer sees; admin changes what a tenant owns (sites, keys, caps, policies); owner also
hands out tokens and may do what cannot be undone. A principal without a list of tenants
is the operator's own: only it sees what belongs to the whole gateway.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.adminbooks import Role
from gateway.admin.problems import Problem

RANK: Final[dict[Role, int]] = {"viewer": 0, "admin": 1, "owner": 2}


@attrs.frozen
class Principal:
    """An authenticated caller.

    Args:
        name: as the audit log names it: `token:ci`, `operator:control`, `user:…`.
        tenants: those it may see and change; None is all, and the gateway itself.
        seal: what its repeatable answers are sealed with: the credential's bytes, which
            nothing stores.
    """

    name: str
    role: Role
    tenants: frozenset[str] | None = None
    seal: bytes = attrs.field(default=b"", repr=False, eq=False)

    def may(self, role: Role) -> bool:
        """Whether its role is enough."""
        return RANK[self.role] >= RANK[role]

    def sees(self, tenant: str) -> bool:
        """Whether a tenant's things are its business."""
        return self.tenants is None or tenant in self.tenants

    @property
    def is_operator(self) -> bool:
        """Whether the whole gateway is its business."""
        return self.tenants is None

    def check_role(self, role: Role) -> None:
        """Raise Problem."""
        if not self.may(role):
            raise Problem("forbidden", f"this needs the role {role}, not {self.role}")

    def check_operator(self) -> None:
        """Raise Problem: it is bound to tenants, and this is about the gateway."""
        if self.tenants is not None:
            raise Problem(
                "forbidden",
                "this concerns the whole gateway; a credential for some of its tenants "
                "does not reach it",
            )

    def check_tenant(self, tenant: str, what: str) -> None:
        """Raise Problem, the same one as for a thing that does not exist."""
        if not self.sees(tenant):
            raise Problem("not-found", f"there is no {what}")


OPERATOR: Final = Principal("operator:control", "owner")
