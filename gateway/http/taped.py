"""Answers that can be picked up again: resumed streams, and requests sent twice.

Owns: who gets a tape, and how one is read. The endpoint answers a client that is a tape
(`Deck`); the real one reads the tape at its own pace, may leave, and come back: with
an event's id (`Last-Event-ID`), with its own name for the request (`Idempotency-Key`),
or by the stream's path. Coming back never starts a second generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Final

import trio

from actors.stream.messages import Inquiry
from actors.tapes.messages import (
    Known,
    NameTaken,
    NoTape,
    NotTaped,
    Seek,
    Start,
)
from actors.tapes.policy import Place, is_key, read_place
from actors.tapes.tape import Reader, Tape, TapeGone
from gateway.gate import Gate
from gateway.http.deck import Deck
from gateway.http.request import Request
from gateway.http11_transport import ClientGone
from gateway.sites import Caller
from wire.dialect import ClientError
from wire.events import Fault

KEY_HEADER: Final = b"idempotency-key"
PLACE_HEADER: Final = b"last-event-id"
REPLAYED: Final = (b"x-stagedoor-replayed", b"true")
SOON_S: Final = 1.0

INTERRUPTED: Final = Fault(
    kind="ours",
    message="The stream was ended before its answer was complete.",
    status=502,
    code="stream_interrupted",
    type="server_error",
    source="gateway",
)

Answer = Callable[[Request], Awaitable[None]]
Check = Callable[[Tape], None]
"""Raises ClientError where a tape is not for who asks for it."""


def wish_of(
    marks: Mapping[bytes, bytes], caller: Caller, *, streamed: bool
) -> Wish | None:
    """What this request needs a tape for, if it does. Raises ClientError."""
    key = marks.get(KEY_HEADER)
    place = marks.get(PLACE_HEADER)
    if key is None and place is None:
        if caller.access.resume == "off" or not streamed:
            return None
        return Wish("", None)
    name = key.decode("latin-1") if key is not None else ""
    if name and not is_key(name):
        raise ClientError(
            "Invalid 'Idempotency-Key': 1 to 255 visible ASCII characters, such as a "
            "UUID.",
            param="Idempotency-Key",
            code="invalid_value",
        )
    found = read_place(place.decode("latin-1")) if place is not None else None
    if not name and found is None and (caller.access.resume == "off" or not streamed):
        return None
    return Wish(name, found)


class Wish:
    """A request's own name, and where it wants to go on."""

    __slots__ = ("name", "place")

    def __init__(self, name: str, place: Place | None) -> None:
        self.name = name
        self.place = place

    def __repr__(self) -> str:
        """Without the name: it is the client's."""
        return f"<Wish named={bool(self.name)} at={self.place}>"


async def answer_taped(
    gate: Gate,
    request: Request,
    caller: Caller,
    inquiry: Inquiry,
    *,
    wish: Wish,
    answer: Answer,
) -> None:
    """Answer from a tape: the one there is, or a new one that `answer` fills.

    Raises ClientError and AskError.
    """
    if wish.place is not None:
        await resume(gate, request, inquiry.site, wish.place)
        return
    dialect, policy = inquiry.dialect, caller.access.resume
    tape = Tape(
        site=inquiry.site,
        key_id=inquiry.key_id,
        request_id=inquiry.request_id,
        ids=policy != "off" and (dialect.reads_sse or inquiry.for_page),
        detached=policy == "detach",
        name=wish.name,
        digest=_digest(request, inquiry) if wish.name else b"",
        heartbeat=dialect.heartbeat,
        last_word=dialect.error_event(INTERRUPTED),
    )

    async def work(tape: Tape) -> None:
        deck = Deck(tape)
        try:
            await answer(request.through(deck.receive, deck.send, deck))
        except ClientGone:
            return

    started = await gate.tapes.ask(Start(tape, work))
    if isinstance(started, NotTaped):
        await answer(request)
        return
    if isinstance(started, NameTaken):
        raise ClientError(
            "This Idempotency-Key was used for another request. Use a new key for a "
            "new request, and the same body for the same key.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
            status=422,
        )
    await follow(gate, request, started.tape, 0, again=isinstance(started, Known))


