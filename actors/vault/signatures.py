"""Signed requests: RFC 9421 in one strict profile. Pure: time and keys are arguments.

    Signature-Input: gw=("@method" "@authority" "@path" "@query" "content-digest"
        "gw-tenant" "gw-env");created=C;expires=C+60;nonce="N";alg="hmac-sha256"
        ;keyid="K";tag="gwv1"
    Signature: gw=:MAC:

Exactly these components, in this order, under one label; anything else is refused
before a key is touched. The checks go: form, MAC (an unknown key id costs the same as
a known one), digest of the body, time, nonce. What a forger is told never depends on
which key ids exist.

Never: remembers nonces; whoever verifies claims the nonce from a `NonceStore`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import attrs

COMPONENTS: Final = (
    "@method",
    "@authority",
    "@path",
    "@query",
    "content-digest",
    "gw-tenant",
    "gw-env",
)
LABEL: Final = "gw"
TAG: Final = "gwv1"
LIFETIME_S: Final = 60
SKEW_S: Final = 30  # Clocks of servers differ by less, or their owners know.
NONCE_BYTES: Final = 16
HEADER_CHARS_MAX: Final = 512
NONCES_MAX: Final = 100_000  # A thousand requests a second, for as long as they live.

_LIST: Final = "(" + " ".join(f'"{name}"' for name in COMPONENTS) + ")"
_INPUT: Final = re.compile(
    re.escape(f"{LABEL}={_LIST}")
    + r";created=([1-9][0-9]{0,11});expires=([1-9][0-9]{0,11})"
    + r';nonce="([A-Za-z0-9+/]{22}==)";alg="hmac-sha256"'
    + r';keyid="([A-Za-z0-9][A-Za-z0-9._-]{0,62})";tag="gwv1"'
)
_SIGNATURE: Final = re.compile(rf"{LABEL}=:([A-Za-z0-9+/]{{43}}=):")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_FIELD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class BadSignature(Exception):
    """The request is not admitted; the text may be told to its sender."""


@attrs.frozen
class SignedRequest:
    """What of a request is signed. `query` is without its question mark."""

    method: str
    authority: str
    path: str
    query: str
    tenant: str
    environment: str
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class SignedHeaders:
    """The three headers that a signature adds, each exactly once."""

    signature_input: str
    signature: str = attrs.field(repr=False)
    content_digest: str = attrs.field(repr=False)


@attrs.frozen
class Claims:
    """What a good signature says. The nonce is still to be claimed."""

    key_id: str
    nonce: str
    created_s: int
    expires_s: int
    base_hash: str

    @property
    def claim(self) -> str:
        """What must be new: a nonce of this key."""
        return f"{self.key_id}:{self.nonce}"


class NonceStore(Protocol):
    """Remembers nonces for as long as their requests would be admitted."""

    async def claim(self, claim: str, created_s: float, expires_s: float) -> bool:
        """True for exactly one of all who ever claim it. Raises OSError."""
        ...


def sign(
    request: SignedRequest,
    *,
    key: bytes | memoryview,
    key_id: str,
    now_s: float,
    nonce: bytes,
) -> SignedHeaders:
    """The headers to send along."""
    created = int(now_s)
    params = (
        f"{_LIST};created={created};expires={created + LIFETIME_S}"
        f';nonce="{base64.b64encode(nonce).decode()}";alg="hmac-sha256"'
        f';keyid="{key_id}";tag="{TAG}"'
    )
    digest = content_digest(request.body)
    mac = _mac(key, _base(request, digest, params))
    return SignedHeaders(
        f"{LABEL}={params}", f"{LABEL}=:{base64.b64encode(mac).decode()}:", digest
    )


def key_id_of(headers: SignedHeaders) -> str:
    """Which key to fetch; the form is checked, nothing else. Raises BadSignature."""
    return _parsed(headers)[4]


def verify(
    request: SignedRequest,
    headers: SignedHeaders,
    *,
    key: bytes | memoryview | None,
    authorities: frozenset[str],
    now_s: float,
) -> Claims:
    """Check all but the nonce; `key` is None when there is no such key id.

    `authorities` are the names that this instance goes by: a request that was signed
    for another replica is refused here. Raises BadSignature.
    """
    params, created, expires, nonce, key_id = _parsed(headers)
    base = _base(request, headers.content_digest, params)
    given = _SIGNATURE.fullmatch(headers.signature)
    if given is None:
        raise BadSignature("the signature has not the form of the profile")
    expected = _mac(DUMMY_KEY if key is None else key, base)
    genuine = hmac.compare_digest(base64.b64decode(given[1]), expected)
    if not genuine or key is None:
        raise BadSignature("the signature is not that of a known key")
    # From here on the sender is known, and may be told what is wrong.
    if not hmac.compare_digest(
        headers.content_digest.encode(), content_digest(request.body).encode()
    ):
        raise BadSignature("the body is not the one that was signed")
    if request.authority not in authorities:
        raise BadSignature("the request was signed for another server")
    if created > now_s + SKEW_S:
        raise BadSignature("the request is from the future; set the clocks")
    if now_s > expires:
        raise BadSignature("the request has expired; sign it again")
    return Claims(key_id, nonce, created, expires, hashlib.sha256(base).hexdigest())


def signature_base(components: Sequence[tuple[str, str]], params: str) -> bytes:
    """RFC 9421, 2.5: a line a component, and the parameters last."""
    lines = [f'"{name}": {value}' for name, value in components]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()


def content_digest(body: bytes) -> str:
    """RFC 9530, SHA-256."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return f"sha-256=:{digest}:"


