"""Answers that can be picked up again: resumed streams, and requests sent twice.

Owns: who gets a tape, and how one is read. The endpoint answers a client that is a tape
(`_Deck`); the real one reads the tape at its own pace, may leave, and come back: with
an event's id (`Last-Event-ID`), with its own name for the request (`Idempotency-Key`),
or by the stream's path. Coming back never starts a second generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from math import inf
from typing import Any, Final
from urllib.parse import parse_qsl

import trio

from actors.stream.messages import Inquiry
from actors.tapes.messages import (
    Known,
    NameTaken,
    NoTape,
    NotTaped,
    Seek,
    Start,
    Stop,
    TapesUnavailable,
)
from actors.tapes.policy import Place, is_key, read_place
from actors.tapes.tape import Fields, Reader, Tape, TapeGone
from gateway.gate import Gate
from gateway.http.replies import reply, reply_json
from gateway.http.request import Request
from gateway.http11_transport import ClientGone
from gateway.sites import Caller
from runtime import AskError
from wire.dialect import ClientError
from wire.events import Fault
from wire.openai_chat import CHAT

KEY_HEADER: Final = b"idempotency-key"
PLACE_HEADER: Final = b"last-event-id"
REPLAYED: Final = (b"x-stagedoor-replayed", b"true")
PREFIX: Final = "/v1/streams/"
SOON_S: Final = 1.0
QUERY_FIELDS_MAX: Final = 8  # One has a meaning; EventSource and caches add theirs.

INTERRUPTED: Final = Fault(
    kind="ours",
    message="The stream was ended before its answer was complete.",
    status=502,
    code="stream_interrupted",
    type="server_error",
    source="gateway",
)

Answer = Callable[[Request], Awaitable[None]]


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
        deck = _Deck(tape)
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


async def resume(gate: Gate, request: Request, site: str | None, place: Place) -> None:
    """Go on behind an event. Raises ClientError and AskError."""
    tape = await gate.tapes.ask(Seek(site, place.request_id))
    if isinstance(tape, NoTape):
        raise ClientError(
            "This stream cannot be picked up: it is not known here, or too long ago. "
            "Nothing was started anew.",
            param="Last-Event-ID",
            code="stream_not_found",
            status=404,
        )
    await follow(gate, request, tape, place.number + 1, again=True)


async def follow(
    gate: Gate, request: Request, tape: Tape, place: int, *, again: bool
) -> None:
    """Show an answer from a place on, until it ends or its reader leaves.

    Raises ClientError before the first byte.
    """
    silence_s = gate.config.server.deadlines.heartbeat_s
    with trio.CancelScope() as scope:

        def gone() -> None:
            scope.cancel(reason="the client left")

        if request.when_gone(gone):
            await _follow(request, tape, place, silence_s, again=again)
            return
        # HTTP/2: nobody calls back, so somebody has to wait for it.
        failed: ClientError | ClientGone | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, request, gone)
            try:
                await _follow(request, tape, place, silence_s, again=again)
            except (ClientError, ClientGone) as error:
                failed = error  # A nursery would wrap it.
            nursery.cancel_scope.cancel(reason="shown to its end")
        if failed is not None:
            raise failed


async def _follow(
    request: Request, tape: Tape, place: int, silence_s: float, *, again: bool
) -> None:
    with tape.read_from(place) as reader:
        while not tape.status and not tape.done:
            await tape.moved()
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


def _is_error(body: bytes) -> bool:
    """Whether a stream says that it failed. In a text, a quote would be escaped."""
    return b'"error":{' in body or b"event: error" in body


def _digest(request: Request, inquiry: Inquiry) -> bytes:
    """Of what was asked, and in which dialect."""
    path, query = request.target
    asked = f"{inquiry.dialect.name} {path}?{query}".encode()
    return hashlib.sha256(b"%d %b%b" % (len(asked), asked, inquiry.body)).digest()


class _Deck:
    """A client that is a tape: ASGI's send and receive, and `Conn`."""

    heartbeats = True  # They begin a silent stream's answer, and are not recorded.

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._early = False  # It began for its heartbeats, not for an answer.

    def __repr__(self) -> str:
        """What it fills."""
        return f"<Deck of {self.tape!r}>"

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Record one message of the answer."""
        tape = self.tape
        if message["type"] == "http.response.start":
            fields: Fields = tuple(message["headers"])
            kind = next((v for k, v in fields if k == b"content-type"), b"")
            streamed = kind.startswith(b"text/event-stream")
            tape.begin(message["status"], fields, streamed=streamed)
            return
        body: bytes = message.get("body", b"")
        last = not message.get("more_body", False)
        if body and body == tape.heartbeat and tape.number == 0:
            self._early = True
        elif last and self._early and tape.number == 0 and _is_error(body):
            tape.failed = True  # Before any content: whoever asks again is served.
        # Silence is each reader's own.
        if body and body != tape.heartbeat:
            await tape.write(body)
        if last:
            tape.finish(complete=True)

    async def receive(self) -> MutableMapping[str, Any]:
        """Wait until it is told to stop."""
        stopped = trio.Event()
        self.tape.when_gone(stopped.set)
        await stopped.wait()
        return {"type": "http.disconnect"}

    # Conn.

    @property
    def gone(self) -> bool:
        """See Conn."""
        return self.tape.stopped

    @property
    def sent_at(self) -> float:
        """See Conn."""
        return trio.current_time()

    @property
    def write_deadline(self) -> float:
        """See Conn: it takes whatever it is given."""
        return inf

    @property
    def unsent_bytes(self) -> int:
        """See Conn."""
        return 0

    @property
    def body(self) -> bytes | None:
        """See Conn: it was read before."""
        return b""

    async def read_body(self) -> bytes:
        """See Conn."""
        return b""

    def write_now(self, body: bytes) -> bool:
        """See Conn: a tape is written in order with its store."""
        del body
        return False

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        self.tape.when_gone(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        self.tape.remove(callback)


class Streams:
    """/v1/streams/{id}: pick an answer up by its id, or end it."""

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


UNAVAILABLE: Final = Fault(
    kind="ours",
    message="The gateway cannot look up streams now; try again in a moment.",
    status=503,
    code="gateway_unavailable",
    type="server_error",
    retry_after_s=1.0,
    source="gateway",
)
