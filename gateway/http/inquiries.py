"""One endpoint of a dialect: from an HTTP request to a stream actor and back.

Owns: nothing for longer than the request. It opens a stream, passes its pieces to the
client, and tells it when the client leaves; what that means is the stream's business.
Never: holds a key, a permit or money, so a client that stalls here can hold nothing up.
"""

from __future__ import annotations

import trio

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
from gateway.gate import Gate
from gateway.http.replies import reply
from gateway.http.request import Request, TooLarge
from gateway.http11_transport import ClientGone as Disconnected
from gateway.logs import new_request_id
from gateway.sites import Caller
from runtime import AskError, Draining
from wire.dialect import ClientDialect, ClientError
from wire.events import Fault


class Endpoint:
    """POST to one path, in one dialect."""

    def __init__(
        self, gate: Gate, dialect: ClientDialect, operation: Operation = "chat"
    ) -> None:
        self.gate = gate
        self.dialect = dialect
        self.operation: Operation = operation

    def __repr__(self) -> str:
        """Which dialect."""
        return f"<Endpoint {self.dialect.name}>"

    async def serve(self, request: Request, caller: Caller) -> None:
        """Serve one request."""
        request_id = new_request_id()
        try:
            body = await request.read()
            head = self.dialect.read_head(body, request.headers)
        except Disconnected:
            return
        except TooLarge as error:
            fault = _fault(413, "request_too_large", f"{str(error).capitalize()}.")
            await self._refuse(request, request_id, caller, fault)
            return
        except ClientError as error:
            await self._refuse(request, request_id, caller, error.fault())
            return
        inquiry = Inquiry(
            request_id=request_id,
            site=caller.site,
            key_id=caller.key_id,
            operation=self.operation,
            dialect=self.dialect,
            head=head,
            body=body,
            headers=request.headers,
        )
        try:
            opened = await self.gate.streams.ask(Open(inquiry))
        except (Draining, AskError) as error:
            await self._refuse(request, request_id, caller, _closed(error))
            return
        await self._pass_on(request, opened)

    async def _pass_on(self, request: Request, opened: Opened) -> None:
        ref = opened.ref

        def gone() -> None:
            ref.offer(ClientGone())

        try:
            if request.when_gone(gone):
                await self._relay(request, opened)
                return
            # HTTP/2: nobody calls back, so somebody has to wait for it.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, request, gone)
                await self._relay(request, opened)
                nursery.cancel_scope.cancel(reason="answered")
        except Disconnected:
            gone()
        except BaseException:
            # This connection is being cancelled: a stop, or a client that took no byte
            # until the write deadline. The stream has no reader any more.
            ref.offer(ClientGone("aborted"))
            raise

    async def _relay(self, request: Request, opened: Opened) -> None:
        channel = opened.channel
        send = request.send
        begun = False
        while pieces := await channel.receive_some():
            first = pieces[0]
            if isinstance(first, Whole):
                await reply(send, first.status, first.body, first.headers)
                return
            if isinstance(first, Begin):
                begun = True
                await send(_start(first))
                del pieces[0]
                if not pieces:
                    continue
            # With the channel closed and empty, this is the last of it: one write.
            more = not (channel.ended and not channel.depth)
            await send(
                {
                    "type": "http.response.body",
                    "body": _joined(pieces),
                    "more_body": more,
                }
            )
            if not more:
                return
        if begun:
            await send({"type": "http.response.body", "body": b""})
            return
        # The stream ended without a word: it crashed before it could answer.
        error = self.dialect.render_error(
            _fault(500, "internal_error", "The gateway failed to serve this request.")
        )
        await reply(send, error.status, error.body, error.headers)

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
        )
        try:
            await reply(
                request.send,
                error.status,
                error.body,
                (*error.headers, ("x-request-id", request_id)),
            )
        except Disconnected:
            return

    async def refuse(self, request: Request, status: int, code: str, why: str) -> None:
        """Turn a request away in this dialect before anything is known of it."""
        await self._refuse(request, new_request_id(), None, _fault(status, code, why))


def _start(begin: Begin) -> dict[str, object]:
    return {
        "type": "http.response.start",
        "status": begin.status,
        "headers": [(k.encode("ascii"), v.encode("latin-1")) for k, v in begin.headers],
    }


def _joined(pieces: list[Piece]) -> bytes:
    chunks = [piece for piece in pieces if isinstance(piece, bytes)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _watch(request: Request, gone: object) -> None:
    await request.wait_disconnect()
    assert callable(gone)
    gone()


def _fault(status: int, code: str, message: str) -> Fault:
    return Fault(
        kind="client" if status < 500 else "ours",
        message=message,
        status=status,
        code=code,
        type="invalid_request_error" if status < 500 else "server_error",
        source="gateway",
    )


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
