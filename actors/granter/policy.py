"""What a grant's token is, and when it is good. Pure: keys, time, chance are arguments.

    token = "sg1." ‖ base64url(payload ‖ mac)
    payload = epoch:4 ‖ flags:1 ‖ expires_ms:7 ‖ id:12 ‖ secret:16 ‖ origin:8
              ‖ audience:8
    mac     = HMAC-SHA256(HKDF(epoch key, "mac"), "sg1" ‖ payload), cut to 16 bytes
    seal    = AES-256-GCM(HKDF(epoch key, "seal" ‖ id ‖ secret), request, aad=payload)

The one flag says that the answer is no events. Origin and audience are digests: a token
tells nobody for whom it is, and is judged without a look at any store. The secret is
kept nowhere: what lies in a database cannot be opened with the gateway's own keys, only
together with the token.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from actors.granter.messages import Refusal

PREFIX: Final = "sg1."
KEY_BYTES: Final = 32
ID_BYTES: Final = 12
SECRET_BYTES: Final = 16
BOUND_BYTES: Final = 8  # A digest that tells apart; forging it takes the MAC's key.
MAC_BYTES: Final = 16
PAYLOAD_BYTES: Final = 4 + 8 + ID_BYTES + SECRET_BYTES + 2 * BOUND_BYTES
TOKEN_CHARS: Final = len(PREFIX) + (PAYLOAD_BYTES + MAC_BYTES) * 4 // 3
TTL_S_MAX: Final = 60.0  # A page asks for one when its visitor has pressed the button.
EPOCH_S: Final = 86_400.0
NONCE_BYTES: Final = 12
WHOLE: Final = 1


class Token(Struct, frozen=True):
    """A token's content. Never shown: `secret` opens the request."""

    epoch: int
    expires_ms: int
    id: bytes
    secret: bytes
    origin: bytes
    audience: bytes
    whole: bool = False  # No events: no socket can carry its answer.

    def __repr__(self) -> str:
        """Without the secret."""
        return f"<Token {self.id.hex()} epoch={self.epoch}>"

    @property
    def request_id(self) -> str:
        """The request it starts, as logs and records have it."""
        return f"req_{self.id.hex()}"

    @property
    def payload(self) -> bytes:
        """What is signed."""
        return b"".join(
            (
                self.epoch.to_bytes(4),
                bytes((WHOLE if self.whole else 0,)),
                self.expires_ms.to_bytes(7),
                self.id,
                self.secret,
                self.origin,
                self.audience,
            )
        )


def epoch_at(now_s: float) -> int:
    """Which epoch's key signs now."""
    return int(now_s // EPOCH_S)


def accepts_epoch(epoch: int, now_s: float) -> bool:
    """Whether a token of this epoch can still be good; the next, for a clock behind."""
    return abs(epoch - epoch_at(now_s)) <= 1


def id_of(request_id: str) -> bytes:
    """The bytes of a request id of ours."""
    return bytes.fromhex(request_id.removeprefix("req_"))


def bound(kind: str, text: str) -> bytes:
    """A digest of whom it is for."""
    return hashlib.sha256(f"{kind}\0{text}".encode()).digest()[:BOUND_BYTES]


def make(
    request_id: str,
    *,
    secret: bytes,
    origin: str,
    audience: str,
    now_s: float,
    ttl_s: float,
    whole: bool = False,
) -> Token:
    """A token for this request."""
    return Token(
        epoch=epoch_at(now_s),
        expires_ms=round((now_s + min(ttl_s, TTL_S_MAX)) * 1000),
        id=id_of(request_id),
        secret=secret,
        origin=bound("origin", origin),
        audience=bound("audience", audience),
        whole=whole,
    )


def sign(token: Token, key: bytes) -> str:
    """As it travels."""
    payload = token.payload
    return PREFIX + urlsafe_b64encode(payload + _mac(payload, key)).decode()


def epoch_of(text: str) -> int | None:
    """Whose key to look for, before anything is believed; None: it is no token."""
    raw = _raw(text)
    return None if raw is None else int.from_bytes(raw[:4])


def read(text: str, key: bytes) -> Token | None:
    """The token, if its signature is good."""
    raw = _raw(text)
    if raw is None:
        return None
    payload, mac = raw[:PAYLOAD_BYTES], raw[PAYLOAD_BYTES:]
    if not hmac.compare_digest(mac, _mac(payload, key)):
        return None
    at = 12 + ID_BYTES
    return Token(
        epoch=int.from_bytes(payload[:4]),
        expires_ms=int.from_bytes(payload[5:12]),
        id=payload[12:at],
        secret=payload[at : at + SECRET_BYTES],
        origin=payload[at + SECRET_BYTES : -BOUND_BYTES],
        audience=payload[-BOUND_BYTES:],
        whole=payload[4] == WHOLE,
    )


def judge(
    token: Token,
    *,
    origin: str,
    audience: str,
    now_s: float,
    late_s: float = 0.0,
    by_socket: bool = False,
) -> Refusal | None:
    """Why it is not good here and now. Who may not use it learns not if it was used.

    `late_s` is for who comes back to an answer that was begun in time; `by_socket` for
    who wants it as messages.
    """
    if not hmac.compare_digest(token.origin, bound("origin", origin)):
        return "grant_origin_mismatch"
    if not hmac.compare_digest(token.audience, bound("audience", audience)):
        return "grant_audience_mismatch"
    if now_s * 1000 >= token.expires_ms + late_s * 1000:
        return "grant_expired"
    if by_socket and token.whole:
        return "grant_not_streamed"
    return None


def seal(token: Token, key: bytes, plain: bytes) -> bytes:
    """The request, for the store. The key is used for this one: no nonce is needed."""
    return _cipher(token, key).encrypt(bytes(NONCE_BYTES), plain, token.payload)


def unseal(token: Token, key: bytes, sealed: bytes) -> bytes | None:
    """The request; None where it is not what was sealed for this token."""
    try:
        return _cipher(token, key).decrypt(bytes(NONCE_BYTES), sealed, token.payload)
    except InvalidTag:
        return None


def _raw(text: str) -> bytes | None:
    if len(text) != TOKEN_CHARS or not text.startswith(PREFIX):
        return None
    try:
        raw = urlsafe_b64decode(text[len(PREFIX) :])
    except ValueError:
        return None
    # One spelling: what decodes to the same bytes is not the same token.
    if urlsafe_b64encode(raw).decode() != text[len(PREFIX) :]:
        return None
    return raw


def _mac(payload: bytes, key: bytes) -> bytes:
    made = hmac.digest(_derive(key, b"mac"), b"sg1" + payload, "sha256")
    return made[:MAC_BYTES]


def _cipher(token: Token, key: bytes) -> AESGCM:
    return AESGCM(_derive(key, b"seal" + token.id + token.secret))


def _derive(key: bytes, what: bytes) -> bytes:
    info = b"stagedoor grant 1 " + what
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(key)
