"""Federated credentials: a workload's identity into a provider's short-lived one.

Nothing long-lived is stored: the identity is a token that the platform writes into a
file (Kubernetes, SPIFFE, a CI) and renews; it is exchanged for what the provider takes,
which lives minutes to an hour and stays in locked memory.

Three exchanges: OAuth token exchange (RFC 8693), the JWT bearer grant (RFC 7523), and
AWS's AssumeRoleWithWebIdentity. Pure but for `fetch`, which speaks httpx's transport
interface. Google's service accounts have their own page, google.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import attrs
import httpx
import msgspec

from actors.vault.kms.http import Caller
from actors.vault.locked import LockedBytes, LockedMemory
from actors.vault.messages import Federation
from actors.vault.ports import KmsUnavailable

IDENTITY_BYTES_MAX: Final = 16 * 1024
LIFE_S_MIN: Final = 60.0  # Shorter ones end before a long request's retry.
LIFE_S_MAX: Final = 12 * 3600.0
RENEW_SHARE: Final = 0.8  # Of its life; the rest is for trying again.
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
GRANTS: Final = {
    "token-exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "jwt-bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
}
STS_VERSION: Final = "2011-06-15"
SESSION: Final = "stagedoor"

_IDENTITY: Final = re.compile(rb"[A-Za-z0-9_.=-]+")
_ERROR: Final = re.compile(r"[A-Za-z_]{1,64}")


class NotFederated(Exception):
    """No credential came; says who refused and with which word. Quotes no token."""


@attrs.frozen(repr=False)
class Credential:
    """What the provider takes, and the moments to renew and to stop using it."""

    secret: LockedBytes
    expires_at_s: float
    renew_at_s: float
    access_key_id: str = ""
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"<Credential until {self.expires_at_s:.0f}>"


def form_of(federation: Federation, identity: str) -> dict[str, str]:
    """The form that is posted."""
    extra = dict(federation.fields)
    match federation.exchange:
        case "aws":
            return {
                "Action": "AssumeRoleWithWebIdentity",
                "Version": STS_VERSION,
                "RoleArn": federation.role_arn,
                "RoleSessionName": SESSION,
                "WebIdentityToken": identity,
                **extra,
            }
        case "jwt-bearer":
            form = {"grant_type": GRANTS["jwt-bearer"], "assertion": identity}
        case "token-exchange":
            form = {
                "grant_type": GRANTS["token-exchange"],
                "subject_token": identity,
                "subject_token_type": JWT,
            }
    if federation.audience:
        form["audience"] = federation.audience
    if federation.scope:
        form["scope"] = federation.scope
    return {**form, **extra}


def read_identity(data: bytes) -> str:
    """The token of an identity file. Raises NotFederated."""
    token = data.strip()
    if not token or len(token) > IDENTITY_BYTES_MAX or not _IDENTITY.fullmatch(token):
        raise NotFederated("the identity file holds no token")
    return token.decode("ascii")


class Federated:
    """Exchanges identities for credentials."""

    def __init__(
        self,
        federation: Federation,
        *,
        transport: httpx.AsyncBaseTransport,
        memory: LockedMemory,
        wall: Callable[[], float],
        read: Callable[[str], bytes],
    ) -> None:
        self._federation = federation
        self._memory = memory
        self._wall = wall
        self._read = read
        self._caller = Caller(f"federation {federation.exchange}", transport)

    def __repr__(self) -> str:
        return f"<Federated {self._federation.exchange} {self._federation.url}>"

    async def fetch(self) -> Credential:
        """A fresh credential; its `secret` is the caller's to wipe.

        Raises NotFederated.
        """
        federation = self._federation
        try:
            identity = read_identity(self._read(federation.identity_file))
        except OSError as error:
            raise NotFederated(
                f"{federation.identity_file} cannot be read: {error.strerror}"
            ) from None
        asked_s = self._wall()
        try:
            status, body = await self._caller.call(
                "POST",
                federation.url,
                headers={
                    "content-type": "application/x-www-form-urlencoded",
                    "accept": "application/json",
                },
                body=urlencode(form_of(federation, identity)).encode(),
            )
        except KmsUnavailable as error:
            raise NotFederated(str(error)) from None
        if federation.exchange == "aws":
            return self._from_aws(status, body.decode("utf-8", "replace"), asked_s)
        return self._from_oauth(status, body, asked_s)

    def _from_oauth(self, status: int, body: bytes, asked_s: float) -> Credential:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError:
            raise NotFederated(f"answered {status} with something else") from None
        if status != 200 or not answer.access_token:
            word = answer.error if _ERROR.fullmatch(answer.error) else ""
            raise NotFederated(f"answered {status} {word}".rstrip())
        if answer.token_type.lower() not in ("", "bearer"):
            raise NotFederated("answered a token that is no bearer token")
        secret = self._memory.hold(answer.access_token.encode())
        return _credential(secret, asked_s, asked_s + answer.expires_in)

    def _from_aws(self, status: int, text: str, asked_s: float) -> Credential:
        if status != 200:
            word = _tag(text, "Code")
            raise NotFederated(f"AWS answered {status} {word}".rstrip())
        secret, expires = _tag(text, "SecretAccessKey"), _tag(text, "Expiration")
        named, session = _tag(text, "AccessKeyId"), _tag(text, "SessionToken")
        try:
            expires_s = datetime.fromisoformat(expires).timestamp()
        except ValueError:
            raise NotFederated("AWS answered without an end") from None
        if not (secret and named and session):
            raise NotFederated("AWS answered without a credential")
        held = self._memory.hold(secret.encode())
        made = _credential(held, asked_s, expires_s)
        return attrs.evolve(made, access_key_id=named, session_token=session)


class _Answer(msgspec.Struct, frozen=True):
    access_token: str = ""
    token_type: str = ""
    expires_in: float = 0.0
    error: str = ""


def _credential(secret: LockedBytes, asked_s: float, expires_s: float) -> Credential:
    life_s = min(expires_s - asked_s, LIFE_S_MAX)
    if life_s < LIFE_S_MIN:
        secret.wipe()
        raise NotFederated(
            f"answered a credential of {life_s:.0f} s, which is too short"
        )
    return Credential(secret, asked_s + life_s, asked_s + life_s * RENEW_SHARE)


def _tag(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{1,4096}})</{name}>", text)
    return found[1] if found else ""


class Credentials:
    """The credentials in use, one a provider; renewed ahead, wiped when over."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._held: dict[object, Credential] = {}

    def __repr__(self) -> str:
        return f"<Credentials {len(self._held)}>"

    def get(self, name: object) -> Credential | None:
        """One that still serves."""
        found = self._held.get(name)
        if found is None:
            return None
        if self._wall() >= found.expires_at_s:
            self.drop(name)
            return None
        return found

    def is_due(self, name: object) -> bool:
        """Whether a new one is to be fetched now, while this one serves."""
        found = self._held.get(name)
        return found is None or self._wall() >= found.renew_at_s

    def put(self, name: object, credential: Credential) -> None:
        """Use this one from now on."""
        self.drop(name)
        self._held[name] = credential

    def drop(self, name: object) -> None:
        """Wipe one."""
        found = self._held.pop(name, None)
        if found is not None:
            found.secret.wipe()

    def clear(self) -> None:
        """Wipe them all."""
        for name in list(self._held):
            self.drop(name)
