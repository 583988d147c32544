"""Logins by an OpenID provider: authorization code with PKCE, and what is believed.

OpenID Connect Core 1.0, Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (`iss` in answers).

Owns: one login's state (derived from a secret in the browser's cookie), what is asked
of the provider, and the checks of its ID token. Whoever it names must have been invited
here: nobody is let in for having an account there.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import attrs
import httpx
import msgspec
import trio

from gateway.settings.console import OidcConfig

CALLBACK: Final = "/console/login/oidc/callback"
# Asymmetric ones only: a shared secret would let whoever knows it sign.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
ANSWER_BYTES_MAX: Final = 256 * 1024  # A set of keys is some kB.
ANSWER_S: Final = 10.0  # Somebody is waiting before a blank page.
KNOWN_S: Final = 600.0  # How long a discovery document holds.
LEEWAY_S: Final = 60  # Clocks differ.


class OidcFailed(Exception):
    """Nobody is logged in; says why, in words that can be shown."""


@attrs.frozen
class Login:
    """One login under way. Only the browser that began it has the secret."""

    secret: bytes = attrs.field(repr=False)

    def part(self, name: str) -> str:
        """Something that only this browser's login has: state, nonce, verifier."""
        made = hmac.digest(self.secret, f"stagedoor oidc {name}".encode(), "sha256")
        return _text(made)

    @property
    def challenge(self) -> str:
        """Of PKCE's verifier, S256."""
        return _text(hashlib.sha256(self.part("verifier").encode()).digest())

    def is_own(self, state: str) -> bool:
        """Whether an answer belongs to it."""
        return hmac.compare_digest(self.part("state").encode(), _bytes(state))


class Provider:
    """An OpenID provider, as it is configured.

    Args:
        config: where it is, and who we are there.
        transport: how it is reached.
    """

    def __init__(
        self, config: OidcConfig, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.config = config
        self._transport = transport
        self._known: tuple[float, dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"<Provider {self.config.issuer}>"

    @property
    def redirect_uri(self) -> str:
        """Where it sends browsers back to. Never from a request's own Host."""
        return f"{self.config.console_url.rstrip('/')}{CALLBACK}"

    async def begin(self, login: Login) -> str:
        """Where the browser goes. Raises OidcFailed."""
        found = await self._discovered()
        asked = urlencode(
            {
                "response_type": "code",
                "client_id": self.config.client_id,
                "redirect_uri": self.redirect_uri,
                "scope": "openid email profile",
                "state": login.part("state"),
                "nonce": login.part("nonce"),
                "code_challenge": login.challenge,
                "code_challenge_method": "S256",
            }
        )
        where = _endpoint(found, "authorization_endpoint")
        return f"{where}{'&' if '?' in where else '?'}{asked}"

    async def finish(self, login: Login, answer: Mapping[str, str]) -> str:
        """Whom the provider says it is: the claim, in lower case. Raises OidcFailed."""
        if not login.is_own(answer.get("state", "")):
            raise OidcFailed("this answer belongs to another login; begin again")
        if answer.get("iss", self.config.issuer) != self.config.issuer:
            raise OidcFailed("the answer is from another provider")
        if "error" in answer or not answer.get("code"):
            raise OidcFailed("the provider did not let you in")
        found = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": self.redirect_uri,
            "client_id": self.config.client_id,
            "code_verifier": login.part("verifier"),
        }
        # client_secret_post; RFC 6749 has every server take one of the two, and those
        # that take only Basic say so.
        secret = os.environ.get(self.config.client_secret_env, "")
        auth = None
        if secret and _takes_basic_alone(found):
            auth = httpx.BasicAuth(self.config.client_id, secret)
        elif secret:
            form["client_secret"] = secret
        tokens = await self._asked(
            "POST", _endpoint(found, "token_endpoint"), data=form, auth=auth
        )
        keys = await self._asked("GET", _endpoint(found, "jwks_uri"))
        claims = self.checked(
            str(tokens.get("id_token", "")), keys, login.part("nonce"), time.time()
        )
        return self._name(claims)

    def checked(
        self, token: str, keys: Mapping[str, Any], nonce: str, now_s: float
    ) -> Mapping[str, Any]:
        """The claims of an ID token (OpenID Core, 3.1.3.7). Raises OidcFailed."""
        try:
            from joserfc import jwt  # noqa: PLC0415 - an extra
            from joserfc.errors import JoseError  # noqa: PLC0415 - an extra
            from joserfc.jwk import KeySet  # noqa: PLC0415 - an extra
        except ImportError:
            raise OidcFailed("`stagedoor[sso]` is not installed here") from None
        try:
            keyset = KeySet.import_key_set(keys)  # type: ignore[arg-type] # it looks
            claims = jwt.decode(token, keyset, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, KeyError, TypeError):
            raise OidcFailed("its ID token is not signed by the provider") from None
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else (audience or [])
        ends_s, made_s = claims.get("exp"), claims.get("iat")
        believed = (
            claims.get("iss") == self.config.issuer
            and self.config.client_id in audiences
            and (len(audiences) == 1 or claims.get("azp") == self.config.client_id)
            and isinstance(ends_s, int | float)
            and ends_s > now_s - LEEWAY_S
            and isinstance(made_s, int | float)
            and made_s < now_s + LEEWAY_S
            and hmac.compare_digest(_bytes(claims.get("nonce")), nonce.encode())
        )
        if not believed:
            raise OidcFailed("its ID token is not for this login, or too old")
        return claims

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims.get(self.config.claim)
        if not isinstance(name, str) or not name:
            raise OidcFailed(f"the provider tells no {self.config.claim}")
        if self.config.claim == "email" and claims.get("email_verified") is not True:
            raise OidcFailed("the provider has not verified this address")
        return name.lower()

    async def _discovered(self) -> dict[str, Any]:
        now = trio.current_time()
        if self._known is not None and now - self._known[0] < KNOWN_S:
            return self._known[1]
        issuer = self.config.issuer
        where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._asked("GET", where)
        if found.get("issuer") != issuer:
            raise OidcFailed("the provider calls itself by another name")
        self._known = (now, found)
        return found

    async def _asked(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        """A JSON object. No redirect is followed, no more read than is bounded."""
        try:
            with trio.fail_after(ANSWER_S):
                async with (
                    httpx.AsyncClient(transport=self._transport) as client,
                    client.stream(method, url, **more) as answer,
                ):
                    body = bytearray()
                    async for piece in answer.aiter_bytes():
                        body += piece
                        if len(body) > ANSWER_BYTES_MAX:
                            raise OidcFailed("the provider answers too much")
            if answer.status_code != 200:
                raise OidcFailed(f"the provider answered {answer.status_code}")
            return msgspec.json.decode(body, type=dict[str, Any])
        except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError):
            raise OidcFailed("the provider cannot be reached") from None
        except msgspec.MsgspecError:
            raise OidcFailed("the provider answers no JSON") from None


def _endpoint(found: Mapping[str, Any], name: str) -> str:
    where = found.get(name)
    if not isinstance(where, str) or not where.startswith(("https://", "http://")):
        raise OidcFailed(f"the provider names no {name}")
    return where


def _takes_basic_alone(found: Mapping[str, Any]) -> bool:
    # Without a word on it, Basic is the default (Discovery 1.0, 3).
    methods = found.get(
        "token_endpoint_auth_methods_supported", ["client_secret_basic"]
    )
    return "client_secret_post" not in methods


def _bytes(value: object) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else b""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
