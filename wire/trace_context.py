"""W3C Trace Context: `traceparent` and `tracestate`, read, carried on and written.

Sans-io and without chance: ids of new traces come as arguments. What a client sends
is either valid, or as if it had sent nothing; a request never fails for its trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

STATE_CHARS_MAX = 512  # What the recommendation asks everybody to carry, and no more.
ASIDE_PLACE = 2**32  # Far from the calls of the request itself.
PARENT_BYTES_MAX = 512  # Later versions may be longer than the 55 of this one.

_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
    r"(-.*)?"
)
_STATE = re.compile(r"[\x20-\x7e\t]*")
_SAMPLED = 0x01


class Parent(Struct, frozen=True):
    """The span that a request comes from, as its client names it."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""


class Trace(Struct, frozen=True):
    """A request's place in a trace: its own span, and the one that it comes from.

    `outward`: providers are told too.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = False
    state: str = ""
    outward: bool = True

    def child(self, place: int) -> str:
        """The id of the `place`th span below this one, from 1.

        Known to whoever knows the place: nobody has to carry it from the call to its
        record. Ids of spans are random, so neighbours of one are as good as any.
        """
        return child_of(self.span_id, place)

    def aside(self) -> Trace:
        """The same trace, for what is asked beside this request: a span below it."""
        return replace(self, span_id=self.child(ASIDE_PLACE), parent_id=self.span_id)

    def fields(self, span_id: str) -> tuple[tuple[bytes, bytes], ...]:
        """The header fields of a call that is made within `span_id`."""
        if not self.outward:
            return ()
        flags = "01" if self.sampled else "00"
        parent = f"00-{self.trace_id}-{span_id}-{flags}".encode()
        if not self.state:
            return ((b"traceparent", parent),)
        return ((b"traceparent", parent), (b"tracestate", self.state.encode()))

    @property
    def text(self) -> str:
        """For the record: who it was, who asked, and whether it is told (`parse`)."""
        told = "1" if self.sampled else "0"
        return f"{self.trace_id}-{self.span_id}-{self.parent_id}-{told}"


def parse(text: str) -> Trace:
    """A trace as its record has it."""
    trace_id, span_id, parent_id, told = text.split("-")
    return Trace(trace_id, span_id, parent_id, told == "1")


def child_of(span_id: str, place: int) -> str:
    """The id of the `place`th span below one; never zero, which is no id."""
    return f"{(int(span_id, 16) - 1 + place) % (2**64 - 1) + 1:016x}"


def parent_of(fields: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """Where a request comes from, of its header fields by lower-case names.

    Two `traceparent`s are none; `tracestate`s are one list, in their order.
    """
    parent: bytes | None = None
    states: list[bytes] = []
    for name, value in fields:
        if name == b"traceparent":
            if parent is not None:
                return None
            parent = value
        elif name == b"tracestate":
            states.append(value)
    if parent is None or len(parent) > PARENT_BYTES_MAX:
        return None
    found = _PARENT.fullmatch(parent.decode("latin-1").strip(" \t"))
    # Of this version there is no more; of a later one whatever follows is not for us.
    if found is None or (found[1] == "00" and found[5]):
        return None
    state = b",".join(filter(None, states)).decode("latin-1").strip(" \t,")
    if len(state) > STATE_CHARS_MAX or not _STATE.fullmatch(state):
        state = ""
    return Parent(found[2], found[3], bool(int(found[4], 16) & _SAMPLED), state)
