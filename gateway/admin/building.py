"""The admin API put together: every operation, the document, and its two doors.

`public` asks for tokens; `control` is behind the control socket, whose user is the
operator. The Console calls `api` itself, as whoever is logged in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors.auditor.messages import Attest, AuditEvent, Noted, Receipt
from gateway.admin import openapi
from gateway.admin.api import BASE, AdminApi, Recorder, Routes
from gateway.admin.http import UNVERSIONED, AdminHttp
from gateway.admin.login import Login
from gateway.admin.office import Books, Office
from gateway.admin.operation import Operation
from gateway.admin.resources import (
    adjusting,
    alerts,
    audit,
    budget,
    configuration,
    declared,
    keys,
    models,
    people,
    preview,
    providers,
    records,
    secrets,
    system,
    tokens,
    usage,
)
from gateway.gate import Gate

if TYPE_CHECKING:
    from runtime import System


@attrs.frozen
class Admin:
    """The API and its doors."""

    api: AdminApi
    public: AdminHttp
    control: AdminHttp
    office: Office


def build(
    gate: Gate,
    find_system: Callable[[], System],
    *,
    version: str,
    books: Books | None = None,
) -> Admin:
    """Everything, ready to be served. Actors are looked up when they are needed.

    `books` may be filled later: listeners are bound before the database is opened.
    """
    books = books or Books()
    office = Office(gate, find_system, version, books)
    operations = every(office)
    record = _recorder(gate)

    def crashed(request_id: str, error: Exception) -> None:
        gate.logs.log.error("admin.crashed", request_id=request_id, exc_info=error)

    api = AdminApi(
        Routes(operations),
        record,
        book=lambda: books.repeats,
        wall=gate.wall,
        crashed=crashed,
    )
    login = Login(
        lambda: gate.config,
        lambda: books.tokens,
        record.note,
        now=trio.current_time,
        wall=gate.wall,
    )
    return Admin(api, AdminHttp(api, login), AdminHttp(api, None), office)


def every(office: Office) -> tuple[Operation, ...]:
    """All operations there are."""

    @cache
    def document() -> Any:
        return document_of(found, office.version)

    found: tuple[Operation, ...] = (
        *system.operations(office, document),
        *declared.operations(office),
        *keys.operations(office),
        *budget.operations(office),
        *adjusting.operations(office),
        *configuration.operations(office),
        *models.operations(office),
        *providers.operations(office),
        *usage.operations(office),
        *records.operations(office),
        *preview.operations(office),
        *alerts.operations(office),
        *audit.operations(office),
        *tokens.operations(office),
        *secrets.operations(office),
        *people.operations(office),
    )
    return found


def document_of(operations: tuple[Operation, ...], version: str) -> Any:
    """The OpenAPI document, with whole paths."""
    return openapi.document(
        operations, base=BASE, unversioned=UNVERSIONED, version=version
    )


def _recorder(gate: Gate) -> Recorder:
    """Over the auditor, which is found once the tree runs."""

    async def attest(event: AuditEvent) -> Receipt:
        return await gate.auditor.ask(Attest(event))

    def note(event: AuditEvent) -> None:
        gate.auditor.offer(Noted((event,)))

    return Recorder(attest, note)
