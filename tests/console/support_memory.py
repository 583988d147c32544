"""The Console of a gateway in memory, and people who are logged in to it.

No browser: what a page answers to a request that was made by hand, also one that no
browser of good will would send.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import attrs
import httpx
from argon2 import PasswordHasher

from actors.people import Person
from gateway.admin.office import Office
from gateway.console.app import Console, Page
from gateway.console.pages import every
from gateway.console.passwords import Passwords
from gateway.console.sessions import COOKIE, Visitor
from gateway.embed import EPOCH_S, Answer
from gateway.http.routes import client_app
from gateway.settings.config import Config
from storage.sql.people import SqlPeople
from tests.gateway.admin.support_admin import Desk, desk

HOST: Final = "stagedoor.test"
OWN: Final = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
FORM: Final = "application/x-www-form-urlencoded"
PASSWORD: Final = "a quiet stage door"
# As cheap as Argon2 gets: these tests are about who is asked, not for how long.
CHEAP: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@attrs.define
class House:
    """The gateway and its Console."""

    desk: Desk
    console: Console
    pages: tuple[Page, ...]

    async def person(
        self, name: str, role: str, tenants: tuple[str, ...] | None = None
    ) -> Guest:
        """Somebody new, who has just logged in."""
        now_ms = self.console.office.now_ms()
        person = Person(
            f"p_{name}",
            name,
            role,  # type: ignore[arg-type] # A test's own word.
            tenants,
            now_ms,
            "a test",
            password=CHEAP.hash(PASSWORD),
        )
        await self.console.people.add(person)
        return Guest(self, await self.console.sessions.open(person, "test", now_ms))

    async def ask(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request below `/console`, as it is given."""
        body = urlencode(form or {}, doseq=True).encode() if method == "POST" else None
        fields = {"host": HOST, "content-type": FORM, **(headers or {})}
        return await self.desk.gateway.request(
            method, f"/console{path}", body, headers=fields
        )


@attrs.define
class Guest:
    """Somebody's browser."""

    house: House
    visitor: Visitor

    @property
    def cookie(self) -> str:
        """Of this login."""
        assert self.visitor.secret
        return f"{COOKIE}={self.visitor.secret.hex()}"

    async def get(self, path: str, **headers: str) -> Answer:
        """A page."""
        return await self.house.ask(
            "GET", path, headers={"cookie": self.cookie, **headers}
        )

    async def post(
        self,
        path: str,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        csrf: str | None = None,
    ) -> Answer:
        """A form, as our own page sends it."""
        token = self.visitor.csrf if csrf is None else csrf
        return await self.house.ask(
            "POST",
            path,
            {"csrf": token, **(form or {})},
            {"cookie": self.cookie, **OWN, **(headers or {})},
        )


@asynccontextmanager
async def house(
    made: Config | None = None,
    oidc: httpx.AsyncBaseTransport | None = None,
    **more: Any,
) -> AsyncGenerator[House]:
    """A gateway with a Console; `oidc` is where its OpenID provider is."""
    async with desk(made, **more) as at:
        admin = at.gateway.admin
        assert admin is not None
        office: Office = admin.office
        assert at.gateway.gateway.database is not None
        office.books.people = SqlPeople(at.gateway.gateway.database)
        console = Console(
            admin.api,
            office,
            lambda: office.books.people,
            every,
            now=lambda: office.gate.wall() - EPOCH_S,
            passwords=Passwords(CHEAP),
            oidc_transport=oidc,
        )
        at.gateway.app = client_app(
            office.gate,
            created=int(EPOCH_S),
            with_operations=True,
            admin=admin.public.answer,
            console=console.answer,
        )
        yield House(at, console, tuple(every(console)))


def text_of(answer: Answer) -> str:
    """A page as its source."""
    return answer.body.decode()


def seen(answer: Answer) -> str:
    """A page as its words."""
    return html.unescape(re.sub(r"<[^>]+>", " ", text_of(answer)))


def version_in(answer: Answer) -> str:
    """The version that a page's forms are based on."""
    found = re.search(r'name="version" value="([^"]+)"', text_of(answer))
    assert found is not None
    return html.unescape(found[1])


def filled(path: str, named: Mapping[str, str]) -> str:
    """A page's path with names in the places of its parameters."""
    return re.sub(r"\{([a-z]+)\}", lambda found: named[found[1]], path)
