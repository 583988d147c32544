"""One endpoint of a dialect: from an HTTP request to a stream actor and back.

Owns: nothing for longer than the request. It opens a stream, passes its pieces to the
client, and tells it when the client leaves; what that means is the stream's business.
Never: holds a key, a permit or money, so a client that stalls here can hold nothing up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import trio
from msgspec.structs import replace

from actors.stream.messages import (
    Begin,
    ClientGone,
    Inquiry,
    Open,
    Opened,
    Operation,
    Piece,
    Whole,
)
from actors.tapes.messages import TapesUnavailable
from gateway.gate import Gate
from gateway.http import buffered
from gateway.http.late_facts import late_facts
from gateway.http.naming import check_name, feature_of
from gateway.http.replies import reply
from gateway.http.request import Request, TooLarge
from gateway.http.taped import (
    UNAVAILABLE,
    answer_taped,
    wish_of,
)
from gateway.http.whole import Client
from gateway.http11_transport import ClientGone as Disconnected
from gateway.logs import new_request_id
from gateway.sites import Caller
from runtime import AskError, Draining
from wire.dialect import ClientDialect, ClientError
from wire.events import Fault

# Beside x-request-id, which every answer has: where clients look for theirs.
REQUEST_ID_HEADERS: Final[dict[str, tuple[str, ...]]] = {"anthropic": ("request-id",)}


class Tap(Protocol):
    """Hears what a client is sent, as it is sent."""

    def take(self, piece: Piece) -> None:
        """One piece, before the client has it. Must not wait."""
        ...


class Endpoint:
    """POST to one path, in one dialect."""

    def __init__(
        self, gate: Gate, dialect: ClientDialect, operation: Operation = "chat"
    ) -> None:
        self.gate = gate
        self.dialect = dialect
        self.operation: Operation = operation
        self.id_headers = REQUEST_ID_HEADERS.get(dialect.name, ())

    def __repr__(self) -> str:
        """Which dialect."""
        return f"<Endpoint {self.dialect.name}>"

    async def serve(self, request: Request, caller: Caller) -> None:
        """Serve one request."""
        request_id = new_request_id()
        try:
            body = await request.read()
            head = self.dialect.read_head(body, request.headers)
            check_name(head.model)
            feature = feature_of(request.headers)
        except Disconnected:
            return
        except TooLarge as error:
            fault = fault_of(413, "request_too_large", f"{str(error).capitalize()}.")
            await self._refuse(request, request_id, caller, fault)
            return
        except ClientError as error:
            await self._refuse(request, request_id, caller, error.fault())
            return
        await self.begin(
            request,
            caller,
            Inquiry(
                request_id=request_id,
                site=caller.site,
                key_id=caller.key_id,
                operation=self.operation,
                dialect=self.dialect,
                head=head,
                body=body,
                headers=request.headers,
                feature=feature,
                terms=caller.terms,
                people=self.gate.people_of(request, caller, head.user),
            ),
        )

    async def begin(self, request: Request, caller: Caller, inquiry: Inquiry) -> None:
        """Answer it; from a tape, where the client may want to come back for it."""
        marks = request.marks
        try:
            if inquiry.head.stream:
                reason = buffered.reason_of(marks, caller.access)
                if reason is not None:
                    inquiry = buffered.unstreamed(inquiry)
                    request.say(buffered.HEADER, reason)
            wish = wish_of(marks, caller, streamed=inquiry.head.stream)
        except ClientError as error:
            await self.turn_away(request, inquiry, error.fault())
            return
        if wish is None:
            await self.answer(request, inquiry)
            return

        async def answer(request: Request) -> None:
            await self.answer(request, inquiry)

        try:
            await answer_taped(
                self.gate, request, caller, inquiry, wish=wish, answer=answer
            )
        except ClientError as error:
            await self.turn_away(request, inquiry, error.fault())
        except (AskError, TapesUnavailable):
            await self.turn_away(request, inquiry, UNAVAILABLE)

    async def answer(self, request: Request, inquiry: Inquiry) -> None:
        """Open a stream for it and pass on what comes."""
        opened = await self.open(request, inquiry)
        if opened is not None:
            await self.pass_on(request, inquiry, opened)

    async def open(
        self, request: Request, inquiry: Inquiry, *, awaited: bool = True
    ) -> Opened | None:
        """The stream; None when there is none and the client was told.

        `awaited` is False where nobody reads it as it comes.
        """
        gate = self.gate
        sites, page = gate.sites, inquiry.page
        if sites.named(inquiry.key_id) is None or (
            page and not sites.lets(inquiry.key_id, page)
        ):
            # Taken back while its client sent the body, or its grant was looked up.
            await self.turn_away(request, inquiry, REVOKED)
            return None
        if gate.tracing is not None:
            trace = gate.tracing.begin(request.scope["headers"])
            inquiry = replace(inquiry, trace=trace)
        try:
            beats = awaited and request.takes_heartbeats
            return await gate.streams.ask(Open(inquiry, beats))
        except (Draining, AskError) as error:
            await self.turn_away(request, inquiry, _closed(error))
            return None

    async def pass_on(
        self,
        request: Request,
        inquiry: Inquiry,
        opened: Opened,
        tap: Tap | None = None,
    ) -> None:
        """From the stream to the client, until one of them ends."""
        ref = opened.ref
        ids = self.ids(inquiry.request_id)

        def gone() -> None:
            ref.offer(ClientGone())

        try:
            if request.when_gone(gone):
                await self._relay(request, opened, ids, tap)
                return
            # HTTP/2: nobody calls back, so somebody has to wait for it.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, request, gone)
                await self._relay(request, opened, ids, tap)
                nursery.cancel_scope.cancel(reason="answered")
        except Disconnected:
            gone()
        except BaseException:
            # This connection is being cancelled: a stop, or a client that took no byte
            # until the write deadline. The stream has no reader any more.
            ref.offer(ClientGone("aborted"))
            raise

    async def _relay(
        self,
        request: Request,
        opened: Opened,
        ids: tuple[tuple[str, str], ...],
        tap: Tap | None,
    ) -> None:
        channel = opened.channel
        send = request.send
        begun = early = False
        client = None
        if tap is None and request.direct_conn is not None:
            client = Client(request.direct_conn, ids)
        direct: Callable[[Piece], bool] | None = client.take if client else None
        while pieces := await channel.receive_some(direct):
            if tap is not None:
                for piece in pieces:
                    if piece != self.dialect.heartbeat:
                        tap.take(piece)
            last = pieces[-1]
            if isinstance(last, Whole):
                if begun:
                    # For its heartbeats: too late for a status of its own.
                    event = last.event or self.dialect.error_event(CRASHED)
                    event = late_facts(self.dialect, last.headers) + event
                    await send({"type": "http.response.body", "body": event})
                else:
                    await reply(send, last.status, last.body, (*last.headers, *ids))
                return
            if not begun:
                begun = True
                if tap is None and request.conn is not None:
                    direct = _direct(request.conn.write_now)
                begin = _begin_in(pieces)
                early = begin is None
                await send(_start(begin or self._early(opened), ids))
                if pieces == [last] and begin is last:
                    continue
            elif early and (begin := _begin_in(pieces)):
                # It began for its heartbeats: what its head would have said comes now.
                early = False
                pieces[pieces.index(begin)] = late_facts(self.dialect, begin.headers)
            # With the channel closed well and empty, this is the last: one write.
            over = channel.ended and channel.cancelled is None
            more = bool(not over or channel.depth or channel.status)
            await send(
                {
                    "type": "http.response.body",
                    "body": _joined(pieces),
                    "more_body": more,
                }
            )
            if not more:
                return
        if client is not None and client.answered:
            return
        if channel.cancelled is not None:
            # Left, or half of it: a client that will send no more is taken for gone.
            # Whatever it may still read must not look like the end of an answer.
            raise Disconnected(channel.cancelled)
        if begun:
            # A crash after the beginning: never an end that looks like a good one.
            event = self.dialect.error_event(CRASHED) if channel.status else b""
            await send({"type": "http.response.body", "body": event})
            return
        # The stream ended without a word: it crashed before it could answer.
        error = self.dialect.render_error(CRASHED)
        await reply(send, error.status, error.body, error.headers)

    def _early(self, opened: Opened) -> Begin:
        """The head of a stream that begins for its heartbeats."""
        request_id = opened.ref.id.rpartition("/")[2]
        return Begin(200, (*self.dialect.stream_headers, ("x-request-id", request_id)))

    def ids(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """The request's id as clients of this dialect look for it."""
        return tuple((name, request_id) for name in self.id_headers)

    async def turn_away(self, request: Request, inquiry: Inquiry, fault: Fault) -> None:
        """Refuse a request whose caller is known."""
        caller = Caller(inquiry.site, inquiry.key_id)
        await self._refuse(request, inquiry.request_id, caller, fault)

    async def _refuse(
        self, request: Request, request_id: str, caller: Caller | None, fault: Fault
    ) -> None:
        error = self.dialect.render_error(fault)
        self.gate.refused(
            request_id,
            site=caller.site if caller is not None else None,
            dialect=self.dialect.name,
            status=error.status,
            code=fault.code or fault.kind,
            fields=request.scope["headers"],
        )
        try:
            await reply(
                request.send,
                error.status,
                error.body,
                (
                    *error.headers,
                    ("x-request-id", request_id),
                    *self.ids(request_id),
                ),
            )
        except Disconnected:
            return

    async def refuse(self, request: Request, status: int, code: str, why: str) -> None:
        """Turn a request away in this dialect before anything is known of it."""
        await self._refuse(request, new_request_id(), None, fault_of(status, code, why))


