"""Logging in by an OpenID provider: to it, and back from it."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Sequence
from typing import Final

from gateway.console.app import BASE, Console, Page
from gateway.console.oidc import Login, OidcFailed, Provider
from gateway.console.pages.access import (
    LOGIN,
    NAME,
    enter,
    failed,
    replace_headers,
    wait_s,
)
from gateway.console.visit import Shown, Visit

COOKIE: Final = "stagedoor_oidc"
SECRET_BYTES: Final = 32
MAX_AGE_S: Final = 600  # From leaving for the provider until coming back.


def pages(console: Console) -> Sequence[Page]:
    """The pages of this file."""
    doors = _Doors(console)
    return (
        Page("GET", "/login/oidc", doors.begin, anyone=True),
        Page("GET", "/login/oidc/callback", doors.back, anyone=True),
    )


class _Doors:
    """The two pages, and what was last learned of the provider."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._provider: Provider | None = None

    def __repr__(self) -> str:
        return f"<Doors {self._provider!r}>"

    def provider(self) -> Provider | None:
        """As it is configured now."""
        config = self._console.office.config.console.oidc
        if not config.issuer:
            return None
        if self._provider is None or self._provider.config != config:
            self._provider = Provider(config, self._console.oidc_transport)
        return self._provider

    async def begin(self, visit: Visit) -> Shown:
        """Off to the provider, with a secret of this one login in a cookie."""
        provider = self.provider()
        if provider is None:
            return visit.show("error.html", 404, title="There is no such page")
        login = Login(secrets.token_bytes(SECRET_BYTES))
        try:
            where = await provider.begin(login)
        except OidcFailed as why:
            return _refused(visit, 503, str(why))
        return replace_headers(
            Shown(303, b"", (("location", where),)),
            ("set-cookie", _cookie(provider, login.secret.hex(), MAX_AGE_S)),
        )

    async def back(self, visit: Visit) -> Shown:
        """From the provider, with a code that is worth an ID token."""
        provider = self.provider()
        if provider is None:
            return visit.show("error.html", 404, title="There is no such page")
        waits = wait_s(visit, "")
        if waits:
            told = f"Too many tries. Try again in {math.ceil(waits)} s."
            return _refused(visit, 429, told)
        cookies = visit.request.headers.get("cookie", "")
        found = re.search(rf"(?:^|;\s*){COOKIE}=([0-9a-f]{{64}})", cookies)
        if found is None:
            told = "The login took too long. Begin again."
            return _over(provider, _refused(visit, 401, told))
        login = Login(bytes.fromhex(found[1]))
        try:
            name = await provider.finish(login, visit.query)
        except OidcFailed as why:
            failed(visit, "oidc")
            return _over(provider, _refused(visit, 401, f"Not logged in: {why}."))
        people = visit.console.people
        person = await people.find(name) if NAME.fullmatch(name) else None
        if person is None or person.disabled_ms is not None:
            failed(visit, "oidc")
            told = f"{name} has no login here. Ask an owner for an invitation."
            return _over(provider, _refused(visit, 403, told))
        return _over(provider, await enter(visit, person, "oidc", BASE))


def _refused(visit: Visit, status: int, told: str) -> Shown:
    return visit.show("login.html", status, name="", problem=told, next="")


def _over(provider: Provider, shown: Shown) -> Shown:
    return replace_headers(shown, ("set-cookie", _cookie(provider, "", 0)))


def _cookie(provider: Provider, value: str, age_s: int) -> str:
    # Lax: the provider's redirect is a navigation from another site.
    made = f"{COOKIE}={value}; Path={LOGIN}; HttpOnly; SameSite=Lax; Max-Age={age_s}"
    secure = provider.config.console_url.startswith("https://")
    return f"{made}; Secure" if secure else made
