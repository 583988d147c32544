"""The primitives as the vault uses them, against published answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from actors.vault.delivery import DeliveryBox, _schedule
from actors.vault.sealing import AES_256_GCM, AES_256_GCM_SIV, ALGORITHMS

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "vault" / "primitives.json").read_text()
)
unhex = bytes.fromhex


@pytest.mark.parametrize(
    ("alg", "name", "count"),
    [(AES_256_GCM, "aes_256_gcm", 100), (AES_256_GCM_SIV, "aes_256_gcm_siv", 20)],
)
def test_sealing_ciphers_open_what_they_should_and_no_more(
    alg: int, name: str, count: int
) -> None:
    """Into a buffer, as records are opened; a failure leaves it empty."""
    cases = VECTORS[name]
    assert len(cases) >= count
    for case in cases:
        cipher = ALGORITHMS[alg](unhex(case["key"]))
        nonce, aad = unhex(case["iv"]), unhex(case["aad"])
        ct = unhex(case["ct"]) + unhex(case["tag"])
        out = bytearray(len(ct) - 16)
        if case["pt"] is None:
            with pytest.raises(InvalidTag):
                cipher.decrypt_into(nonce, ct, aad, out)
            continue
        assert cipher.decrypt_into(nonce, ct, aad, out) == len(out)
        assert out == unhex(case["pt"])
        assert cipher.encrypt(nonce, bytes(out), aad) == ct


def test_hkdf_derives_into_a_buffer_what_rfc_5869_says() -> None:
    for case in VECTORS["hkdf_sha256"]:
        out = bytearray(int(case["l"] if "l" in case else case["L"]))
        HKDF(
            SHA256(), len(out), salt=unhex(case["salt"]), info=unhex(case["info"])
        ).derive_into(unhex(case["ikm"]), out)
        assert out == unhex(case["okm"])


def test_argon2id_stretches_as_rfc_9106_says() -> None:
    cases = [case for case in VECTORS["argon2id"] if case["pass"]]
    assert len(cases) >= 2
    for case in cases:
        out = bytearray(int(case["length"]))
        Argon2id(
            salt=unhex(case["salt"]),
            length=len(out),
            iterations=int(case["iter"]),
            lanes=int(case["lanes"]),
            memory_cost=int(case["memcost"]),
            ad=unhex(case["ad"]) or None,
            secret=unhex(case["secret"]) or None,
        ).derive_into(unhex(case["pass"]), out)
        assert out == unhex(case["output"])


def test_our_half_of_hpke_is_that_of_rfc_9180() -> None:
    """Shared secret, key and nonce, from the receiver's private key."""
    case = VECTORS["hpke"]
    private = X25519PrivateKey.from_private_bytes(unhex(case["skRm"]))
    box = DeliveryBox(private)
    assert box.public_key == unhex(case["pkRm"])
    enc = unhex(case["enc"])
    point = private.exchange(X25519PublicKey.from_public_bytes(enc))
    shared = box._kem_context(point, enc)
    assert shared == unhex(case["shared_secret"])
    assert _schedule(shared, unhex(case["info"])) == (
        unhex(case["key"]),
        unhex(case["base_nonce"]),
    )