def _start(begin: Begin, ids: tuple[tuple[str, str], ...]) -> dict[str, object]:
    fields = (*begin.headers, *ids)
    return {
        "type": "http.response.start",
        "status": begin.status,
        "headers": [(k.encode("ascii"), v.encode("latin-1")) for k, v in fields],
    }


def _begin_in(pieces: list[Piece]) -> Begin | None:
    for piece in pieces:
        if isinstance(piece, Begin):
            return piece
    return None


def _joined(pieces: list[Piece]) -> bytes:
    chunks = [piece for piece in pieces if isinstance(piece, bytes)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _direct(write_now: Callable[[bytes], bool]) -> Callable[[Piece], bool]:
    """What takes the pieces of a stream on their way, without waking anybody."""

    def direct(piece: Piece) -> bool:
        return isinstance(piece, bytes) and write_now(piece)

    return direct


async def _watch(request: Request, gone: object) -> None:
    await request.wait_disconnect()
    assert callable(gone)
    gone()


def fault_of(
    status: int, code: str, message: str, *, param: str | None = None
) -> Fault:
    """A fault that the edge finds."""
    return Fault(
        kind="client" if status < 500 else "ours",
        message=message,
        status=status,
        code=code,
        type="invalid_request_error" if status < 500 else "server_error",
        param=param,
        source="gateway",
    )


REVOKED = fault_of(
    401, "invalid_api_key", "The API key was revoked, or its site suspended."
)
CRASHED = fault_of(500, "internal_error", "The gateway failed to serve this request.")


def _closed(error: Exception) -> Fault:
    return Fault(
        kind="ours",
        message="The gateway is stopping and takes no new requests; try again in a "
        "moment."
        if isinstance(error, Draining)
        else "The gateway cannot take this request now; try again in a moment.",
        status=503,
        code="gateway_unavailable",
        type="server_error",
        retry_after_s=1.0,
        source="gateway",
    )
