"""/v1/streams/{id}: pick an answer up by its id, or end it.

Owns: how a place in a stream is written in a request (`Last-Event-ID`, or
`starting_after`), and what becomes of a cancel. Coming back starts nothing anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl

from actors.tapes.messages import Stop, TapesUnavailable
from actors.tapes.policy import Place, read_place
from gateway.gate import Gate
from gateway.http.replies import reply, reply_json
from gateway.http.request import Request
from gateway.http.taped import PLACE_HEADER, UNAVAILABLE, resume
from gateway.sites import Caller
from runtime import AskError
from wire.dialect import ClientError
from wire.events import Fault
from wire.openai_chat import CHAT

PREFIX: Final = "/v1/streams/"
QUERY_FIELDS_MAX: Final = 8  # One has a meaning; EventSource and caches add theirs.


class Streams:
    """Handlers of what is under an id."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __repr__(self) -> str:
        """What it serves."""
        return f"<Streams at {PREFIX}>"

    def route(
        self, request: Request
    ) -> Callable[[Request, Caller], Awaitable[None]] | None:
        """The handler of a path under an id."""
        if not request.path.startswith(PREFIX):
            return None
        request_id, _, rest = request.path.removeprefix(PREFIX).partition("/")
        known = {("GET", ""): self._fetch, ("POST", "cancel"): self._cancel}
        found = known.get((request.method, rest))
        if found is None:
            return None

        async def handler(request: Request, caller: Caller) -> None:
            try:
                await found(request, caller.site, request_id)
            except ClientError as error:
                await tell(request, error.fault())
            except (AskError, TapesUnavailable):
                await tell(request, UNAVAILABLE)

        return handler

    async def _fetch(self, request: Request, site: str, request_id: str) -> None:
        await resume(self.gate, request, site, place_in(request, request_id))

    async def _cancel(self, request: Request, site: str, request_id: str) -> None:
        await cancel(self.gate, request, site, request_id)


async def cancel(
    gate: Gate, request: Request, site: str | None, request_id: str
) -> None:
    """End it, whoever reads it. Raises ClientError and AskError."""
    said = await gate.tapes.ask(Stop(site, request_id))
    if said == "unknown":
        raise ClientError(
            "There is no such stream, or it was over too long ago.",
            code="stream_not_found",
            status=404,
        )
    shown = {"id": request_id, "object": "stream", "status": said}
    await reply_json(request.send, 200, shown)


def place_in(request: Request, request_id: str) -> Place:
    """From where on a GET wants it. Raises ClientError."""
    told = request.field(PLACE_HEADER)
    if told is not None:
        found = read_place(told.decode("latin-1"))
        if found is None or found.request_id != request_id:
            raise ClientError(
                "This Last-Event-ID is of another stream.",
                param="Last-Event-ID",
                code="invalid_value",
            )
        return found
    after = query_of(request).get("starting_after")
    if after is None:
        return Place(request_id, -1)
    if not (after.isdecimal() and len(after) < 10):
        raise ClientError(
            "Invalid 'starting_after': expected the number of an event.",
            param="starting_after",
            code="invalid_value",
        )
    return Place(request_id, int(after))


def query_of(request: Request) -> dict[str, str]:
    """What the query says. Raises ClientError."""
    try:
        return dict(parse_qsl(request.target[1], max_num_fields=QUERY_FIELDS_MAX))
    except ValueError:
        raise ClientError(
            f"The query has more than {QUERY_FIELDS_MAX} fields."
        ) from None


async def tell(request: Request, fault: Fault) -> None:
    """An error that has no dialect of its own."""
    error = CHAT.render_error(fault)
    await reply(request.send, error.status, error.body, error.headers)
