"""People at the Console: invited, given roles, shut out.

Passwords and passkeys are not here: those are everybody's own, and set at the Console.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec.structs import replace

from actors.adminbooks import Role
from actors.people import (
    Changed,
    LastOwner,
    NameTaken,
    PeopleBook,
    Person,
)
from gateway.admin.office import Office, needed
from gateway.admin.operation import Answer, Call, Operation, etag
from gateway.admin.paging import Page, Paged, page_of
from gateway.admin.problems import Problem
from gateway.admin.resources.tokens import TenantName
from gateway.console import first
from gateway.console.links import LINK_MS

PersonName = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9][a-z0-9._%+@-]{1,126}[a-z0-9]$",
        description="What they log in with: an e-mail address, or a name.",
    ),
]
Tenants = Annotated[
    tuple[TenantName, ...],
    msgspec.Meta(
        max_length=100,
        description="The tenants they look after. Empty: all, and the gateway itself.",
    ),
]


class PersonShown(msgspec.Struct, frozen=True):
    """Somebody who may log in."""

    id: str
    name: str
    role: Role
    tenants: tuple[str, ...] | None
    """Null is all tenants, and the gateway itself."""
    created_ms: int
    created_by: str
    disabled: bool
    seen_ms: int | None
    """When they last logged in."""
    pending: bool
    """Whether they have not used their link yet."""


class Invited(msgspec.Struct, frozen=True):
    """A person, and the link by which they choose a password. It works once."""

    person: PersonShown
    link: str
    """Below the Console's address. Not shown again."""
    expires_ms: int


class PersonWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody to be invited."""

    name: PersonName
    role: Role = "viewer"
    tenants: Tenants = ()


class PersonChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody may, from now on."""

    role: Role
    tenants: Tenants = ()
    disabled: bool = False


def shown(person: Person) -> PersonShown:
    """As the API shows it."""
    return PersonShown(
        person.id,
        person.name,
        person.role,
        person.tenants,
        person.created_ms,
        person.created_by,
        person.disabled_ms is not None,
        person.seen_ms,
        not person.password and person.seen_ms is None,
    )


def operations(office: Office) -> tuple[Operation, ...]:
    """All about people."""

    def book() -> PeopleBook:
        return needed(office.books.people, "the list of people")

    async def one(call: Call) -> Person:
        name = call.param("person")
        found = await book().get(name)
        if found is None:
            raise Problem("not-found", f"there is no person {name}")
        return found

    async def invited(person: Person) -> Invited:
        now_ms = office.now_ms()
        link = await first.invite(book(), person.id, now_ms)
        return Invited(shown(person), link, now_ms + LINK_MS)

    async def everybody(call: Call) -> Page[PersonShown]:
        found = page_of(
            "people", await book().everybody(), call.query, lambda one: one.name
        )
        return Page(tuple(map(shown, found.items)), found.next_cursor)

    async def get(call: Call) -> Answer:
        person = await one(call)
        return Answer(shown(person), etag=etag(person.version))

    async def invite(call: Call) -> Answer:
        asked: PersonWanted = call.body
        person = Person(
            id=first.new_id(),
            name=asked.name,
            role=asked.role,
            tenants=asked.tenants or None,
            created_ms=office.now_ms(),
            created_by=call.principal.name,
        )
        await call.record(person.id, role=person.role)
        try:
            await book().add(person)
        except NameTaken as taken:
            raise Problem("conflict", str(taken)) from None
        return Answer(await invited(person))

    async def change(call: Call) -> Answer:
        asked: PersonChange = call.body
        person = await one(call)
        expected = call.expected()
        if expected is not None and expected != person.version:
            raise Problem("stale", "this person was changed meanwhile")
        now_ms = office.now_ms()
        wanted = replace(
            person,
            role=asked.role,
            tenants=asked.tenants or None,
            disabled_ms=(person.disabled_ms or now_ms) if asked.disabled else None,
        )
        await call.record(person.id, role=asked.role, disabled=int(asked.disabled))
        try:
            await book().change(wanted)
        except LastOwner as last:
            raise Problem("conflict", str(last)) from None
        except Changed:
            raise Problem("stale", "this person was changed meanwhile") from None
        fresh = await one(call)
        return Answer(shown(fresh), etag=etag(fresh.version))

    async def link(call: Call) -> Answer:
        person = await one(call)
        if person.disabled_ms is not None:
            raise Problem("conflict", "they are shut out; let them in again first")
        await call.record(person.id)
        return Answer(await invited(person))

    async def remove(call: Call) -> None:
        person = await one(call)
        expected = call.expected()
        if expected is not None and expected != person.version:
            raise Problem("stale", "this person was changed meanwhile")
        await call.record(person.id)
        try:
            await book().remove(person.id)
        except LastOwner as last:
            raise Problem("conflict", str(last)) from None

    path = "/people/{person}"
    return (
        Operation(
            "listPeople", "GET", "/people", "people", "Who may log in at the Console",
            everybody, role="owner", reach="operator", query=Paged,
            gives=Page[PersonShown],
        ),
        Operation(
            "invitePerson", "POST", "/people", "people", "Invite somebody", invite,
            doc="The link is in this answer and nowhere else; it works once.",
            role="owner", reach="operator", body=PersonWanted, gives=Invited,
            status=201, act="person.invite", conflicts=True,
        ),
        Operation(
            "getPerson", "GET", path, "people", "One person", get, role="owner",
            reach="operator", gives=PersonShown, versioned=True,
        ),
        Operation(
            "changePerson", "PUT", path, "people", "Change what somebody may", change,
            doc="One who is shut out is logged out everywhere at once.",
            role="owner", reach="operator", body=PersonChange, gives=PersonShown,
            act="person.change", versioned=True, conflicts=True,
        ),
        Operation(
            "linkPerson", "POST", f"{path}/link", "people",
            "Make a new link for somebody", link,
            doc="For who lost the first one, or a password. Earlier links end.",
            role="owner", reach="operator", gives=Invited, act="person.link",
            conflicts=True,
        ),
        Operation(
            "removePerson", "DELETE", path, "people", "Remove somebody", remove,
            role="owner", reach="operator", status=204, act="person.remove",
            versioned=True, conflicts=True,
        ),
    )  # fmt: skip
