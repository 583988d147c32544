"""Tenants, sites, providers, models and caps: what the file holds, and what is added.

One set of operations for all five: an object is a name and settings with the words of
`stagedoor.toml`, checked by the same code. Objects of the file are shown and cannot be
changed here. A change is in force in every process within a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec

from actors.adminbooks import Role
from actors.directory.messages import Declared, Kind
from gateway.admin import paging
from gateway.admin.office import Office, directory_of, refusals, still_named
from gateway.admin.operation import Answer, Call, Operation, Reach, etag
from gateway.admin.paging import Page, Paged
from gateway.admin.problems import Problem
from gateway.settings.config import Config
from gateway.settings.dump import document_of

ObjectName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$",
        description="Its name; unique among its kind in the whole gateway.",
    ),
]
SettingsOf = Annotated[
    dict[str, Any],
    msgspec.Meta(
        description="The settings of its table in docs/settings.md, without `name`."
    ),
]


class Object(msgspec.Struct, frozen=True):
    """A tenant, site, provider, model or cap."""

    kind: Kind
    name: str
    tenant: str
    """Whose it is; empty for what is the operator's."""
    origin: Literal["file", "database"]
    """What comes from the file is changed there."""
    settings: dict[str, Any]
    version: int
    """As in its ETag; 0 for an object of the file."""
    created_ms: int | None
    updated_ms: int | None
    updated_by: str


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object to be made."""

    name: ObjectName
    settings: SettingsOf


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings that an object is to have, all of them."""

    settings: SettingsOf


class Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change (RFC 7396): null takes a setting away, tables are merged."""

    settings: SettingsOf


@attrs.frozen
class KindOf:
    """How a kind is reached."""

    kind: Kind
    plural: str
    noun: str
    objects: Callable[[Config], tuple[Any, ...]]
    reach: Reach  # Of reading; what is changed may need more.
    write_reach: Reach
    write_role: Role = "admin"

    @property
    def title(self) -> str:
        """Its name within operations' names."""
        return self.kind.capitalize()


KINDS: Final = (
    KindOf(
        "tenant", "tenants", "tenant", lambda c: c.tenants, "tenant", "operator",
        "owner",
    ),
    KindOf("site", "sites", "site", lambda c: c.sites, "tenant", "tenant"),
    KindOf(
        "provider", "providers", "provider", lambda c: c.providers, "operator",
        "operator",
    ),
    KindOf("model", "models", "model", lambda c: c.models, "operator", "operator"),
    KindOf("cap", "caps", "cap", lambda c: c.caps, "operator", "operator"),
)  # fmt: skip


def of_file(office: Office, kind: KindOf) -> dict[str, Object]:
    """The file's objects of a kind."""
    config = office.file()
    return {
        one.name: Object(
            kind=kind.kind,
            name=one.name,
            tenant=office.tenant_in(kind.kind, one.name, document),
            origin="file",
            settings=document,
            version=0,
            created_ms=None,
            updated_ms=None,
            updated_by="",
        )
        for one in kind.objects(config)
        for document in (document_of(one, server=config),)
    }


def of_database(office: Office, one: Declared) -> Object:
    """An object of the directory."""
    return Object(
        kind=one.kind,
        name=one.name,
        tenant=office.tenant_in(one.kind, one.name, one.document),
        origin="database",
        settings=one.document,
        version=one.version,
        created_ms=one.created_ms,
        updated_ms=one.updated_ms,
        updated_by=one.updated_by,
    )


async def find(office: Office, kind: KindOf, name: str, call: Call) -> Object:
    """An object that the caller may see. Raises Problem."""
    found = of_file(office, kind).get(name)
    if found is None:
        with refusals():
            found = of_database(
                office, await directory_of(office).declared(kind.kind, name)
            )
    if found.tenant:
        call.principal.check_tenant(found.tenant, f"{kind.noun} {name}")
    return found


async def listed(office: Office, kind: KindOf, call: Call) -> Page[Object]:
    """A page of the file's objects and the directory's, by name."""
    asked: Paged = call.query
    place = paging.decode(kind.plural, asked.cursor)
    after = "" if place is None else paging.name_at(place)
    found = [
        one
        for name, one in of_file(office, kind).items()
        if name > after and _sees(call, one)
    ]
    found += await _declared_after(office, kind, call, after, asked.limit + 1)
    found.sort(key=lambda one: one.name)
    return paging.page(kind.plural, found, asked.limit, lambda one: (one.name,))


async def _declared_after(
    office: Office, kind: KindOf, call: Call, after: str, limit: int
) -> list[Object]:
    """The directory's objects after a name that the caller sees."""
    directory = office.books.directory
    if directory is None:
        return []
    found: list[Object] = []
    while len(found) < limit:
        with refusals():
            page = await directory.list_declared(
                kind.kind, after=after, limit=paging.LIMIT_MAX
            )
        shown = (of_database(office, one) for one in page.items)
        found += [one for one in shown if _sees(call, one)]
        after = page.next
        if not after:
            break
    return found


