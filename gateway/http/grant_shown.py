"""What a page shows that redeems a grant, and what its answer must not tell.

Owns: how a redeeming request is read. It is nobody's yet: whatever it says is judged
before anything is looked up. Never: decides whether the grant is good.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from actors.tapes.policy import read_place
from gateway.http.inquiries import fault_of
from gateway.http.request import Request, TooLarge
from gateway.http.streams import query_of
from gateway.http.taped import PLACE_HEADER
from wire.dialect import ClientError
from wire.events import Fault
from wire.jsontext import client_error

BODY_BYTES_MAX: Final = 4096  # Of a redeeming POST: it holds an audience at the most.

# Beside what the stream itself says: the URL is no page and leads nowhere.
PRIVATE: Final = (
    ("cache-control", "no-store, no-transform"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


class Shown(msgspec.Struct):
    """A body of a POST that redeems one."""

    audience: str = ""


_read_shown: Final = msgspec.json.Decoder(Shown).decode


async def audience_of(request: Request) -> str:
    """For whom the page says it is: in the query, a header, or a POST's body."""
    shown = query_of(request).get("audience") or request.headers.get(
        "x-stagedoor-audience", ""
    )
    if request.method == "POST" and not shown:
        try:
            body = await request.read_small(BODY_BYTES_MAX)
        except TooLarge:
            raise ClientError(
                "Redeeming takes no request: it waits here already. Send nothing, or "
                '{"audience": …}.',
                status=413,
                code="request_too_large",
            ) from None
        if body.strip():
            try:
                shown = _read_shown(body).audience
            except (msgspec.DecodeError, ValueError) as error:
                raise client_error(error) from None
    return shown


def unfit(request: Request, rest: str) -> Fault | None:
    """What is wrong with a request whatever its token."""
    if rest not in {"", "cancel"}:
        return fault_of(404, "unknown_url", "Under a grant there is only cancel.")
    allowed = {"POST"} if rest else {"GET", "POST"}
    if request.method not in allowed:
        told = f"A grant takes {' and '.join(sorted(allowed))} here."
        return fault_of(405, "method_not_allowed", told)
    if _is_prefetch(request):
        # Whatever guesses that a page may want it later must not use it up.
        return fault_of(403, "grant_prefetch", "A grant is not for prefetching.")
    return None


def comes_back(request: Request) -> bool:
    """Whether it says what it has seen already."""
    told = request.field(PLACE_HEADER)
    if told is not None and read_place(told.decode("latin-1")) is not None:
        return True
    return "starting_after=" in request.target[1]


def _is_prefetch(request: Request) -> bool:
    purpose = request.headers.get("sec-purpose") or request.headers.get("purpose", "")
    return "prefetch" in purpose


def keep_private(request: Request) -> None:
    """See to it that nobody keeps the answer, or tells where it came from."""
    send = request.send
    private = {name.encode(): value.encode() for name, value in PRIVATE}

    async def privately(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            fields = message["headers"]
            kept = [(name, value) for name, value in fields if name not in private]
            message["headers"] = [*kept, *private.items()]
        await send(message)

    request.send = privately
