"""What operations work with: one value, made when the gateway is put together.

Owns: nothing. `gate` leads to the actors and the configuration; the books are ports to
the database, None where there is none (then what needs one says so with 503).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from actors.adminbooks import IdempotencyBook, TokenBook
from actors.archivist.ports import RecordBook
from actors.auditor.reading import LogReader
from actors.directory.messages import (
    Exists,
    Kind,
    Outdated,
    TooMany,
    Unfit,
    Unknown,
)
from actors.directory.ports import Directory
from actors.herald.ports import AlertBook, Secrets
from actors.people import PeopleBook
from actors.provider.pauses import Pause, PauseBook
from gateway.admin.operation import Call
from gateway.admin.problems import FieldError, Problem
from gateway.gate import Gate
from gateway.settings.config import Config

if TYPE_CHECKING:
    from runtime import System

T = TypeVar("T")


@attrs.define
class Books:
    """What is in the database; None where there is none, or not yet.

    `base` is the configuration of the file alone; `audit` reads the log's files, which
    a gateway in memory has none of.
    """

    tokens: TokenBook | None = None
    repeats: IdempotencyBook | None = None
    records: RecordBook | None = None
    people: PeopleBook | None = None
    alerts: AlertBook | None = None
    pauses: PauseBook | None = None
    webhook_secrets: Secrets | None = None
    directory: Directory | None = None
    audit: LogReader | None = None
    base: Callable[[], Config] | None = None


@attrs.define
class Office:
    """Ports and neighbours of the operations."""

    gate: Gate
    system: Callable[[], System]
    version: str
    books: Books

    @property
    def config(self) -> Config:
        """The configuration as it is now: the file's and the directory's together."""
        return self.gate.config

    def file(self) -> Config:
        """The configuration of the file alone."""
        return self.gate.config if self.books.base is None else self.books.base()

    def now_ms(self) -> int:
        """Unix time."""
        return int(self.gate.wall() * 1000)

    def tenant_in(self, kind: Kind, name: str, settings: Mapping[str, Any]) -> str:
        """Whose an object with these settings is; empty for the operator's."""
        if kind == "tenant":
            return name
        if kind != "site":
            return ""
        return str(settings.get("tenant") or self.config.vault.tenant)

    async def pause(self, provider: str, reason: str, by: str) -> None:
        """Take a provider out of use (with a reason) or put it back (without).

        At once here and in the workers beside; the others, and those that start later,
        learn it from the database.
        """
        book = self.books.pauses
        if book is not None and reason:
            await book.pause(Pause(provider, reason, by, self.now_ms()))
        elif book is not None:
            await book.resume(provider)
        self.gate.pause(provider, reason)

    def tenant_of(self, site: str) -> str:
        """The tenant of a site that is served here. Raises Problem."""
        for one in self.config.sites:
            if one.name == site:
                return self.config.home_of(one)[0]
        raise Problem("not-found", f"there is no site {site}")

    def own_site(self, call: Call, name: str) -> str:
        """A site that is served here, and that the caller may see. Raises Problem."""
        tenant = self.tenant_of(name)
        call.principal.check_tenant(tenant, f"site {name}")
        return name

    async def site_of(self, call: Call) -> tuple[str, str]:
        """The site in the path, and its tenant. Raises Problem.

        One that was just added may not be served here yet: the directory knows it.
        """
        site = call.param("site")
        try:
            tenant = self.tenant_of(site)
        except Problem:
            if self.books.directory is None:
                raise
            with refusals():
                made = await self.books.directory.declared("site", site)
            tenant = self.tenant_in("site", site, made.document)
        call.principal.check_tenant(tenant, f"site {site}")
        return site, tenant


def needed(port: T | None, what: str) -> T:
    """A port that has to be there. Raises Problem."""
    if port is None:
        raise Problem("unavailable", f"{what} needs the database, and there is none")
    return port


def directory_of(office: Office) -> Directory:
    """The directory. Raises Problem."""
    return needed(office.books.directory, "a change")


# How the directory's judge says what is wrong: `database: sites.blog.models: is …`.
_SAID: Final = re.compile(r"(?:database: )?([a-z]+\.[^ :]+): (.*)", re.DOTALL)


def _field_error(said: str, label: str) -> FieldError:
    """What is wrong, and with which setting of the object; `label` is `sites.blog`."""
    found = _SAID.fullmatch(said)
    if found is None:
        return FieldError("$.settings", said)
    where, what = found[1], found[2]
    if label and where.startswith(f"{label}."):
        return FieldError(f"$.settings.{where[len(label) + 1 :]}", what)
    return FieldError("$.settings", f"{where}: {what}")


@contextmanager
def refusals(label: str = "") -> Generator[None]:
    """The directory's refusals as problems; `label` is the object in the judge's words.

    Raises Problem.
    """
    try:
        yield
    except Unknown as error:
        raise Problem("not-found", str(error)) from None
    except Exists as error:
        raise Problem("conflict", str(error)) from None
    except Outdated as error:
        raise Problem("stale", str(error)) from None
    except TooMany as error:
        raise Problem("conflict", str(error)) from None
    except Unfit as error:
        errors = tuple(_field_error(one, label) for one in error.problems)
        told = "; ".join(f"{one.path}: {one.message}" for one in errors)
        raise Problem("invalid", told[:500], errors=errors) from None


@contextmanager
def still_named(what: str) -> Generator[None]:
    """Who names the object that is to go, as a problem about them. Raises Problem."""
    try:
        yield
    except Unfit as error:
        found = [_SAID.fullmatch(one) for one in error.problems]
        places = ", ".join(one[1] for one in found if one is not None)
        told = f"{what} is needed by {places or error}; change that first"
        raise Problem("conflict", told[:500]) from None