def _sees(call: Call, one: Object) -> bool:
    return not one.tenant or call.principal.sees(one.tenant)


def merged(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    made = dict(old)
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, dict):
            below = made.get(name)
            made[name] = merged(below if isinstance(below, dict) else {}, value)
        else:
            made[name] = value
    return made


def operations(office: Office) -> tuple[Operation, ...]:
    """All about what is declared."""
    found: list[Operation] = []
    for kind in KINDS:
        found += _operations(office, kind)
    return tuple(found)


def _operations(office: Office, kind: KindOf) -> tuple[Operation, ...]:
    one_path = f"/{kind.plural}/{{{kind.kind}}}"

    def answer(made: Object, status: int = 200) -> Answer:
        return Answer(made, status=status, etag=etag(made.version))

    async def every(call: Call) -> Page[Object]:
        return await listed(office, kind, call)

    async def get(call: Call) -> Answer:
        return answer(await find(office, kind, call.param(kind.kind), call))

    async def create(call: Call) -> Answer:
        asked: Wanted = call.body
        settings = _at_home(office, kind, call, asked.settings)
        if asked.name in of_file(office, kind):
            raise Problem("conflict", f"the file has a {kind.noun} {asked.name}")
        return answer(await _put(call, asked.name, settings, 0), 201)

    async def replace(call: Call) -> Answer:
        old = await _changeable(call)
        settings = _at_home(office, kind, call, call.body.settings)
        return answer(await _put(call, old.name, settings, old.version))

    async def patch(call: Call) -> Answer:
        old = await _changeable(call)
        settings = merged(old.settings, call.body.settings)
        settings = _at_home(office, kind, call, settings)
        return answer(await _put(call, old.name, settings, old.version))

    async def remove(call: Call) -> None:
        old = await _changeable(call)
        await call.record(old.name, tenant=old.tenant, kind=kind.kind)
        with refusals(), still_named(f"{kind.noun} {old.name}"):
            await directory_of(office).remove(
                kind.kind, old.name, by=call.principal.name, expected=old.version
            )

    async def _changeable(call: Call) -> Object:
        """The object, at the version that the caller knows. Raises Problem."""
        old = await find(office, kind, call.param(kind.kind), call)
        if old.origin == "file":
            raise Problem("read-only", f"{kind.noun} {old.name} is in the file")
        expected = call.expected()
        if expected is not None and expected != old.version:
            raise Problem("stale", f"{kind.noun} {old.name} is at v{old.version} now")
        return old

    async def _put(
        call: Call, name: str, settings: dict[str, Any], expected: int
    ) -> Object:
        tenant = office.tenant_in(kind.kind, name, settings)
        await call.record(name, tenant=tenant, kind=kind.kind)
        with refusals(f"{kind.plural}.{name}"):
            made = await directory_of(office).declare(
                kind.kind, name, settings, by=call.principal.name, expected=expected
            )
        return of_database(office, made)

    title, noun = kind.title, kind.noun
    write: dict[str, Any] = {
        "role": kind.write_role,
        "reach": kind.write_reach,
        "versioned": True,
        "conflicts": True,
    }
    return (
        Operation(
            f"list{title}s", "GET", f"/{kind.plural}", kind.plural,
            f"Every {noun}, of the file and added", every,
            reach=kind.reach, query=Paged, gives=Page[Object],
        ),
        Operation(
            f"get{title}", "GET", one_path, kind.plural, f"One {noun}", get,
            reach=kind.reach, gives=Object, versioned=True,
        ),
        Operation(
            f"create{title}", "POST", f"/{kind.plural}", kind.plural,
            f"Add a {noun}", create, body=Wanted, gives=Object, status=201,
            act=f"{noun}.create", **write,
        ),
        Operation(
            f"replace{title}", "PUT", one_path, kind.plural,
            f"Give a {noun} other settings", replace, body=Settings, gives=Object,
            act=f"{noun}.change", **write,
        ),
        Operation(
            f"patch{title}", "PATCH", one_path, kind.plural,
            f"Change some settings of a {noun}", patch, body=Patch, gives=Object,
            act=f"{noun}.change", **write,
        ),
        Operation(
            f"remove{title}", "DELETE", one_path, kind.plural,
            f"Take a {noun} away", remove,
            doc="With a site, its keys; requests under way are ended."
            if noun == "site"
            else "",
            status=204, act=f"{noun}.remove", **write,
        ),
    )  # fmt: skip


def _at_home(
    office: Office, kind: KindOf, call: Call, settings: dict[str, Any]
) -> dict[str, Any]:
    """The settings, within what is the caller's. Raises Problem."""
    if "name" in settings:
        raise Problem("invalid", "$.settings.name: the name is not a setting")
    mine = call.principal.tenants
    if kind.kind != "site" or mine is None:
        return settings
    if "tenant" not in settings and len(mine) == 1:
        return {**settings, "tenant": next(iter(mine))}
    tenant = office.tenant_in("site", "", settings)
    if not call.principal.sees(tenant):
        raise Problem("invalid", "$.settings.tenant: is none of this credential's")
    return settings