async def resume(
    gate: Gate,
    request: Request,
    site: str | None,
    place: Place,
    check: Check | None = None,
) -> None:
    """Go on behind an event; `check` may still refuse, once it is known whose it is.

    Raises ClientError and AskError.
    """
    tape = await gate.tapes.ask(Seek(site, place.request_id))
    if isinstance(tape, NoTape):
        raise ClientError(
            "This stream cannot be picked up: it is not known here, or too long ago. "
            "Nothing was started anew.",
            param="Last-Event-ID",
            code="stream_not_found",
            status=404,
        )
    await follow(gate, request, tape, place.number + 1, again=True, check=check)


async def follow(
    gate: Gate,
    request: Request,
    tape: Tape,
    place: int,
    *,
    again: bool,
    check: Check | None = None,
) -> None:
    """Show an answer from a place on, until it ends or its reader leaves.

    Raises ClientError before the first byte.
    """
    silence_s = gate.config.server.deadlines.heartbeat_s

    async def show() -> None:
        with tape.read_from(place) as reader:
            while not tape.status and not tape.done:
                await tape.moved()
            if check is not None:
                check(tape)
            await _follow(request, tape, reader, silence_s, again=again)

    with trio.CancelScope() as scope:

        def gone() -> None:
            scope.cancel(reason="the client left")

        if request.when_gone(gone):
            await show()
            return
        # HTTP/2: nobody calls back, so somebody has to wait for it.
        failed: ClientError | ClientGone | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, request, gone)
            try:
                await show()
            except (ClientError, ClientGone) as error:
                failed = error  # A nursery would wrap it.
            nursery.cancel_scope.cancel(reason="shown to its end")
        if failed is not None:
            raise failed


async def _follow(
    request: Request, tape: Tape, reader: Reader, silence_s: float, *, again: bool
) -> None:
    place = reader.place
    if not tape.status:
        raise ClientError(
            "This request was ended before it was answered. Send it again.",
            code="request_ended",
            status=409,
        )
    if place > tape.number and not tape.copied:
        raise ClientError(
            "This stream has had no such event.",
            param="Last-Event-ID",
            code="invalid_value",
        )
    if not tape.has(place):
        raise ClientError(
            "This answer was given once already, and is not kept any more. Nothing "
            "was started anew.",
            code="stream_gone",
            status=410,
        )
    if request.method == "GET" and tape.end == "complete" and place >= tape.number:
        # EventSource comes back after a good end too; this tells it to stay away.
        await _say_over(request)
        return
    fields = [*tape.fields, REPLAYED] if again else list(tape.fields)
    await request.send(
        {"type": "http.response.start", "status": tape.status, "headers": fields}
    )
    try:
        await _show(request, tape, reader, silence_s)
    except TapeGone:
        raise ClientGone("what it reads is not kept any more") from None


async def _show(request: Request, tape: Tape, reader: Reader, silence_s: float) -> None:
    send = request.send
    beats = tape.streamed and bool(tape.heartbeat)
    # One that began without a word has been silent for long already.
    wait_s = SOON_S if tape.number == 0 else silence_s
    while True:
        run = tape.heartbeat
        with trio.move_on_after(wait_s if beats else inf):
            run = await reader.next()
        wait_s = silence_s
        more = bool(run) and not reader.has_all
        if not run and tape.end != "complete":
            # Never an end that looks like a good one.
            if not tape.streamed:
                raise ClientGone("the answer was not completed")
            run = tape.last_word
        await send({"type": "http.response.body", "body": run, "more_body": more})
        if not more:
            return


async def _say_over(request: Request) -> None:
    await request.send({"type": "http.response.start", "status": 204, "headers": []})
    await request.send({"type": "http.response.body", "body": b""})


async def _watch(request: Request, gone: Callable[[], None]) -> None:
    await request.wait_disconnect()
    gone()


def _digest(request: Request, inquiry: Inquiry) -> bytes:
    """Of what was asked, and in which dialect."""
    path, query = request.target
    asked = f"{inquiry.dialect.name} {path}?{query}".encode()
    return hashlib.sha256(b"%d %b%b" % (len(asked), asked, inquiry.body)).digest()


UNAVAILABLE: Final = Fault(
    kind="ours",
    message="The gateway cannot look up streams now; try again in a moment.",
    status=503,
    code="gateway_unavailable",
    type="server_error",
    retry_after_s=1.0,
    source="gateway",
)
