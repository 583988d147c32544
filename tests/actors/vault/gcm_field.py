"""Arithmetic to forge a ciphertext that AES-GCM accepts under two keys.

For the test of the commitment only. GHASH is a polynomial over GF(2^128) in H = E(0);
with one free block, the two tags can be made equal by solving one linear equation.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
ONE = 1 << 127  # GCM's bit order: the first bit is the coefficient of 1.
REDUCTION = 0xE1 << 120


def multiply(a: int, b: int) -> int:
    out = 0
    for bit in range(127, -1, -1):
        if b >> bit & 1:
            out ^= a
        a = (a >> 1) ^ (REDUCTION if a & 1 else 0)
    return out


def power(a: int, n: int) -> int:
    out = ONE
    while n:
        if n & 1:
            out = multiply(out, a)
        a = multiply(a, a)
        n >>= 1
    return out


def inverse(a: int) -> int:
    return power(a, 2**128 - 2)


def encrypt_block(key: bytes, block: bytes) -> int:
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return int.from_bytes(cipher.update(block) + cipher.finalize(), "big")


def collide(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes) -> bytes:
    """Two blocks of ciphertext and a tag that fit both keys."""
    blocks = [
        int.from_bytes(aad[at : at + BLOCK].ljust(BLOCK, b"\0"), "big")
        for at in range(0, len(aad), BLOCK)
    ]
    first = 0x1234  # Any block; the second is solved for.
    lengths = (len(aad) * 8) << 64 | (2 * BLOCK * 8)
    fixed: list[int] = []
    factor: list[int] = []
    for key in keys:
        h = encrypt_block(key, bytes(BLOCK))
        total = 0
        for block in (*blocks, first):
            total = multiply(total ^ block, h)
        # Then the free block x: ((total ^ x)·h ^ lengths)·h ^ E(counter).
        tag = multiply(multiply(total, h) ^ lengths, h)
        fixed.append(tag ^ encrypt_block(key, nonce + b"\0\0\0\1"))
        factor.append(multiply(h, h))
    free = multiply(fixed[0] ^ fixed[1], inverse(factor[0] ^ factor[1]))
    tag = fixed[0] ^ multiply(free, factor[0])
    return b"".join(part.to_bytes(BLOCK, "big") for part in (first, free, tag))
