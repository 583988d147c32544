"""/v1/responses/{id}: fetch a kept answer, follow it, cancel it, delete it.

Owns: what the paths under an id mean. Every id is looked up for the caller's own site;
another site's answer is a 404, as one that never was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import parse_qsl

import trio

from actors.keeper.messages import (
    Cancel,
    Find,
    Forget,
    Kept,
    NotForgotten,
    Unknown,
)
from actors.keeper.recording import Follower, Recording, events_of
from gateway.gate import Gate
from gateway.http.replies import JSON, reply, reply_error
from gateway.http.request import Request
from gateway.http11_transport import ClientGone
from gateway.sites import Caller
from gateway.workers.forwarding import SITE, forward
from runtime import AskError
from wire import openai_responses_stored as stored
from wire.dialect import STREAM_HEADERS, ClientError
from wire.openai_responses import RESPONSES

PREFIX: Final = "/v1/responses/"
ID_CHARS_MAX: Final = 256  # OpenAI's have 55.
QUERY_FIELDS_MAX: Final = 32
NUMBER_CHARS_MAX: Final = 9  # Of an event; no answer has a thousand million.

Handler = Callable[[Request, Caller], Awaitable[None]]
Fields = Iterable[tuple[str, str]]


class Answers:
    """Handlers of what is under an id."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __repr__(self) -> str:
        """What it serves."""
        return f"<Answers at {PREFIX}>"

    def route(self, request: Request) -> Handler | None:
        """The handler of a path under an id, if it is one of ours."""
        if not request.path.startswith(PREFIX):
            return None
        name, _, rest = request.path[len(PREFIX) :].partition("/")
        if not name or len(name) > ID_CHARS_MAX:
            return None
        known: dict[tuple[str, str], Callable[[Request, Caller, str], Awaitable[None]]]
        known = {
            ("GET", ""): self.fetch,
            ("DELETE", ""): self.delete,
            ("POST", "cancel"): self.cancel,
            ("GET", "input_items"): self.input_items,
        }
        found = known.get((request.method, rest))
        if found is None:
            return None

        async def handler(request: Request, caller: Caller) -> None:
            try:
                await found(request, caller, name)
            except ClientError as error:
                if error.status == 404 and await self._elsewhere(request, caller):
                    return
                shown = RESPONSES.render_error(error.fault())
                await reply(request.send, shown.status, shown.body, shown.headers)
            except AskError:
                await reply_error(
                    request.send,
                    503,
                    "gateway_unavailable",
                    "The gateway cannot look up stored responses now; try again in a "
                    "moment.",
                )

        return handler

    async def _elsewhere(self, request: Request, caller: Caller) -> bool:
        """Whether another worker has it, and has answered."""
        peers = self.gate.peers
        if peers is None or SITE in request.headers:
            return False
        return await forward(peers, request, caller.site)

    async def fetch(self, request: Request, caller: Caller, name: str) -> None:
        """GET: the object as it is now, or with `stream=true` its events."""
        found = await self._find(caller, name)
        query = dict(_query(request))
        if query.get("stream") != "true":
            await _reply(request, found.answer)
            return
        if isinstance(found, Recording):
            streamed = found.streamed
        else:
            streamed = bool(found.events)
        if not streamed:
            raise ClientError(
                "This response was not created with stream=true; fetch it without "
                "'stream'.",
                param="stream",
                code="invalid_value",
            )
        number = _number(query.get("starting_after"))
        if isinstance(found, Recording):
            await follow(self.gate, request, found, number, ())
            return
        events = stored.after(events_of(found.events), number)
        await reply(request.send, 200, events, STREAM_HEADERS)

    async def delete(self, request: Request, caller: Caller, name: str) -> None:
        """DELETE: gone for good, at its provider too; one that still runs ends."""
        done = await self.gate.keeper.ask(Forget(caller.site, name))
        if isinstance(done, NotForgotten):
            await reply_error(
                request.send,
                502,
                "not_deleted",
                f"Nothing was deleted: provider {done.provider} holds this response "
                f"too, and {done.why}. Try again in a moment.",
            )
            return
        if not done:
            raise _missing(name)
        await _reply(request, stored.deleted(name))

    async def cancel(self, request: Request, caller: Caller, name: str) -> None:
        """POST: end a background answer, and show what became of it."""
        found = await self._find(caller, name)
        said = await self.gate.keeper.ask(Cancel(caller.site, name))
        if said == "unknown":
            raise _missing(name)
        if said == "foreground":
            raise ClientError(
                "Cannot cancel a synchronous response: only one created with "
                "background=true can be cancelled.",
                code="invalid_value",
            )
        if isinstance(found, Recording):
            while not found.done:
                await found.moved()
        await _reply(request, found.answer)

    async def input_items(self, request: Request, caller: Caller, name: str) -> None:
        """GET: what was asked, a page at a time."""
        page = stored.read_page(_query(request))
        found = await self._find(caller, name)
        await _reply(request, stored.render_items(found.input, page))

    async def _find(self, caller: Caller, name: str) -> Recording | Kept:
        found = await self.gate.keeper.ask(Find(caller.site, name))
        if isinstance(found, Unknown):
            raise _missing(name)
        return found


async def follow(
    gate: Gate, request: Request, recording: Recording, number: int, headers: Fields
) -> None:
    """Show a running answer's events behind `number` until it ends or nobody looks."""
    while not recording.begun:
        await recording.moved()
    refusal = recording.refusal
    if refusal is not None:
        await reply(request.send, refusal.status, refusal.body, refusal.headers)
        return
    fields = [(k.encode("ascii"), v.encode("latin-1")) for k, v in STREAM_HEADERS]
    fields += [(k.encode("ascii"), v.encode("latin-1")) for k, v in headers]
    await request.send(
        {"type": "http.response.start", "status": 200, "headers": fields}
    )
    silence_s = gate.config.server.deadlines.heartbeat_s
    with trio.CancelScope() as scope:

        def gone() -> None:
            scope.cancel(reason="the client left")

        try:
            if request.when_gone(gone):
                await _send(request, recording.follow(number), silence_s)
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, request, gone)
                await _send(request, recording.follow(number), silence_s)
                nursery.cancel_scope.cancel(reason="shown to its end")
        except ClientGone:
            return  # The answer goes on; it can be fetched again.


async def _send(request: Request, events: Follower, silence_s: float) -> None:
    while True:
        run: bytes | None = RESPONSES.heartbeat
        # A wait that is cut short loses nothing: what is followed lies in a list.
        with trio.move_on_after(silence_s):
            run = await events.next()
        await request.send(
            {
                "type": "http.response.body",
                "body": run or b"",
                "more_body": run is not None,
            }
        )
        if run is None:
            return


async def _watch(request: Request, gone: Callable[[], None]) -> None:
    await request.wait_disconnect()
    gone()


async def _reply(request: Request, body: bytes) -> None:
    await reply(request.send, 200, body, (("content-type", JSON),))


def _query(request: Request) -> list[tuple[str, str]]:
    try:
        return parse_qsl(request.target[1], max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise ClientError("The query has too many fields.") from None


def _number(text: str | None) -> int:
    if text is None:
        return -1
    if not (text.isdecimal() and len(text) <= NUMBER_CHARS_MAX):
        raise ClientError(
            "Invalid 'starting_after': expected a sequence number.",
            param="starting_after",
            code="invalid_value",
        )
    return int(text)


def _missing(name: str) -> ClientError:
    return ClientError(
        f"Response with id '{name}' not found.", code="not_found", status=404
    )
