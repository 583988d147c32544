"""Logins by an OpenID provider, against a small issuer that can also lie."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from trio.testing import MockClock

from gateway.console.sessions import COOKIE
from gateway.embed import Answer
from gateway.settings.config import Config
from gateway.settings.console import ConsoleConfig, OidcConfig
from gateway.settings.definition import evolve
from tests.console.support_memory import HOST, House, house, seen
from tests.gateway.gateways import config

ISSUER = "https://login.example"
OIDC = OidcConfig(issuer=ISSUER, client_id="stagedoor", console_url=f"https://{HOST}")
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})


def with_oidc() -> Config:
    return evolve(config(), console=ConsoleConfig(oidc=OIDC))


@attrs.define
class Issuer:
    """Answers as an issuer does; `twist` may spoil the claims."""

    twist: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    key: RSAKey = KEY
    asked: dict[str, str] = attrs.field(factory=dict[str, str])
    token_form: dict[str, str] = attrs.field(factory=dict[str, str])
    name: str = ISSUER

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/.well-known/openid-configuration":
                return httpx.Response(
                    200,
                    json={
                        "issuer": self.name,
                        "authorization_endpoint": f"{ISSUER}/authorize",
                        "token_endpoint": f"{ISSUER}/token",
                        "jwks_uri": f"{ISSUER}/keys",
                    },
                )
            case "/keys":
                return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]})
            case "/token":
                self.token_form = dict(parse_qsl(request.content.decode()))
                return httpx.Response(200, json={"id_token": self._token()})
            case _:
                return httpx.Response(404)

    def _token(self) -> str:
        claims = {
            "iss": ISSUER,
            "aud": "stagedoor",
            "sub": "248289761001",
            "exp": int(time.time()) + 300,
            "iat": int(time.time()),
            "nonce": self.asked["nonce"],
            "email": "Ann@Agency.example",
            "email_verified": True,
        }
        return jwt.encode({"alg": "RS256", "kid": "one"}, self.twist(claims), self.key)


async def there(at: House, issuer: Issuer) -> str:
    """To the provider; the cookie of this login."""
    away = await at.ask("GET", "/login/oidc")
    assert away.status == 303, away.body
    where = urlsplit(away.headers["location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{ISSUER}/authorize"
    issuer.asked = dict(parse_qsl(where.query))
    return away.headers["set-cookie"].partition(";")[0]


async def back(at: House, cookie: str, **answer: str) -> Answer:
    """And back from it."""
    query = "&".join(f"{name}={value}" for name, value in answer.items())
    return await at.ask(
        "GET", f"/login/oidc/callback?{query}", headers={"cookie": cookie}
    )


async def test_who_was_invited_logs_in_with_pkce(autojump_clock: MockClock) -> None:
    """The redirect URI is the configured one, whatever Host a request names."""
    issuer = Issuer()
    async with house(with_oidc(), httpx.MockTransport(issuer)) as at:
        await at.person("ann@agency.example", "admin")
        assert "Use your organisation" in seen(await at.ask("GET", "/login"))
        cookie = await there(at, issuer)
        assert issuer.asked["code_challenge_method"] == "S256"
        uri = f"https://{HOST}/console/login/oidc/callback"
        assert issuer.asked["redirect_uri"] == uri

        answer = await back(at, cookie, code="c", state=issuer.asked["state"])

        assert answer.status == 303
        assert answer.headers["location"] == "/console"
        assert issuer.token_form["redirect_uri"] == uri
        assert len(issuer.token_form["code_verifier"]) >= 43


async def test_who_was_not_invited_is_not_let_in(autojump_clock: MockClock) -> None:
    issuer = Issuer()
    async with house(with_oidc(), httpx.MockTransport(issuer)) as at:
        cookie = await there(at, issuer)

        answer = await back(at, cookie, code="c", state=issuer.asked["state"])

        assert answer.status == 403
        assert "Ask an owner" in seen(answer)
        assert COOKIE not in answer.headers["set-cookie"]


TWISTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another audience": lambda c: {**c, "aud": "other"},
    "two audiences without azp": lambda c: {**c, "aud": ["stagedoor", "other"]},
    "another issuer": lambda c: {**c, "iss": "https://evil.example"},
    "another login's nonce": lambda c: {**c, "nonce": "x"},
    "no nonce": lambda c: {k: v for k, v in c.items() if k != "nonce"},
    "over": lambda c: {**c, "exp": c["iat"] - 3600},
    "of the future": lambda c: {**c, "iat": c["iat"] + 3600},
    "an address nobody verified": lambda c: {**c, "email_verified": False},
    "an address of which nobody says so": lambda c: {
        k: v for k, v in c.items() if k != "email_verified"
    },
    "no address": lambda c: {k: v for k, v in c.items() if k != "email"},
}


@pytest.mark.parametrize("twist", TWISTS)
async def test_a_token_that_is_not_for_this_login_opens_nothing(
    autojump_clock: MockClock, twist: str
) -> None:
    issuer = Issuer(TWISTS[twist])
    async with house(with_oidc(), httpx.MockTransport(issuer)) as at:
        await at.person("ann@agency.example", "owner")
        cookie = await there(at, issuer)

        answer = await back(at, cookie, code="c", state=issuer.asked["state"])

        assert answer.status == 401
        assert COOKIE not in answer.headers["set-cookie"]


async def test_a_token_of_another_key_opens_nothing(autojump_clock: MockClock) -> None:
    issuer = Issuer(key=OTHER)
    async with house(with_oidc(), httpx.MockTransport(issuer)) as at:
        await at.person("ann@agency.example", "owner")
        cookie = await there(at, issuer)

        answer = await back(at, cookie, code="c", state=issuer.asked["state"])

        assert answer.status == 401
        assert "not signed by the provider" in seen(answer)


@pytest.mark.parametrize("answer", [
    {"code": "c", "state": "forged"},
    {"code": "c", "state": "%C3%A9"},
    {"code": "c"},
    {"code": "c", "state": "OWN", "iss": "https://evil.example"},
    {"error": "access_denied", "state": "OWN"},
])  # fmt: skip
async def test_an_answer_to_another_login_is_not_taken(
    autojump_clock: MockClock, answer: dict[str, str]
) -> None:
    """Nor one without the cookie of the browser that began it."""
    issuer = Issuer()
    async with house(with_oidc(), httpx.MockTransport(issuer)) as at:
        await at.person("ann@agency.example", "owner")
        cookie = await there(at, issuer)
        own = {
            name: issuer.asked["state"] if value == "OWN" else value
            for name, value in answer.items()
        }
        assert (await back(at, cookie, **own)).status == 401
        stolen = {"code": "c", "state": issuer.asked["state"]}
        assert (await back(at, "x=y", **stolen)).status == 401
        assert issuer.token_form == {}


async def test_a_provider_of_another_name_is_not_believed(
    autojump_clock: MockClock,
) -> None:
    issuer = Issuer(name="https://evil.example")
    async with house(with_oidc(), httpx.MockTransport(issuer)) as at:
        answer = await at.ask("GET", "/login/oidc")

        assert answer.status == 503
        assert "another name" in seen(answer)


async def test_without_a_provider_there_is_no_such_door(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        assert (await at.ask("GET", "/login/oidc")).status == 404
        assert "organisation" not in seen(await at.ask("GET", "/login"))


def test_a_provider_takes_an_id_a_place_and_tls() -> None:
    found = dict(OidcConfig(issuer="http://login.example").problems())

    assert found.keys() == {"issuer", "client_id", "console_url"}
