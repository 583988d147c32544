"""Google's service accounts: a key file into short-lived access tokens.

Owns: the signed assertion (RFC 7523, RS256), the question to the token endpoint, what
its answer means. The private key signs here and goes nowhere; what travels is a token
of an hour. Pure but for `fetch`, which speaks httpx's transport interface.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import attrs
import httpx
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_S: Final = 3600  # Google takes no longer one.
SKEW_S: Final = 10  # Our clock may be ahead: an assertion from the future is refused.
ANSWER_BYTES_MAX: Final = 64 * 1024  # A token is 1 kB.
FILE_BYTES_MAX: Final = 64 * 1024  # A key file is 2.4 kB.
KEY_BITS_MIN: Final = 2048
TOKEN_S_MAX: Final = 12 * 3600  # The longest that Google grants; more is a mistake.
RENEW_SHARE: Final = 0.8  # Of its life: a tenth of an hour is left to retry in.
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class BadAccount(Exception):
    """The key file is not what it must be. Never quotes it."""


class TokenRefused(Exception):
    """No token came; says who refused and with which of Google's error words."""


class _File(Struct):
    type: str = ""
    client_email: str = ""
    private_key: str = ""
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class _Answer(Struct):
    access_token: str = ""
    expires_in: float = 0
    error: str = ""


_file: Final = msgspec.json.Decoder(_File)
_answer: Final = msgspec.json.Decoder(_Answer)


@attrs.frozen
class ServiceAccount:
    """One account, ready to sign."""

    email: str
    key_id: str
    token_uri: str
    key: RSAPrivateKey = attrs.field(repr=False)


@attrs.frozen
class AccessToken:
    """A bearer token and the moment to have the next one by, in Unix seconds."""

    value: str = attrs.field(repr=False)
    renew_at_s: float
    expires_at_s: float


def read_account(data: bytes) -> ServiceAccount:
    """Read a key file. Raises BadAccount."""
    if len(data) > FILE_BYTES_MAX:
        raise BadAccount(f"is larger than {FILE_BYTES_MAX} bytes: no key file")
    try:
        found = _file.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadAccount("is no JSON key file of a service account") from None
    if found.type != "service_account":
        raise BadAccount('has not the type "service_account"')
    if not found.client_email:
        raise BadAccount("names no client_email")
    where = urlsplit(found.token_uri)
    plain = where.scheme == "http" and where.hostname in LOOPBACK
    if not where.hostname or not (where.scheme == "https" or plain):
        raise BadAccount("has a token_uri that is not https")
    try:
        key = load_pem_private_key(found.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadAccount("has a private_key that cannot be read") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < KEY_BITS_MIN:
        raise BadAccount(f"has no RSA key of at least {KEY_BITS_MIN} bits")
    return ServiceAccount(
        found.client_email, found.private_key_id, found.token_uri, key
    )


def assertion(account: ServiceAccount, now_s: float, scope: str = SCOPE) -> str:
    """A signed claim to be this account, for an hour."""
    issued = int(now_s) - SKEW_S
    head = {"alg": "RS256", "typ": "JWT"}
    if account.key_id:
        head["kid"] = account.key_id
    claims = {
        "iss": account.email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + ASSERTION_S,
    }
    signed = f"{_part(head)}.{_part(claims)}"
    signature = account.key.sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{_encoded(signature)}"


def token_request(account: ServiceAccount, now_s: float) -> httpx.Request:
    """The question to the token endpoint."""
    form = {"grant_type": GRANT, "assertion": assertion(account, now_s)}
    return httpx.Request(
        "POST",
        account.token_uri,
        content=urlencode(form).encode(),
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        },
    )


def read_token(status: int, body: bytes, now_s: float) -> AccessToken:
    """The answer. Raises TokenRefused, which quotes no body: it may hold a token."""
    try:
        told = _answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Answer()
    if status != 200:
        # Google's error words ("invalid_grant") are plain; anything else is not shown.
        word = told.error if told.error.replace("_", "").isalnum() else ""
        raise TokenRefused(f"the token endpoint answered {status} {word[:64]}".rstrip())
    life_s = min(told.expires_in, TOKEN_S_MAX)
    if not told.access_token or life_s <= 0:
        raise TokenRefused("the token endpoint's answer holds no access_token")
    if not told.access_token.isascii() or not told.access_token.isprintable():
        raise TokenRefused("the token endpoint's answer holds no usable access_token")
    return AccessToken(
        told.access_token,
        renew_at_s=now_s + life_s * RENEW_SHARE,
        expires_at_s=now_s + life_s,
    )


async def fetch(
    transport: httpx.AsyncBaseTransport, account: ServiceAccount, now_s: float
) -> AccessToken:
    """Ask for a token. Raises TokenRefused and httpx.TransportError."""
    response = await transport.handle_async_request(token_request(account, now_s))
    body = bytearray()
    try:
        stream: Any = response.stream
        async for chunk in stream:
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise TokenRefused("the token endpoint's answer is too long")
    finally:
        await response.aclose()
    return read_token(response.status_code, bytes(body), now_s)


def _part(value: object) -> str:
    return _encoded(msgspec.json.encode(value))


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
