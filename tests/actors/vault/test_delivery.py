"""Deliveries: HPKE as the RFC and the library have it, and bound to one name."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from actors.vault.delivery import SUITE, BadDelivery, DeliveryBox, info, seal, size_of

BOUND = info("acme", "prod", "openai", "default")


def opened(box: DeliveryBox, delivery: bytes, bound_to: bytes = BOUND) -> bytes:
    out = memoryview(bytearray(size_of(delivery)))
    try:
        return bytes(out[: box.open_into(delivery, bound_to, out)])
    except BadDelivery:
        assert bytes(out) == bytes(len(out))
        raise


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=100))
def test_what_the_library_seals_our_box_opens(plain: bytes, bound_to: bytes) -> None:
    """And the library opens it as well: it is the same HPKE."""
    private = X25519PrivateKey.generate()
    box = DeliveryBox(private)
    delivery = seal(plain, box.public_key, bound_to)
    assert opened(box, delivery, bound_to) == plain
    assert SUITE.decrypt(delivery, private, bound_to) == plain


def test_it_opens_for_its_name_only() -> None:
    box = DeliveryBox()
    delivery = seal(b"sk-made-up", box.public_key, BOUND)
    for names in (
        ("other", "prod", "openai", "default"),
        ("acme", "dev", "openai", "default"),
        ("acme", "prod", "openaidefault", ""),
    ):
        with pytest.raises(BadDelivery):
            opened(box, delivery, info(*names))


def test_it_opens_in_its_box_only() -> None:
    """A recorded delivery is worth nothing after a restart."""
    delivery = seal(b"sk-made-up", DeliveryBox().public_key, BOUND)
    with pytest.raises(BadDelivery, match="seal it again"):
        opened(DeliveryBox(), delivery)


def test_every_bit_and_every_cut_counts() -> None:
    box = DeliveryBox()
    delivery = seal(b"sk-made-up", box.public_key, BOUND)
    for place in range(len(delivery) * 8):
        if place == 31 * 8 + 7:
            continue  # X25519 ignores the highest bit of a point; the next test.
        changed = bytearray(delivery)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(BadDelivery):
            opened(box, bytes(changed))
    for size in range(len(delivery)):
        with pytest.raises(BadDelivery):
            opened(box, delivery[:size])


def test_the_bit_that_x25519_ignores_is_in_the_context() -> None:
    box = DeliveryBox()
    changed = bytearray(seal(b"sk-made-up", box.public_key, BOUND))
    changed[31] ^= 0x80
    with pytest.raises(BadDelivery):
        opened(box, bytes(changed))


def test_a_point_of_small_order_is_refused() -> None:
    """Its shared secret would be known to all."""
    with pytest.raises(BadDelivery):
        opened(DeliveryBox(), bytes(32) + bytes(40))


def test_reprs_show_no_private_key() -> None:
    box = DeliveryBox()
    assert repr(box) == f"<DeliveryBox {box.public_key.hex()[:8]}>"
