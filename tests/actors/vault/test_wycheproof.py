"""The primitives as this product uses them, against Wycheproof's traps."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from actors.vault.delivery import TAG_BYTES, BadDelivery, DeliveryBox
from actors.vault.sealing import AES_256_GCM, ALGORITHMS

FOLDER = Path(__file__).parents[2] / "vectors" / "wycheproof"
unhex = bytes.fromhex


def cases(name: str, count: int) -> list[dict[str, Any]]:
    """All of them: a file that was cut short is noticed."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())
    assert len(found) == count
    return found


def test_aes_gcm_opens_into_a_buffer_and_refuses_the_rest() -> None:
    for case in cases("aes_gcm", 66):
        cipher = ALGORITHMS[AES_256_GCM](unhex(case["key"]))
        nonce, aad, plain = unhex(case["iv"]), unhex(case["aad"]), unhex(case["msg"])
        sealed = unhex(case["ct"]) + unhex(case["tag"])
        out = bytearray(len(sealed) - TAG_BYTES)
        if case["result"] == "valid":
            cipher.decrypt_into(nonce, sealed, aad, out)
            assert (case["id"], bytes(out)) == (case["id"], plain)
            assert cipher.encrypt(nonce, plain, aad) == sealed
        else:
            with pytest.raises(InvalidTag):
                # What is in the buffer now is nobody's: our callers wipe it.
                cipher.decrypt_into(nonce, sealed, aad, out)


def test_hmac_is_what_signed_requests_and_pseudonyms_stand_on() -> None:
    for case in cases("hmac_sha256", 174):
        made = hmac.digest(unhex(case["key"]), unhex(case["msg"]), "sha256")
        tag = unhex(case["tag"])
        same = hmac.compare_digest(made[: case["tagSize"] // 8], tag)
        assert (case["id"], same) == (case["id"], case["result"] == "valid")


def test_hkdf_derives_into_a_buffer_or_refuses() -> None:
    for case in cases("hkdf_sha256", 86):
        salt, info = unhex(case["salt"]), unhex(case["info"])
        out = bytearray(case["size"])
        if case["result"] == "valid":
            derived = HKDF(SHA256(), len(out), salt=salt, info=info)
            derived.derive_into(unhex(case["ikm"]), out)
            assert (case["id"], bytes(out)) == (case["id"], unhex(case["okm"]))
        else:
            with pytest.raises(ValueError):  # noqa: PT011 - the library's own
                HKDF(SHA256(), len(out), salt=salt, info=info)


def test_ed25519_accepts_no_second_signature_of_a_checkpoint() -> None:
    """Malleable, truncated, and those with garbage behind them."""
    for case in cases("ed25519", 151):
        key = Ed25519PublicKey.from_public_bytes(unhex(case["pk"]))
        try:
            key.verify(unhex(case["sig"]), unhex(case["msg"]))
            good = True
        except InvalidSignature:
            good = False
        assert (case["id"], good) == (case["id"], case["result"] == "valid")


def test_x25519_shares_what_it_should_and_never_a_zero() -> None:
    for case in cases("x25519", 518):
        private = X25519PrivateKey.from_private_bytes(unhex(case["private"]))
        public = X25519PublicKey.from_public_bytes(unhex(case["public"]))
        shared = unhex(case["shared"])
        if any(shared):
            assert (case["id"], private.exchange(public)) == (case["id"], shared)
        else:
            with pytest.raises(ValueError):  # noqa: PT011 - the library's own
                private.exchange(public)


def test_a_delivery_from_a_point_of_low_order_is_refused() -> None:
    """Its shared secret would be one that anybody knows."""
    points = {
        case["public"]
        for case in cases("x25519", 518)
        if not any(unhex(case["shared"]))
    }
    assert len(points) >= 5
    for point in points:
        out = bytearray(b"x" * 16)
        delivery = unhex(point) + bytes(16 + TAG_BYTES)
        with pytest.raises(BadDelivery):
            DeliveryBox().open_into(delivery, b"info", memoryview(out))
        assert not any(out)
