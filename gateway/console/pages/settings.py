"""Settings: one's own login, and, for owners, who else may log in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from actors.auditor.messages import AuditEvent, Noted
from actors.people import Changed, NameTaken
from gateway.console import passkeys
from gateway.console.app import BASE, Console, Page
from gateway.console.forms import names_in
from gateway.console.pages.access import JSON, scheme_of
from gateway.console.passkeys import BadPasskey
from gateway.console.passwords import Weak, check
from gateway.console.visit import Refused, Shown, Visit, at

ME: Final = f"{BASE}/settings/me"
PEOPLE: Final = f"{BASE}/settings/people"
NAME_CHARS_MAX: Final = 60


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    person = "/settings/people/{person}"
    owners = partial(Page, role="owner", operator=True)
    return (
        Page("GET", "/settings", index),
        Page("GET", "/settings/me", me),
        Page("POST", "/settings/me/password", change_password, sure=True),
        Page("POST", "/settings/me/passkeys/options", passkey_options),
        Page("POST", "/settings/me/passkeys", add_passkey),
        Page("POST", "/settings/me/passkeys/remove", remove_passkey, sure=True),
        Page("POST", "/settings/me/elsewhere", log_out_elsewhere),
        owners("GET", "/settings/people", people),
        owners("POST", "/settings/people", invite, sure=True),
        owners("GET", person, somebody),
        owners("POST", person, change, sure=True),
        owners("POST", f"{person}/link", link, sure=True),
        owners("POST", f"{person}/remove", remove, sure=True),
    )


async def index(visit: Visit) -> Shown:
    """What there is to set."""
    return visit.show("settings.html")


# -- one's own -------------------------------------------------------------------------


async def me(visit: Visit) -> Shown:
    """Password, passkeys, and where one is logged in."""
    return await _me(visit, 200, "")


async def _me(visit: Visit, status: int, problem: str) -> Shown:
    book = visit.console.people
    person = visit.who.person
    return visit.show(
        "me.html",
        status,
        problem=problem,
        passkeys=await book.passkeys(person.id),
        sessions=await book.sessions(person.id),
        this=visit.who.session.digest,
    )


async def change_password(visit: Visit) -> Shown:
    """Another one; everybody else who is logged in with the old one is logged out."""
    person = visit.who.person
    password = visit.form.get("password", [""])[-1]
    if password != visit.form.get("again", [""])[-1]:
        return await _me(visit, 422, "The two passwords are not the same.")
    try:
        check(password, person.name)
    except Weak as weak:
        return await _me(visit, 422, f"The password: {weak}.")
    stored = await visit.console.passwords.hashed(password)
    book = visit.console.people
    try:
        await book.change(replace(person, password=stored))
    except Changed:
        return await _me(visit, 409, "Your account was changed meanwhile; try again.")
    await book.close_others(person.id, visit.who.session.digest)
    _note(visit, "console.password")
    return visit.go(ME, done="saved")


async def passkey_options(visit: Visit) -> Shown:
    """What the browser's authenticator is asked for a new passkey."""
    person = visit.who.person
    known = await visit.console.people.passkeys(person.id)
    place = passkeys.place_of(visit.request.headers, scheme_of(visit))
    asked = passkeys.registration(person, known, place, visit.who.secret, visit.now_ms)
    return Shown(200, asked.encode(), JSON)


async def add_passkey(visit: Visit) -> Shown:
    """Keep a new one. Answers JSON: a script asks."""
    if not visit.who.is_sure(visit.now_ms):
        return _told(403, "Log in anew first: that was too long ago.")
    name = "".join(c for c in visit.field("name") if c.isprintable())[:NAME_CHARS_MAX]
    place = passkeys.place_of(visit.request.headers, scheme_of(visit))
    try:
        made = passkeys.register(
            visit.field("answer"),
            visit.who.person,
            name or "Passkey",
            place=place,
            secret=visit.who.secret,
            now_ms=visit.now_ms,
        )
        await visit.console.people.add_passkey(made)
    except (BadPasskey, NameTaken) as bad:
        return _told(422, str(bad))
    _note(visit, "console.passkey.add")
    return _told(200, "")


async def remove_passkey(visit: Visit) -> Shown:
    """It opens nothing from now on."""
    try:
        credential = bytes.fromhex(visit.field("credential"))
    except ValueError:
        credential = b""
    await visit.console.people.remove_passkey(visit.who.person.id, credential)
    _note(visit, "console.passkey.remove")
    return visit.go(ME, done="removed")


async def log_out_elsewhere(visit: Visit) -> Shown:
    """End every other session."""
    who = visit.who
    await visit.console.people.close_others(who.person.id, who.session.digest)
    _note(visit, "console.logout.elsewhere")
    return visit.go(ME, done="removed")


# -- everybody's -----------------------------------------------------------------------


async def people(visit: Visit) -> Shown:
    """Who may log in."""
    return await _people(visit, 200, None, "")


async def _people(visit: Visit, status: int, invited: Any, problem: str) -> Shown:
    return visit.show(
        "people.html",
        status,
        people=await visit.every("/people"),
        invited=invited,
        problem=problem,
    )


async def invite(visit: Visit) -> Shown:
    """Make a link for somebody, and show it once."""
    wanted = {
        "name": visit.field("name").lower(),
        "role": visit.field("role"),
        "tenants": _tenants(visit),
    }
    try:
        invited = await visit.ask(
            "POST", "/people", body=wanted, once=visit.field("once")
        )
    except Refused as refused:
        return await _people(visit, refused.status, None, refused.told)
    return await _people(visit, 201, invited, "")


async def somebody(visit: Visit) -> Shown:
    """One person."""
    return await _somebody(visit, 200, "")


async def _somebody(visit: Visit, status: int, problem: str) -> Shown:
    one, version = await visit.ask_versioned(
        "GET", at("people", visit.params["person"])
    )
    return visit.show("person.html", status, one=one, version=version, problem=problem)


async def change(visit: Visit) -> Shown:
    """What they may."""
    wanted = {
        "role": visit.field("role"),
        "tenants": _tenants(visit),
        "disabled": visit.field("disabled") == "on",
    }
    path = at("people", visit.params["person"])
    try:
        await visit.ask(
            "PUT", path, body=wanted, if_match=visit.field("version"),
            once=visit.field("once"),
        )  # fmt: skip
    except Refused as refused:
        return await _somebody(visit, refused.status, refused.told)
    return visit.go(PEOPLE, done="saved")


async def link(visit: Visit) -> Shown:
    """Another link, shown once."""
    path = at("people", visit.params["person"], "link")
    try:
        invited = await visit.ask("POST", path, once=visit.field("once"))
    except Refused as refused:
        return await _somebody(visit, refused.status, refused.told)
    return await _people(visit, 200, invited, "")


async def remove(visit: Visit) -> Shown:
    """For good."""
    path = at("people", visit.params["person"])
    try:
        await visit.ask(
            "DELETE", path, if_match=visit.field("version"), once=visit.field("once")
        )
    except Refused as refused:
        return await _somebody(visit, refused.status, refused.told)
    return visit.go(PEOPLE, done="removed")


def _tenants(visit: Visit) -> list[str]:
    return names_in(visit.field("tenants"))


def _note(visit: Visit, act: str) -> None:
    actor = f"user:{visit.who.person.name}"
    event = AuditEvent(act, actor=actor, req=visit.request_id)
    visit.console.office.gate.auditor.offer(Noted((event,)))


def _told(status: int, error: str) -> Shown:
    return Shown(status, msgspec.json.encode({"error": error}), JSON)
