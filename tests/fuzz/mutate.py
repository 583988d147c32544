"""Inputs from recorded ones, by seeded chance: for fuzzing without a fuzzer."""

from __future__ import annotations

from random import Random

PIECES = (
    *(b"{}", b"[]", b"null", b"true", b'""', b"-1", b"1e999", b"[[[[", b'"\\ud800"'),
    *(b"\n\n", b"\r\n", b"\r", b"data:", b"event: error\n", b"data: [DONE]\n\n"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\x00", b"\xe2\x80\xa8"),
)
STEPS_MAX = 6


def mutated(seed: bytes, other: bytes, chance: Random) -> bytes:
    """One input near `seed`: a few bytes flipped, cut, doubled, or of another."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, STEPS_MAX)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.choice((1, 2, 16, 256))]
            case 2:
                data[at:at] = data[at : at + chance.randint(1, 64)]
            case 3:
                data[at:at] = chance.choice(PIECES)
            case 4:
                start = chance.randrange(len(other) + 1)
                data[at:at] = other[start : start + chance.randint(1, 256)]
            case _:
                del data[at:]
    return bytes(data)
