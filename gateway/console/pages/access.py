"""Coming and going: set-up, invitations, login, passkeys, logging out.

Nobody learns here whether a name exists: a wrong name and a wrong password take as long
and are told alike. Every try is in the audit log, by name and by address.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from actors.auditor.messages import AuditEvent, Noted
from actors.people import Changed, NameTaken, Passkey, Person
from gateway.console import passkeys
from gateway.console.app import BASE, Console, Page
from gateway.console.links import digest_of
from gateway.console.passkeys import BadPasskey
from gateway.console.passwords import Weak, check
from gateway.console.sessions import cookie
from gateway.console.visit import Shown, Visit

LOGIN: Final = f"{BASE}/login"
HINT: Final = "stagedoor_passkey"  # The secret of one login by passkey.
HINT_BYTES: Final = 32
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._%+@-]{1,126}[a-z0-9]")
WRONG: Final = "The name or the password is wrong."
JSON: Final = (("content-type", "application/json"),)


def pages(_console: Console) -> Sequence[Page]:
    """The pages of this file."""
    return (
        Page("GET", "/login", login, anyone=True),
        Page("POST", "/login", log_in, anyone=True),
        Page("POST", "/login/passkey/options", passkey_options, anyone=True),
        Page("POST", "/login/passkey", passkey_login, anyone=True),
        Page("POST", "/logout", log_out),
        Page("GET", "/welcome", welcome, anyone=True),
        Page("POST", "/welcome", accept, anyone=True),
        Page("GET", "/confirm", confirm),
        Page("POST", "/confirm", confirmed),
    )


# -- logging in ------------------------------------------------------------------------


async def login(visit: Visit) -> Shown:
    """The form."""
    if visit.visitor is not None:
        return visit.go(inside(visit.query.get("next", "")))
    return visit.show(
        "login.html", name="", problem="", next=visit.query.get("next", "")
    )


async def log_in(visit: Visit) -> Shown:
    """By password."""
    name = visit.field("name").lower()
    password = visit.form.get("password", [""])[-1]
    following = visit.field("next")
    waits_s = wait_s(visit, name)
    if waits_s:
        told = f"Too many tries. Try again in {math.ceil(waits_s)} s."
        shown = visit.show("login.html", 429, name=name, problem=told, next=following)
        return replace_headers(shown, ("retry-after", str(math.ceil(waits_s))))
    console = visit.console
    person = await console.people.find(name) if NAME.fullmatch(name) else None
    usable = person is not None and person.disabled_ms is None
    stored = person.password if person is not None and usable else ""
    good = await console.passwords.verify(stored, password)
    if not good or person is None or not usable:
        failed(visit, name)
        return visit.show("login.html", 401, name=name, problem=WRONG, next=following)
    if console.passwords.is_stale(person.password):
        await _set_password(visit, person, password)
    return await enter(visit, person, "password", following)


async def passkey_options(visit: Visit) -> Shown:
    """What the browser's authenticators are asked."""
    secret = secrets.token_bytes(HINT_BYTES)
    place = passkeys.place_of(visit.request.headers, scheme_of(visit))
    asked = passkeys.question((), place, secret, visit.now_ms)
    hint = (
        f"{HINT}={secret.hex()}; Path={LOGIN}; HttpOnly; SameSite=Strict; Max-Age=600"
    )
    hint += "; Secure" if scheme_of(visit) == "https" else ""
    return Shown(200, asked.encode(), (*JSON, ("set-cookie", hint)))


