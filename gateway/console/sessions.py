"""Sessions of browsers: a random cookie, its digest in the database, bounded lives.

Owns: how long a login lasts, the token against forged forms, what a cookie says. A new
login is a new session, never an old one raised; logging out ends it in the database.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final

import attrs

from actors.people import PeopleBook, Person, Session
from gateway.admin.principal import Principal
from gateway.console.links import SECRET_BYTES, digest_of

COOKIE: Final = "stagedoor_console"
IDLE_MS: Final = 12 * 3600 * 1000  # A working day with its lunch.
LIFE_MS: Final = 7 * 24 * 3600 * 1000
SURE_MS: Final = 15 * 60 * 1000  # What is dangerous asks for the password again.
SEEN_EVERY_MS: Final = 60_000  # "Last seen" to the minute is enough.
AGENT_CHARS_MAX: Final = 200


@attrs.frozen
class Visitor:
    """Who is at the browser."""

    person: Person
    session: Session
    secret: bytes = attrs.field(repr=False)

    @property
    def csrf(self) -> str:
        """What forms of this session carry, and nobody else can know."""
        return hmac.new(self.secret, b"stagedoor console form", "sha256").hexdigest()

    def is_own_form(self, token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))

    def is_sure(self, now_ms: int) -> bool:
        """Whether they proved who they are a short time ago."""
        return now_ms - self.session.sure_ms < SURE_MS

    @property
    def principal(self) -> Principal:
        """For the admin API."""
        person = self.person
        tenants = None if person.tenants is None else frozenset(person.tenants)
        return Principal(f"user:{person.name}", person.role, tenants, seal=self.secret)


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, people: PeopleBook) -> None:
        self._people = people

    def __repr__(self) -> str:
        return f"<Sessions {self._people!r}>"

    async def open(self, person: Person, agent: str, now_ms: int) -> Visitor:
        """A person has proved who they are: a new session, whatever was before."""
        secret = secrets.token_bytes(SECRET_BYTES)
        agent = "".join(c for c in agent if c.isprintable())[:AGENT_CHARS_MAX]
        session = Session(digest_of(secret), person.id, now_ms, now_ms, now_ms, agent)
        await self._people.open(session)
        return Visitor(person, session, secret)

    async def find(self, headers: Mapping[str, str], now_ms: int) -> Visitor | None:
        """Who sent this."""
        secret = _secret_in(headers.get("cookie", ""))
        if secret is None:
            return None
        found = await self._people.session(digest_of(secret))
        if found is None:
            return None
        session, person = found
        if (
            person.disabled_ms is not None
            or now_ms - session.opened_ms > LIFE_MS
            or now_ms - session.seen_ms > IDLE_MS
        ):
            await self._people.close(session.digest)
            return None
        if now_ms - session.seen_ms > SEEN_EVERY_MS:
            await self._people.seen(session.digest, now_ms, None)
        return Visitor(person, session, secret)

    async def sure(self, visitor: Visitor, now_ms: int) -> None:
        """They proved it again."""
        await self._people.seen(visitor.session.digest, now_ms, now_ms)

    async def close(self, visitor: Visitor) -> None:
        """They log out."""
        await self._people.close(visitor.session.digest)


def cookie(secret: bytes | None, *, secure: bool) -> str:
    """The Set-Cookie of a session; None takes it away."""
    value = secret.hex() if secret is not None else ""
    age = f"Max-Age={LIFE_MS // 1000}" if secret is not None else "Max-Age=0"
    # Lax: a link from a mail finds the person logged in; forms are checked themselves.
    parts = [f"{COOKIE}={value}", "Path=/console", "HttpOnly", "SameSite=Lax", age]
    return "; ".join([*parts, "Secure"] if secure else parts)


def _secret_in(header: str) -> bytes | None:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    if morsel is None or len(morsel.value) != SECRET_BYTES * 2:
        return None
    try:
        return bytes.fromhex(morsel.value)
    except ValueError:
        return None
