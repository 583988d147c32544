"""Answers of the Responses dialect as they are kept, fetched and gone on from. Pure.

Owns: what of a request and its stream is worth keeping, in the dialect's own objects:
input items with ids, the response object at any time, numbered events. Never: where it
is kept and for how long, or for whom; that is who calls this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from wire.dialect import ClientError
from wire.jsontext import (
    JSON_ERRORS,
    NULL,
    client_error,
    decode_any,
    decode_client,
    decode_fields,
    decode_object,
    encode,
    given,
    listing,
    mapping,
    text,
)
from wire.sse import parse_event

ITEMS_PAGE_MAX: Final = 100
"""OpenAI's own bound on `limit`."""
ITEMS_PAGE: Final = 20

Status = Literal["queued", "in_progress", "cancelled", "failed"]


class Control(Struct):
    """What of a request says whether and how its answer is kept."""

    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    previous_response_id: str | None = None


class _Event(Struct, gc=False):
    type: str = ""
    sequence_number: int | None = None
    response: Raw = NULL


_control: Final = msgspec.json.Decoder(Control)
_event: Final = msgspec.json.Decoder(_Event)

# Echoed from the request until the answer itself says so.
_ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "service_tier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def read_control(body: bytes) -> Control:
    """What the request says of keeping. Raises ClientError."""
    return decode_client(_control, body)


def without_background(body: bytes) -> bytes:
    """The same request as one that is waited for: who keeps the answer waits."""
    fields = _fields(body)
    fields.pop("background", None)
    return encode(fields)


def with_previous(body: bytes, previous_id: str) -> bytes:
    """The same request, going on from an answer by its provider's own id."""
    return encode({**_fields(body), "previous_response_id": previous_id})


def _fields(body: bytes) -> dict[str, Any]:
    try:
        return dict(decode_fields(body))
    except JSON_ERRORS as error:
        raise client_error(error) from None


# -- items ---------------------------------------------------------------------------


def input_items(body: bytes, request_id: str) -> tuple[bytes, ...]:
    """The request's own input as items with ids, in order. Raises ClientError."""
    own = decode_any(given(_fields(body).get("input", NULL)) or b"null")
    if isinstance(own, str):
        own = [{"role": "user", "content": own}]
    items: list[bytes] = []
    for place, item in enumerate(listing(own)):
        known = dict(mapping(item))
        kind = text(known.get("type")) or "message"
        if kind == "message" and isinstance(known.get("content"), str):
            said = known["content"]
            mine = known.get("role") == "assistant"
            part = {"type": "output_text" if mine else "input_text", "text": said}
            known["content"] = [part | ({"annotations": []} if mine else {})]
        if not text(known.get("id")):
            known["id"] = f"{_PREFIXES.get(kind, 'item')}_{request_id}i{place}"
        items.append(encode({"type": kind, **known}))
    return tuple(items)


_PREFIXES: Final = {"message": "msg", "function_call": "fc", "reasoning": "rs"}


def output_items(answer: bytes) -> tuple[bytes, ...]:
    """The items of a response object."""
    found = listing((decode_object(answer) or {}).get("output"))
    return tuple(encode(item) for item in found if isinstance(item, dict))


def portable(items: Iterable[bytes]) -> list[bytes]:
    """Items as another provider, or the same one anew, takes them as input.

    Ids name what its owner stored; thoughts without their proof are of no use to
    anybody else. Both go; the words and the calls stay.
    """
    kept: list[bytes] = []
    for raw in items:
        item = decode_object(raw) or {}
        if item.get("type") == "reasoning" and not item.get("encrypted_content"):
            continue
        kept.append(encode({k: v for k, v in item.items() if k not in _OWNERS}))
    return kept


_OWNERS: Final = frozenset({"id", "status"})


class Page(Struct, frozen=True):
    """What a client asks of a list of items."""

    limit: int = ITEMS_PAGE
    newest_first: bool = True
    after: str = ""


