"""AWS Signature Version 4 for request headers. Sans-io: the time is an argument.

Owns: the canonical request, the string to sign, the headers that go out. Never: the
secret key. Whoever holds it is a `Signer`: it is handed a scope and a text and gives
back a MAC, so a vault can sign without the key ever leaving it. What a signer derives
for a scope is worth one day of one service in one region, and nothing else.

The target must be the one that goes on the wire, already percent-encoded; Bedrock's
model ids hold a colon, sent as `%3A` and signed as `%253A`. S3 alone signs
the path as it is sent, and wants the body's digest in `x-amz-content-sha256`, which the
caller sets.
"""

import hashlib
import hmac
import time
from collections.abc import Iterable
from typing import Final, Protocol
from urllib.parse import quote

import msgspec

ALGORITHM: Final = "AWS4-HMAC-SHA256"
S3: Final = "s3"

# What a transport or a proxy may add, change or drop on the way: signed, it would make
# a good request fail. The first four are botocore's own list.
UNSIGNED: Final = frozenset(
    {
        "expect",
        "transfer-encoding",
        "user-agent",
        "x-amzn-trace-id",
        "accept-encoding",
        "authorization",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
    }
)
_OURS: Final = frozenset({"x-amz-date", "x-amz-security-token"})


class Scope(msgspec.Struct, frozen=True):
    """What a signing key is good for: one UTC day (YYYYMMDD), region and service."""

    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class Signer(Protocol):
    """Holds a secret access key and signs with what it derives from it."""

    @property
    def access_key_id(self) -> str:
        """The public half, which names the key."""
        ...

    def sign(self, scope: Scope, text: bytes) -> bytes:
        """The HMAC-SHA256 of `text` under `derive_key(secret, scope)`."""
        ...


def derive_key(secret: bytes | bytearray | memoryview, scope: Scope) -> bytes:
    """The signing key of `scope`; for key holders only.

    The one copy of the secret made here is wiped before returning.
    """
    seed = bytearray(b"AWS4") + secret
    try:
        key = _hmac(seed, scope.date.encode())
    finally:
        seed[:] = bytes(len(seed))
    for part in (scope.region, scope.service, "aws4_request"):
        key = _hmac(key, part.encode())
    return key


class KeySigner:
    """The plain signer: a secret in memory. Tests and simple key holders use it."""

    def __init__(
        self, access_key_id: str, secret: bytes | bytearray | memoryview
    ) -> None:
        self._access_key_id = access_key_id
        self._secret = secret

    @property
    def access_key_id(self) -> str:
        """The public half, which names the key."""
        return self._access_key_id

    def sign(self, scope: Scope, text: bytes) -> bytes:
        """The HMAC-SHA256 of `text` under the key of `scope`."""
        return _hmac(derive_key(self._secret, scope), text)

    def __repr__(self) -> str:
        return f"<KeySigner {self._access_key_id} secret=…>"


class Unsigned(msgspec.Struct, frozen=True):
    """A request as it will be sent: `target` is its path and query, percent-encoded.

    `headers` must hold Host: HTTP/1.1 demands it and the signature covers it.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Unsigned {self.method} body={len(self.body)}B>"


def sign(
    request: Unsigned,
    *,
    signer: Signer,
    region: str,
    service: str,
    now_s: float,
    session_token: str | None = None,
) -> tuple[tuple[str, str], ...]:
    """The headers to add to `request`: date, session token if any, authorization.

    Raises:
        ValueError: the request has no Host header, or brings its own date or token.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    scope = Scope(stamp[:8], region, service)
    added = [("x-amz-date", stamp)]
    if session_token is not None:
        added.append(("x-amz-security-token", session_token))
    headers = _headers_to_sign(request.headers, added)
    names = ";".join(headers)
    text = string_to_sign(
        stamp,
        scope,
        canonical_request(request, headers, _sha256(request.body), service),
    )
    signature = signer.sign(scope, text.encode()).hex()
    credential = f"{signer.access_key_id}/{scope}"
    authorization = (
        f"{ALGORITHM} Credential={credential}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return (*added, ("authorization", authorization))


def canonical_request(
    request: Unsigned, headers: dict[str, str], body_sha256: str, service: str = ""
) -> str:
    """The text whose hash is signed; `headers` are sorted, folded and lower case."""
    path, _, query = request.target.partition("?")
    return "\n".join(
        (
            request.method.upper(),
            path if service == S3 else canonical_path(path),
            canonical_query(query),
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            ";".join(headers),
            body_sha256,
        )
    )


def string_to_sign(stamp: str, scope: Scope, canonical: str) -> str:
    """What the signer puts its MAC on."""
    return "\n".join((ALGORITHM, stamp, str(scope), _sha256(canonical.encode())))


def canonical_path(path: str) -> str:
    """Dot segments and doubled slashes go, then what is left is encoded *again*.

    Every service but S3 wants it so.
    """
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    tail = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + tail, safe="/~")


def canonical_query(query: str) -> str:
    """Pairs in order of name, then value; a name alone is given an empty value."""
    if not query:
        return ""
    pairs = (pair.partition("=") for pair in query.split("&"))
    ordered = sorted((name, value) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in ordered)


def _headers_to_sign(
    sent: Iterable[tuple[str, str]], added: Iterable[tuple[str, str]]
) -> dict[str, str]:
    folded: dict[str, list[str]] = {}
    for name, value in sent:
        lower = name.lower()
        if lower in _OURS:
            raise ValueError(f"{lower} is the signer's to set; leave it out")
        if lower not in UNSIGNED:
            folded.setdefault(lower, []).append(_trim(value))
    if "host" not in folded:
        raise ValueError("a request cannot be signed without its Host header")
    for name, value in added:
        folded[name] = [_trim(value)]
    return {name: ",".join(folded[name]) for name in sorted(folded)}


def _trim(value: str) -> str:
    # ASCII space only, as AWS's own C implementation; str.split() knows many more.
    return b" ".join(value.encode().split()).decode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac(key: bytes | bytearray, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