async def passkey_login(visit: Visit) -> Shown:
    """By passkey: the answer of the browser, as JSON in the form."""
    waits_s = wait_s(visit, "")
    if waits_s:
        return _json(429, {"error": f"Too many tries; wait {math.ceil(waits_s)} s."})
    people = visit.console.people
    try:
        person, passkey, used = await _proven(visit, visit.field("answer"))
    except BadPasskey as bad:
        failed(visit, "passkey")
        return _json(401, {"error": str(bad)})
    await people.passkey_used(passkey.id, used, visit.now_ms)
    entered = await enter(visit, person, "passkey", visit.field("next"))
    where = dict(entered.headers)["location"]
    headers = tuple(h for h in entered.headers if h[0] == "set-cookie")
    gone = f"{HINT}=; Path={LOGIN}; HttpOnly; Max-Age=0"
    return Shown(
        200,
        msgspec.json.encode({"next": where}),
        (*JSON, *headers, ("set-cookie", gone)),
    )


async def log_out(visit: Visit) -> Shown:
    """End the session, here and in the database."""
    await visit.console.sessions.close(visit.who)
    _note(visit, "console.logout", visit.who.person.name)
    shown = visit.go(f"{LOGIN}?done=logged-out")
    return replace_headers(shown, ("set-cookie", _cookie(visit, None)))


# -- links that work once --------------------------------------------------------------


async def welcome(visit: Visit) -> Shown:
    """The form of a set-up or an invitation; its secret is behind the # of the link."""
    return visit.show("welcome.html", name="", problem="")


async def accept(visit: Visit) -> Shown:
    """Choose a name and a password."""
    name = visit.field("name").lower()
    password = visit.form.get("password", [""])[-1]
    again = visit.form.get("again", [""])[-1]
    problem = ""
    if not NAME.fullmatch(name):
        problem = "The name is an e-mail address, or letters and digits, at least 3."
    elif password != again:
        problem = "The two passwords are not the same."
    else:
        try:
            check(password, name)
        except Weak as weak:
            problem = f"The password: {weak}."
    waits_s = wait_s(visit, "")
    if waits_s:
        problem = f"Too many tries. Try again in {math.ceil(waits_s)} s."
    if problem:
        return visit.show("welcome.html", 422, name=name, problem=problem)
    people = visit.console.people
    try:
        digest = digest_of(bytes.fromhex(visit.field("link")))
    except ValueError:
        digest = b""
    # Hashed first: a link is used up only by what will succeed.
    stored = await visit.console.passwords.hashed(password)
    person_id = await people.accept(digest, visit.now_ms)
    person = None if person_id is None else await people.get(person_id)
    if person is None or person.disabled_ms is not None:
        failed(visit, "invitation")
        told = "This link works no more. Ask for a new one."
        return visit.show("welcome.html", 410, name=name, problem=told)
    try:
        await people.change(replace(person, name=name, password=stored))
    except (NameTaken, Changed) as taken:
        # The link is used up; whoever invited can make another.
        return visit.show("welcome.html", 409, name=name, problem=f"{taken}.")
    fresh = await people.get(person.id)
    assert fresh is not None
    await people.close_others(person.id, b"")
    return await enter(visit, fresh, "invitation", "")


# -- proving it again ------------------------------------------------------------------


async def confirm(visit: Visit) -> Shown:
    """The form, before something dangerous."""
    return visit.show("confirm.html", problem="", next=visit.query.get("next", ""))


async def confirmed(visit: Visit) -> Shown:
    """By password."""
    person = visit.who.person
    waits_s = wait_s(visit, person.name)
    following = visit.field("next")
    if waits_s:
        told = f"Too many tries. Try again in {math.ceil(waits_s)} s."
        return visit.show("confirm.html", 429, problem=told, next=following)
    given = visit.form.get("password", [""])[-1]
    if not await visit.console.passwords.verify(person.password, given):
        failed(visit, person.name)
        told = "That is not your password."
        return visit.show("confirm.html", 401, problem=told, next=following)
    await visit.console.sessions.sure(visit.who, visit.now_ms)
    return visit.go(inside(following))


