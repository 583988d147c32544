"""Pictures: their size from their first bytes, their tokens by a rule."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.catalogue.rules import RULES, rule_of
from actors.router.tokens import images
from actors.router.tokens.images import ImageRule, Picture, of_base64, tokens


def png(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08"
    )


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0"


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 5000) + bytes(4998)
    table = b"\xff\xc4\x00\x04\x00\x00"
    frame = b"\xff\xff\xc2\x00\x11\x08" + struct.pack(">HH", height, width) + bytes(10)
    return b"\xff\xd8" + exif + table + frame


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + rest


FILES = {
    "png": png(640, 480),
    "gif": gif(640, 480),
    "jpeg": jpeg(640, 480),
    "webp x": webp(b"VP8X", b"\0\0\0\0" + b"\x7f\x02\0" + b"\xdf\x01\0"),
    "webp lossless": webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 479 << 14)),
    "webp lossy": webp(
        b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 640, 480)
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_picture_states_its_size(kind: str) -> None:
    data = base64.b64encode(FILES[kind] + bytes(100)).decode()
    assert of_base64(data) == Picture(640, 480)


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X"):
        of_base64(base64.b64encode(start + data))
        of_base64(start + data)


@pytest.mark.parametrize(
    ("rule", "picture", "expected"),
    [
        # The examples of OpenAI's guide to vision.
        ("openai-4o", Picture(1024, 1024, "high"), 765),
        ("openai-4o", Picture(2048, 4096, "high"), 1105),
        ("openai-4o", Picture(4096, 8192, "low"), 85),
        ("openai-patches-mini", Picture(1024, 1024), 1659),
        # And of Anthropic's.
        ("claude", Picture(200, 200), 54),
        ("claude", Picture(1092, 1092), 1590),
        ("claude", Picture(8000, 8000), 1600),
        ("gemini-3", Picture(10, 10), 1120),
        ("gemini", Picture(300, 300), 258),
        ("gemini", Picture(1536, 768), 516),
    ],
)
def test_a_rule_counts_as_its_maker_says(
    rule: str, picture: Picture, expected: int
) -> None:
    assert tokens(RULES[rule], picture) == expected


@pytest.mark.parametrize("name", RULES)
def test_a_picture_of_unknown_size_costs_at_least_as_a_usual_one(name: str) -> None:
    """A hold must be enough for a picture that is only a URL here."""
    rule = RULES[name]
    assert tokens(rule, images.UNKNOWN) >= tokens(rule, Picture(1024, 768))


def test_an_unknown_rule_is_a_dear_one() -> None:
    assert rule_of("somebodys-model") == ""
    assert tokens(ImageRule("flat", base=7), Picture(9, 9)) == 7
