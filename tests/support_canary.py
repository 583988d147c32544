"""Marked values, and whether any trace of one is in some bytes.

A leak is rarely verbatim: it comes base64'd in a header that was logged, escaped in a
JSON line, compressed in a body that was kept. `traces` knows these forms.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

UNPACKED_BYTES_MAX = (
    4 * 2**20
)  # Of one compressed piece; canaries stand near its start.
PACKED_LOOKS_MAX = 2_000  # Many bytes only look like a header.


def forms(secret: bytes) -> dict[str, bytes]:
    """Every encoding in which it would still be the secret."""
    text = secret.decode("latin-1")
    found = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "percent": "".join(f"%{byte:02X}" for byte in secret).encode(),
        "percent, lower": "".join(f"%{byte:02x}" for byte in secret).encode(),
        "escaped": "".join(f"\\u{ord(char):04x}" for char in text).encode(),
        "hex escaped": "".join(f"\\x{byte:02x}" for byte in secret).encode(),
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "reversed": secret[::-1],
    }
    if quote(text, safe="") != text:
        found["quoted"] = quote(text, safe="").encode()
    for offset in range(3):
        for name, alphabet in (("base64", b"+/"), ("base64url", b"-_")):
            whole = base64.b64encode(bytes(offset) + secret, alphabet)
            # What depends on its neighbours is cut off at both ends.
            start = (0, 2, 3)[offset]
            end = (offset + len(secret)) // 3 * 4
            found[f"{name} at {offset}"] = whole[start:end]
    return found


def traces(data: bytes, secrets: dict[str, bytes], *, unpack: bool = True) -> set[str]:
    """`name: form` of each secret that is in there, compressed pieces included."""
    found: set[str] = set()
    wanted = {name: forms(secret) for name, secret in secrets.items()}
    for where, piece in (("", data), *_packed(data, unpack)):
        for name, encodings in wanted.items():
            found |= {
                f"{name}: {where}{form}"
                for form, needle in encodings.items()
                if needle in piece
            }
    return found


def _packed(data: bytes, unpack: bool) -> Iterator[tuple[str, bytes]]:
    return (("packed ", one) for one in (_unpacked(data) if unpack else ()))


def _unpacked(data: bytes) -> Iterator[bytes]:
    looks = 0
    for magic, bits in ((b"\x1f\x8b\x08", 31), (b"\x78\x9c", 15), (b"\x78\xda", 15)):
        at = data.find(magic)
        while at >= 0 and looks < PACKED_LOOKS_MAX:
            looks += 1
            with suppress(zlib.error):
                yield zlib.decompressobj(bits).decompress(
                    data[at : at + UNPACKED_BYTES_MAX], UNPACKED_BYTES_MAX
                )
            at = data.find(magic, at + 1)
