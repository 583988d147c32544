"""What a picture costs in tokens: its size from its first bytes, then a rule. Pure.

The rules are data of the catalogue (`ImageRule`); here they are only obeyed. A picture
whose size is unknown (a URL, a format that nobody here reads) costs the most that its
rule allows: a hold must be enough for it.
"""

from __future__ import annotations

import base64
import binascii
import struct
from math import ceil
from typing import Final, Literal

from msgspec import Struct

HEADER_CHARS_MAX: Final = (
    96 * 1024
)  # A JPEG's size stands behind its EXIF, up to 64 KB.


class ImageRule(Struct, frozen=True, omit_defaults=True):
    """How one family of models counts pictures.

    Args:
        kind: "tiles" counts squares of `side_px` after fitting into `fit_px` and
            shrinking the short side to `short_px` (0: neither), `per_unit` each and
            `base` for the whole; "patches" counts squares of `side_px`, at most
            `units_max`, times `per_mille` / 1000; "area" divides the pixels by
            `side_px`, at most `units_max`; "flat" is `base`, whatever the size.
    """

    kind: Literal["tiles", "patches", "area", "flat"]
    base: int = 0
    per_unit: int = 0
    side_px: int = 0
    fit_px: int = 0
    short_px: int = 0
    units_max: int = 0
    per_mille: int = 1000
    low: int = 0  # With detail "low", where that is cheaper.


class Picture(Struct, frozen=True):
    """A picture as far as it matters: pixels (0: unknown) and the detail asked for."""

    width: int = 0
    height: int = 0
    detail: str = ""


UNKNOWN: Final = Picture()
# Pictures whose size nobody knows are taken for this big: above it every rule is flat.
SIDE_PX_UNKNOWN: Final = 2048


def tokens(rule: ImageRule, picture: Picture) -> int:
    """What this picture costs by this rule."""
    if picture.detail == "low" and rule.low:
        return rule.low
    width = picture.width or SIDE_PX_UNKNOWN
    height = picture.height or SIDE_PX_UNKNOWN
    match rule.kind:
        case "flat":
            return rule.base
        case "area":
            return min(rule.units_max, ceil(width * height / rule.side_px))
        case "patches":
            across = ceil(width / rule.side_px) * ceil(height / rule.side_px)
            return ceil(min(rule.units_max, across) * rule.per_mille / 1000)
        case "tiles":
            width, height = _fitted(rule, width, height)
            across = ceil(width / rule.side_px) * ceil(height / rule.side_px)
            if rule.units_max:
                across = min(rule.units_max, across)
            return rule.base + across * rule.per_unit


def _fitted(rule: ImageRule, width: int, height: int) -> tuple[int, int]:
    if rule.fit_px:
        scale = min(1.0, rule.fit_px / max(width, height))
        width, height = ceil(width * scale), ceil(height * scale)
    if rule.short_px:
        scale = min(1.0, rule.short_px / min(width, height))
        width, height = ceil(width * scale), ceil(height * scale)
    return max(1, width), max(1, height)


def of_base64(data: str | bytes, detail: str | None = None) -> Picture:
    """The size that a picture's own header states."""
    head = data[:HEADER_CHARS_MAX]
    head = head[: len(head) // 4 * 4]
    try:
        width, height = size(base64.b64decode(head))
    except (binascii.Error, ValueError, struct.error):
        width, height = 0, 0
    return Picture(width, height, detail or "")


def size(head: bytes) -> tuple[int, int]:
    """Width and height of a PNG, GIF, JPEG or WebP; zeros where it is none.

    Raises:
        struct.error: it ends too soon.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _pair(struct.unpack_from(">II", head, 16))
    if head[:6] in {b"GIF87a", b"GIF89a"}:
        return _pair(struct.unpack_from("<HH", head, 6))
    if head.startswith(b"\xff\xd8"):
        return _jpeg(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    return 0, 0


def _jpeg(head: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return 0, 0
        marker = head[at + 1]
        if marker == 0xFF:  # Padding.
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = _pair(struct.unpack_from(">HH", head, at + 5))
            return width, height
        # Every segment has its length, which holds itself: two at least, so this ends.
        at += 2 + max(2, int.from_bytes(head[at + 2 : at + 4]))
    return 0, 0


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(head[24:27], "little")
        return width, 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return 1 + (int(bits) & 0x3FFF), 1 + (int(bits) >> 14 & 0x3FFF)
    width, height = _pair(struct.unpack_from("<HH", head, 26))
    return width & 0x3FFF, height & 0x3FFF


def _pair(found: tuple[int, ...]) -> tuple[int, int]:
    return found[0], found[1]
