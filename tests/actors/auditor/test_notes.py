"""Notes, checkpoints, cosignatures: C2SP's own examples, and ways to be false."""

from __future__ import annotations

import pickle
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from actors.auditor.notes import (
    COSIGNED_ED25519,
    COSIGNED_MLDSA44,
    SIGNATURES_MAX,
    BadNote,
    Checkpoint,
    Signature,
    Signer,
    Verifier,
    cosigned_message,
    cosigned_text,
    cosigners,
    open_checkpoint,
    split_note,
    with_signatures,
)

# From golang.org/x/mod/sumdb/note's documentation (BSD-3-Clause).
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2"
    "pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ORIGIN = "log.example/stagedoor"
SIGNER = Signer.of(ORIGIN, bytes(range(32)))
LOG = SIGNER.verifier
TEXT = Checkpoint(ORIGIN, 7, bytes(32)).text()
NOTE = SIGNER.sign(TEXT).encode()


def _witness(name: str = "w.example/1") -> tuple[Verifier, Ed25519PrivateKey]:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = key.public_key().public_bytes_raw()
    return Verifier(name, COSIGNED_ED25519, public), key


def _cosigned(note: bytes, time_s: int = 1_700_000_000) -> tuple[bytes, Verifier]:
    verifier, key = _witness()
    text, _ = split_note(note)
    value = time_s.to_bytes(8, "big") + key.sign(cosigned_text(text, time_s))
    line = Signature(verifier.name, verifier.key_id, value)
    return with_signatures(note, [line]), verifier


def test_gos_example_note_is_believed() -> None:
    verifier = Verifier.parse(GO_VKEY)
    text, [signature] = split_note(GO_NOTE.encode())

    assert verifier.vkey == GO_VKEY
    assert verifier.check(signature, text)
    with pytest.raises(BadNote, match="does not verify"):
        verifier.check(signature, text + "x\n")


def test_our_checkpoint_reads_back() -> None:
    assert open_checkpoint(NOTE, LOG) == Checkpoint(ORIGIN, 7, bytes(32))
    assert Verifier.parse(LOG.vkey) == LOG
    assert SIGNER.sign(TEXT).encode() == NOTE, "Ed25519 is deterministic"


def test_extension_lines_are_signed_and_passed_over() -> None:
    note = SIGNER.sign(TEXT + "extension\n").encode()

    assert open_checkpoint(note, LOG).size == 7


@pytest.mark.parametrize("place", range(len(NOTE)))
def test_no_byte_of_a_checkpoint_can_change(place: int) -> None:
    for bit in (1, 32):
        bad = bytearray(NOTE)
        bad[place] ^= bit
        with pytest.raises(BadNote):
            open_checkpoint(bytes(bad), LOG)


@given(st.binary(max_size=300))
def test_no_noise_is_a_checkpoint(noise: bytes) -> None:
    for note in (noise, TEXT.encode() + b"\n" + noise):
        with pytest.raises(BadNote):
            open_checkpoint(note, LOG)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{ORIGIN}\n07\n{b64encode(bytes(32)).decode()}\n", "no number"),
        (f"{ORIGIN}\n-1\n{b64encode(bytes(32)).decode()}\n", "no number"),
        (f"{ORIGIN}\n{1 << 63}\n{b64encode(bytes(32)).decode()}\n", "no number"),
        (f"{ORIGIN}\n7\n{b64encode(bytes(31)).decode()}\n", "no hash"),
        (f"{ORIGIN}\n7\nAAAA=\n", "no base64"),
        (f"{ORIGIN}\n7\n", "a line each"),
        (f"other.example\n7\n{b64encode(bytes(32)).decode()}\n", "is of other"),
    ],
)
def test_a_signed_note_that_is_no_checkpoint_of_ours(text: str, why: str) -> None:
    with pytest.raises(BadNote, match=why):
        open_checkpoint(SIGNER.sign(text).encode(), LOG)


def test_another_key_of_our_name_is_a_stranger() -> None:
    stranger = Signer.of(ORIGIN, bytes(32))

    with pytest.raises(BadNote, match="has not signed"):
        open_checkpoint(stranger.sign(TEXT).encode(), LOG)


def test_one_false_signature_of_ours_condemns_a_note_with_a_true_one() -> None:
    false = Signature(LOG.name, LOG.key_id, bytes(64))

    with pytest.raises(BadNote, match="does not verify"):
        open_checkpoint(with_signatures(NOTE, [false]), LOG)


def test_strangers_signatures_are_passed_over_up_to_a_bound() -> None:
    stranger = Signature("other.example", b"abcd", bytes(64))

    assert open_checkpoint(with_signatures(NOTE, [stranger] * 15), LOG).size == 7
    with pytest.raises(BadNote, match="at most"):
        open_checkpoint(with_signatures(NOTE, [stranger] * SIGNATURES_MAX), LOG)


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace(b"\n\n", b"\n"),
        NOTE.removesuffix(b"\n"),
        NOTE.replace(b"\n", b"\r\n"),
        NOTE.replace("\u2014 ".encode(), b"- "),
        NOTE + b"\xff",
        NOTE.replace(b"=\n", b"\n"),
        b"x" * (1 << 18),
    ],
)
def test_a_note_has_one_form(note: bytes) -> None:
    with pytest.raises(BadNote):
        open_checkpoint(note, LOG)


@pytest.mark.parametrize(
    "vkey",
    ["", "a+b", "a+00000000+AAAA", LOG.vkey[:-2], LOG.vkey.replace("+", " ", 1)],
)
def test_a_key_that_is_none_is_refused(vkey: str) -> None:
    with pytest.raises(BadNote):
        Verifier.parse(vkey)


def test_a_witness_counts_once_it_has_signed() -> None:
    note, witness = _cosigned(NOTE)

    assert cosigners(note, [witness]) == [witness.name]
    assert cosigners(NOTE, [witness]) == []
    assert Verifier.parse(witness.vkey) == witness


def test_a_witnesss_signature_covers_its_time() -> None:
    note, witness = _cosigned(NOTE)
    text, [_, signature] = split_note(note)
    moved = Signature(signature.name, signature.key_id, bytes(8) + signature.value[8:])

    with pytest.raises(BadNote, match="does not verify"):
        witness.check(moved, text)


def test_c2sps_example_message_is_what_a_witness_signs() -> None:
    root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    text = f"example.com/behind-the-sofa\n20852163\n{root}\n"

    assert cosigned_text(text, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\n" + text.encode()
    )


def test_a_post_quantum_witness_counts_too() -> None:
    key = MLDSA44PrivateKey.generate()
    witness = Verifier(
        "pq.example", COSIGNED_MLDSA44, key.public_key().public_bytes_raw()
    )
    text, _ = split_note(NOTE)
    value = (9).to_bytes(8, "big") + key.sign(cosigned_message("pq.example", text, 9))
    note = with_signatures(NOTE, [Signature("pq.example", witness.key_id, value)])

    assert cosigners(note, [witness]) == ["pq.example"]
    other = Verifier("pq.other", COSIGNED_MLDSA44, witness.public)
    stolen = with_signatures(NOTE, [Signature("pq.other", other.key_id, value)])
    with pytest.raises(BadNote, match="does not verify"):
        cosigners(stolen, [other])


def test_the_signing_key_shows_nowhere() -> None:
    assert "Ed25519PrivateKey" not in repr(SIGNER)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(SIGNER)