async def _proven(visit: Visit, answer: str) -> tuple[Person, Passkey, int]:
    """Whose passkey it is, and its new counter. Raises BadPasskey."""
    people = visit.console.people
    cookies = visit.request.headers.get("cookie", "")
    hint = re.search(rf"{HINT}=([0-9a-f]{{64}})", cookies)
    if hint is None:
        raise BadPasskey("the login took too long; try again")
    passkey = await people.passkey(passkeys.credential_of(answer))
    person = None if passkey is None else await people.get(passkey.person)
    if passkey is None or person is None or person.disabled_ms is not None:
        raise BadPasskey("this passkey opens nothing here")
    place = passkeys.place_of(visit.request.headers, scheme_of(visit))
    secret = bytes.fromhex(hint[1])
    used = passkeys.verify(answer, passkey, place, secret, visit.now_ms)
    return person, passkey, used


# -- parts -----------------------------------------------------------------------------


async def enter(visit: Visit, person: Person, how: str, following: str) -> Shown:
    """They have proved who they are: a new session."""
    agent = visit.request.headers.get("user-agent", "")
    visitor = await visit.console.sessions.open(person, agent, visit.now_ms)
    _note(visit, "console.login", person.name, how=how)
    shown = visit.go(inside(following))
    return replace_headers(shown, ("set-cookie", _cookie(visit, visitor.secret)))


async def _set_password(visit: Visit, person: Person, password: str) -> None:
    stored = await visit.console.passwords.hashed(password)
    try:
        await visit.console.people.change(replace(person, password=stored))
    except Changed:
        return  # The next login does it.


def wait_s(visit: Visit, name: str) -> float:
    """How long this address, or this name, has to wait."""
    throttle, now = visit.console.throttle, visit.console.now()
    waits = [throttle.wait_s(key, now) for key in _throttled(visit, name)]
    return max(waits)


def failed(visit: Visit, name: str) -> None:
    """A try that let nobody in."""
    for key in _throttled(visit, name):
        visit.console.throttle.failed(key, visit.console.now())
    # Names that nobody has are not repeated: people type passwords there.
    _note(visit, "console.login", "", out="denied")


def _throttled(visit: Visit, name: str) -> list[str]:
    keys = [f"address:{_address(visit)}"]
    return [*keys, f"name:{name}"] if name else keys


def _address(visit: Visit) -> str:
    return visit.console.office.gate.address_of(visit.request)


def _note(visit: Visit, act: str, name: str, *, out: str = "ok", how: str = "") -> None:
    facts = {"how": how, "ip": _address(visit)}  # The log keeps a hash of an address.
    detail = tuple((name, value) for name, value in facts.items() if value)
    actor = f"user:{name}" if name else "nobody"
    event = AuditEvent(act, actor=actor, out=out, req=visit.request_id, detail=detail)
    visit.console.office.gate.auditor.offer(Noted((event,)))


def inside(path: str) -> str:
    """Where to go: a page of the Console, never another place."""
    ours = path == BASE or path.startswith(f"{BASE}/")
    # `..` leads out of it, also as browsers read `%2e`.
    parts = path.partition("?")[0].lower().replace("%2e", ".").split("/")
    plain = "\\" not in path and "//" not in path and path.isprintable()
    plain = plain and not {".", ".."}.intersection(parts)
    return path if ours and plain and not path.startswith(LOGIN) else BASE


def scheme_of(visit: Visit) -> str:
    """The scheme that the browser sees, also behind a proxy that ends TLS."""
    origin = visit.request.headers.get("origin", "")
    if origin.startswith("https://"):
        return "https"
    return str(visit.request.scope.get("scheme", "http"))


def _cookie(visit: Visit, secret: bytes | None) -> str:
    return cookie(secret, secure=scheme_of(visit) == "https")


def _json(status: int, value: dict[str, str]) -> Shown:
    return Shown(status, msgspec.json.encode(value), JSON)


def replace_headers(shown: Shown, *more: tuple[str, str]) -> Shown:
    """The same answer, with these headers too."""
    return Shown(shown.status, shown.body, (*shown.headers, *more))
