"""What operations work with: one value, made when the gateway is put together.

Owns: nothing. `gate` leads to the actors and the configuration; the books are ports to
the database, None where there is none (then what needs one says so with 503).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import attrs

from actors.adminbooks import IdempotencyBook, TokenBook
from actors.archivist.ports import RecordBook
from actors.people import PeopleBook
from actors.provider.messages import SetPaused
from gateway.admin.operation import Call
from gateway.admin.problems import Problem
from gateway.gate import Gate
from gateway.settings.config import Config

if TYPE_CHECKING:
    from runtime import System

T = TypeVar("T")


@attrs.define
class Books:
    """What is in the database; None where there is none, or not yet."""

    tokens: TokenBook | None = None
    repeats: IdempotencyBook | None = None
    records: RecordBook | None = None
    people: PeopleBook | None = None


@attrs.define
class Office:
    """Ports and neighbours of the operations."""

    gate: Gate
    system: Callable[[], System]
    version: str
    books: Books

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.gate.config

    def now_ms(self) -> int:
        """Unix time."""
        return int(self.gate.wall() * 1000)

    def tenant_of(self, site: str) -> str:
        """The tenant that a site belongs to. Raises Problem."""
        if site not in {one.name for one in self.config.sites}:
            raise Problem("not-found", f"there is no site {site}")
        return self.config.vault.tenant

    async def pause(self, provider: str, reason: str, by: str) -> None:
        """Take a provider out of use (with a reason) or put it back (without)."""
        del by
        ref = self.gate.lookup(f"providers/{provider}")
        if ref is not None:
            ref.offer(SetPaused(reason))

    def own_site(self, call: Call, name: str | None = None) -> str:
        """A site that the caller may see. Raises Problem."""
        site = call.param("site") if name is None else name
        tenant = self.tenant_of(site)
        call.principal.check_tenant(tenant, f"site {site}")
        return site


def needed(port: T | None, what: str) -> T:
    """A port that has to be there. Raises Problem."""
    if port is None:
        raise Problem("unavailable", f"{what} needs the database, and there is none")
    return port
