"""What identifies a place in a recorded stream, and where its frames end. Pure.

An event's id is `REQUEST_ID.NUMBER`: whoever comes back with it (`Last-Event-ID`) says
which answer, and how much of it is there already, and needs no other address.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

# A client's own name for a request: a UUID, mostly. Longer is no name.
KEY_CHARS_MAX: Final = 255

_PLACE: Final = re.compile(r"(req_[0-9a-f]{24})\.([0-9]{1,9})")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")

# A writer that is silent says at least this often that it lives.
ALIVE_S: Final = 5.0
# Then it is dead: its worker was killed, or lost the store. Its name is free again if
# it had said nothing yet.
STALE_S: Final = 20.0
# A writer that could not say that it lives for so long ends what it writes, before
# another takes its name: the rest is for two machines' clocks to differ.
FENCE_S: Final = 15.0


class Place(Struct, frozen=True):
    """An event of an answer."""

    request_id: str
    number: int


def read_place(text: str) -> Place | None:
    """The event that a client saw last; None where the id is none of ours."""
    match = _PLACE.fullmatch(text)
    return None if match is None else Place(match[1], int(match[2]))


def may_be_taken(*, silent_s: float, stored: int, keep_s: float) -> bool:
    """Whether another worker may soon serve the same name anew.

    What it has said keeps the name until it expires; until then only life does.
    """
    return silent_s >= (max(keep_s, STALE_S) - STALE_S if stored else 0.0) + FENCE_S


def kept_s(keep_s: float, *, running: bool) -> float:
    """How long from now on it stays: one that runs, until it says so again at least."""
    return max(keep_s, STALE_S) if running else keep_s


def is_key(text: str) -> bool:
    """Whether a client's name for a request is fit to be one."""
    return _KEY.fullmatch(text) is not None


def frames(buffer: bytearray) -> list[bytes]:
    """Take the complete frames out of a buffer; what is begun stays in it."""
    found: list[bytes] = []
    at = 0
    while True:
        ends = [
            place + len(end) for end in _ENDS if (place := buffer.find(end, at)) >= 0
        ]
        if not ends:
            break
        end = min(ends)
        found.append(bytes(buffer[at:end]))
        at = end
    del buffer[:at]
    return found


def bare(frame: bytes, heartbeat: bytes) -> bytes:
    """The frame without heartbeats in front: silence is each reader's own."""
    while heartbeat and frame.startswith(heartbeat):
        frame = frame.removeprefix(heartbeat)
    return frame


def _is_silent(frame: bytes) -> bool:
    """Whether it has no field: nothing but comments and the ends of lines."""
    return all(line.startswith(b":") or not line for line in frame.splitlines())


def with_id(frame: bytes, request_id: str, number: int) -> bytes:
    """The frame with its place in front.

    A comment by itself has none: an id makes some clients dispatch an empty event.
    """
    if frame.startswith((b":", b"\n", b"\r")) and _is_silent(frame):
        return frame
    return b"id: %b.%d\n%b" % (request_id.encode("ascii"), number, frame)
