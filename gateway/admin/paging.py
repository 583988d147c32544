"""Lists come in pages, and a cursor says where the next one begins. Pure.

A cursor is opaque, holds the last row's place and which list it is of, and is no
secret: it opens nothing that a filter could not name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from gateway.admin.problems import Problem

T = TypeVar("T")

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500  # A page is built in memory; export what is longer.
CURSOR_CHARS_MAX: Final = 1024

Limit = Annotated[
    int,
    msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most entries of this page."),
]
CursorText = Annotated[
    str,
    msgspec.Meta(
        max_length=CURSOR_CHARS_MAX,
        description="`next_cursor` of the page before; empty for the first page.",
    ),
]

Place = tuple[str | int, ...]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list. `next_cursor` is empty on the last page."""

    items: tuple[T, ...]
    next_cursor: str = ""


class _Cursor(msgspec.Struct, array_like=True, frozen=True):
    of: str
    place: tuple[str | int, ...]


class Paged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a list."""

    limit: Limit = LIMIT_DEFAULT
    cursor: CursorText = ""


def encode(of: str, place: Place) -> str:
    """A cursor after `place` in the list `of`."""
    data = msgspec.json.encode(_Cursor(of, place))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(of: str, cursor: str) -> Place | None:
    """The place in a cursor; None for the first page. Raises Problem."""
    if not cursor:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
        found = msgspec.json.decode(data, type=_Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Problem("bad-request", "cursor: is none that a page gave") from None
    if found.of != of:
        raise Problem("bad-request", f"cursor: is one of another list than {of}")
    return found.place


def page(
    of: str, found: Sequence[T], limit: int, place: Callable[[T], Place]
) -> Page[T]:
    """A page of rows of which one more was asked for than it may hold."""
    shown = tuple(found[:limit])
    more = len(found) > limit
    return Page(shown, encode(of, place(shown[-1])) if more else "")


def page_of(
    of: str,
    every: Iterable[T],
    asked: Paged,
    place: Callable[[T], str],
) -> Page[T]:
    """A page of what is in memory, in the order of its names."""
    after = decode(of, asked.cursor)
    ordered = sorted(every, key=place)
    if after is not None:
        last = name_at(after)
        ordered = [one for one in ordered if place(one) > last]
    return page(of, ordered[: asked.limit + 1], asked.limit, lambda one: (place(one),))


def name_at(place: Place) -> str:
    """The name in a place that holds just one. Raises Problem."""
    match place:
        case (str() as name,):
            return name
        case _:
            raise Problem("bad-request", "cursor: is none that a page gave")