def _parsed(headers: SignedHeaders) -> tuple[str, int, int, str, str]:
    found = None
    if len(headers.signature_input) <= HEADER_CHARS_MAX:
        found = _INPUT.fullmatch(headers.signature_input)
    if found is None or _DIGEST.fullmatch(headers.content_digest) is None:
        raise BadSignature("the signature has not the form of the profile")
    created, expires = int(found[1]), int(found[2])
    if expires != created + LIFETIME_S:
        raise BadSignature(f"a signature lives {LIFETIME_S} s: expires is wrong")
    params = headers.signature_input.removeprefix(f"{LABEL}=")
    return params, created, expires, found[3], found[4]


def _base(request: SignedRequest, digest: str, params: str) -> bytes:
    for field in (request.tenant, request.environment):
        if not _FIELD.fullmatch(field):
            raise BadSignature("gw-tenant and gw-env must each be one plain name")
    values = (
        request.method,
        request.authority.lower(),
        request.path,
        f"?{request.query}",
        digest,
        request.tenant,
        request.environment,
    )
    if any("\n" in value or "\r" in value for value in values):
        raise BadSignature("a signed component holds a line break")
    return signature_base(list(zip(COMPONENTS, values, strict=True)), params)


def _mac(key: bytes | memoryview, base: bytes) -> bytes:
    return hmac.digest(key, base, "sha256")


# Unknown key ids take as long as known ones; it signs nothing that is ever accepted.
DUMMY_KEY: Final = b"unknown key ids take as long as "


class Ratchet:
    """A clock that never goes back: setting the system's back revives no request."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._last_s = 0.0

    def __call__(self) -> float:
        """The latest time that was ever seen."""
        self._last_s = max(self._last_s, self._wall())
        return self._last_s

    def __repr__(self) -> str:
        return f"<Ratchet {self._last_s:.3f}>"


class MemoryNonces:
    """Nonces of one process: two generations, never evicted, full means refuse.

    It forgets at a restart, so it refuses whatever an earlier life may have admitted:
    a client whose clock is ahead may have signed `SKEW_S` after the start.
    """

    def __init__(
        self, clock: Callable[[], float], *, nonces_max: int = NONCES_MAX
    ) -> None:
        self._clock = clock
        self._boot_s = clock()
        self._turned_s = self._boot_s
        self._young: set[str] = set()
        self._old: set[str] = set()
        self._max = nonces_max

    def __repr__(self) -> str:
        return f"<MemoryNonces {len(self._young) + len(self._old)}/{self._max}>"

    async def claim(self, claim: str, created_s: float, expires_s: float) -> bool:
        """See NonceStore."""
        return self.claim_now(claim, created_s, expires_s)

    def claim_now(self, claim: str, created_s: float, expires_s: float) -> bool:
        """The same, at once."""
        now = self._clock()
        # A nonce must outlive its request: the last one is admitted SKEW_S early.
        generation_s = LIFETIME_S + SKEW_S
        if now - self._turned_s >= generation_s:
            gone = now - self._turned_s >= 2 * generation_s
            self._old = set() if gone else self._young
            self._young = set()
            self._turned_s = now
        if created_s <= self._boot_s + SKEW_S or expires_s < now:
            return False
        if claim in self._young or claim in self._old:
            return False
        if len(self._young) + len(self._old) >= self._max:
            return False
        self._young.add(claim)
        return True
