"""How a key comes in: sealed for the vault, opened into locked memory.

HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The
sender uses `cryptography`'s HPKE (`seal`); the receiver is here because it must open
into a buffer, and a library's `bytes` of the key would stay behind in freed memory.
The two are tested against each other and against the RFC's own vectors.

`info` binds what the key is for: a delivery to one name does not open for another.
The key pair lives as long as the process: a delivery that was recorded is worth
nothing after a restart, nor the second time (the vault refuses a delivery twice).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from actors.vault.sealing import TAG_BYTES, lp

ENC_BYTES: Final = 32
_KEM_SUITE: Final = b"KEM\x00\x20"
_HPKE_SUITE: Final = b"HPKE\x00\x20\x00\x01\x00\x02"
_MODE_BASE: Final = b"\x00"

SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class BadDelivery(Exception):
    """It was sealed for another vault, another name or another start of this one."""

    def __init__(self) -> None:
        super().__init__(
            "the delivery does not open: it was sealed for another name or for an "
            "earlier start of this gateway; seal it again"
        )


def info(tenant: str, environment: str, provider: str, name: str) -> bytes:
    """What a delivery is bound to."""
    return lp("gwv-delivery", tenant, environment, provider, name)


def seal(key: bytes, public_key: bytes, bound_to: bytes) -> bytes:
    """The sender's half: for the CLI and the Console."""
    return SUITE.encrypt(key, X25519PublicKey.from_public_bytes(public_key), bound_to)


class DeliveryBox:
    """The receiver's half: one key pair, for one life of the vault."""

    def __init__(self, private: X25519PrivateKey | None = None) -> None:
        self._private = private or X25519PrivateKey.generate()
        self.public_key = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"<DeliveryBox {self.public_key.hex()[:8]}>"

    def open_into(self, delivery: bytes, bound_to: bytes, out: memoryview) -> int:
        """Decrypt into `out`, which holds `size_of`; the size. Raises BadDelivery."""
        size = size_of(delivery)
        enc, sealed = delivery[:ENC_BYTES], delivery[ENC_BYTES:]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(enc))
            context = self._kem_context(shared, enc)
            key, nonce = _schedule(context, bound_to)
            AESGCM(key).decrypt_into(nonce, sealed, b"", out[:size])
        except (InvalidTag, ValueError):
            out[:] = bytes(len(out))
            raise BadDelivery from None
        return size

    def _kem_context(self, shared: bytes, enc: bytes) -> bytes:
        """DHKEM's ExtractAndExpand (RFC 9180, 4.1)."""
        prk = _extract(b"", b"eae_prk", shared, _KEM_SUITE)
        return _expand(prk, b"shared_secret", enc + self.public_key, 32, _KEM_SUITE)


def size_of(delivery: bytes) -> int:
    """How long the key in it is. Raises BadDelivery."""
    size = len(delivery) - ENC_BYTES - TAG_BYTES
    if size < 1:
        raise BadDelivery
    return size


def _schedule(shared: bytes, bound_to: bytes) -> tuple[bytes, bytes]:
    """KeySchedule in base mode (RFC 9180, 5.1): the key and the first nonce."""
    context = (
        _MODE_BASE
        + _extract(b"", b"psk_id_hash", b"", _HPKE_SUITE)
        + _extract(b"", b"info_hash", bound_to, _HPKE_SUITE)
    )
    secret = _extract(shared, b"secret", b"", _HPKE_SUITE)
    key = _expand(secret, b"key", context, 32, _HPKE_SUITE)
    return key, _expand(secret, b"base_nonce", context, 12, _HPKE_SUITE)


def _extract(salt: bytes, label: bytes, ikm: bytes, suite: bytes) -> bytes:
    return HKDF.extract(SHA256(), salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def _expand(prk: bytes, label: bytes, info_: bytes, size: int, suite: bytes) -> bytes:
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info_
    return HKDFExpand(SHA256(), size, labelled).derive(prk)