def read_page(query: Sequence[tuple[str, str]]) -> Page:
    """`limit`, `order` and `after` of a query. Raises ClientError."""
    given_ = dict(query)
    limit = given_.get("limit", str(ITEMS_PAGE))
    if not limit.isdecimal() or not 1 <= int(limit) <= ITEMS_PAGE_MAX:
        raise ClientError(
            f"Invalid 'limit': expected an integer from 1 to {ITEMS_PAGE_MAX}.",
            param="limit",
            code="invalid_value",
        )
    order = given_.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise ClientError(
            "Invalid 'order': expected 'asc' or 'desc'.",
            param="order",
            code="invalid_value",
        )
    return Page(int(limit), order == "desc", given_.get("after", ""))


def render_items(items: Sequence[bytes], page: Page) -> bytes:
    """One page of input items. Raises ClientError for an unknown cursor."""
    ordered = list(reversed(items)) if page.newest_first else list(items)
    ids = [text((decode_object(item) or {}).get("id")) for item in ordered]
    first = 0
    if page.after:
        if page.after not in ids:
            raise ClientError(
                "No item has the id in 'after'.", param="after", code="invalid_value"
            )
        first = ids.index(page.after) + 1
    last = first + page.limit
    shown = ids[first:last]
    return encode(
        {
            "object": "list",
            "data": [Raw(item) for item in ordered[first:last]],
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
            "has_more": last < len(ordered),
        }
    )


# -- the answer ----------------------------------------------------------------------


def placeholder(
    body: bytes,
    *,
    id: str,  # noqa: A002 - the object's own word
    created: int,
    model: str,
    background: bool,
) -> bytes:
    """The response object before its provider has said anything."""
    fields = _fields(body)
    echoed = {
        name: fields[name] if name in fields and fields[name] != NULL else default
        for name, default in _ECHOED.items()
    }
    return encode(
        {
            "id": id,
            "object": "response",
            "created_at": created,
            "status": "queued" if background else "in_progress",
            "background": background,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "usage": None,
            **echoed,
        }
    )


def snapshot_in(run: bytes) -> bytes | None:
    """The last response object that a run of whole events tells of."""
    if b'"response"' not in run:
        return None
    found = None
    for event in split(run):
        told = _read(event)
        if told is not None and told.response != NULL:
            found = bytes(told.response)
    return found


def id_of(answer: bytes) -> str:
    """The id of a response object; empty where it has none."""
    return text((decode_object(answer) or {}).get("id"))


def status_of(answer: bytes) -> str:
    """The status of a response object."""
    return text((decode_object(answer) or {}).get("status"))


def ended(answer: bytes, status: Status, error: bytes = b"") -> bytes:
    """An answer that stopped before its own end; `error` is an error body."""
    said = mapping(mapping((decode_object(error) or {}).get("error")))
    changed: dict[str, Any] = {"status": status}
    if status == "failed":
        changed["error"] = {
            "code": text(said.get("code")) or "server_error",
            "message": text(said.get("message")) or "The answer was not completed.",
        }
    return encode({**_fields(answer), **changed})


def completed(answer: bytes, usage: Mapping[str, Any]) -> bytes:
    """An answer that is complete as it is, and what it took."""
    return encode({**_fields(answer), "status": "completed", "usage": usage})


def renamed(answer: bytes, *, id: str, background: bool) -> bytes:  # noqa: A002
    """An answer under the id that its client was told."""
    return encode({**_fields(answer), "id": id, "background": background})


def deleted(id: str) -> bytes:  # noqa: A002
    """The body of a DELETE."""
    return encode({"id": id, "object": "response", "deleted": True})


# -- events --------------------------------------------------------------------------


def split(run: bytes) -> Iterator[bytes]:
    """Whole events, each with its blank line."""
    for event in run.split(b"\n\n"):
        if event.strip():
            yield event + b"\n\n"


def after(run: bytes, number: int) -> bytes:
    """The events of a run behind a sequence number; errors always belong there."""
    kept: list[bytes] = []
    for event in split(run):
        told = _read(event)
        if told is None:
            continue
        place = told.sequence_number
        if place is None or place > number or told.type == "error":
            kept.append(event)
    return b"".join(kept)


def _read(event: bytes) -> _Event | None:
    """An event's data; None for comments and what is no object."""
    frame = parse_event(event.rstrip(b"\n"))
    if frame is None or not frame.data.startswith(b"{"):
        return None
    try:
        return _event.decode(frame.data)
    except JSON_ERRORS:
        return None
