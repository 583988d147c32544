"""HTTP/1.1, server side: ASGI over one `Transport`, in one task a connection.

Owns: the order of requests and responses, framing of responses, keep-alive,
`100-continue`, and the answer to whatever the parser refuses.
Never: a task, channel or cancel scope a request; a 500 for bad input; two writes
where one does. It talks to: http11_parser (what was asked), http11_transport (bytes
and deadlines), and the ASGI app, which may use `Conn` beside plain ASGI 3.

A hang-up is an event of the poller, so nobody reads while a response streams: what a
client pipelines meanwhile waits in the kernel's buffer, which is the bound.
"""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import trio
from msgspec import Struct

from gateway.http11_exchange import STATUS_LINES, Address, App, Exchange
from gateway.http11_handover import Upgrade
from gateway.http11_parser import (
    READ_BYTES_MAX,
    Http11Limits,
    Refusal,
    Request,
    RequestParser,
)
from gateway.http11_timers import Timers
from gateway.http11_transport import ClientGone, EdgeDeadlines, Transport
from runtime.poller import poller_here

LINGER_BYTES_MAX = 1_048_576  # Read past after a refusal, so that the answer arrives.

ErrorBody = Callable[[int, str, str], tuple[str, bytes]]
Report = Callable[[str, BaseException], None]


# What a refusal of this status says beside its body.
_TOLD = {
    405: b"allow: GET, POST\r\n",
    426: b"upgrade: websocket\r\nsec-websocket-version: 13\r\n",
}


class EdgeStatistics(Struct, frozen=True):
    """A snapshot for metrics; `scope["state"]["edge"]()` gives it to the app."""

    connections: int
    idle: int
    reading_head: int
    unsent_stalled: int
    requests_served: int
    stopping: bool


class Edge:
    """What all connections of a server share."""

    def __init__(
        self,
        app: App,
        *,
        limits: Http11Limits,
        deadlines: EdgeDeadlines,
        error_body: ErrorBody,
        report: Report,
    ) -> None:
        self.app = app
        self.limits = limits
        self.deadlines = deadlines
        self.error_body = error_body
        self.report = report
        # The lifespan's, copied into each scope.
        self.state: dict[str, Any] = {"edge": self.statistics}
        self.stopping = False
        self.requests_served = 0
        self.poller = poller_here()
        self.connections = 0
        self.timers = Timers(
            head=deadlines.head_s, idle=deadlines.idle_s, write=deadlines.write_s
        )
        self._date_at = 0
        self._date_line = b""

    def __repr__(self) -> str:
        state = "stopping" if self.stopping else "serving"
        return f"<Edge {state} served={self.requests_served} open={self.connections}>"

    def statistics(self) -> EdgeStatistics:
        """Count connections by what they wait for."""
        return EdgeStatistics(
            connections=self.connections,
            idle=len(self.timers.kind("idle")),
            reading_head=len(self.timers.kind("head")),
            unsent_stalled=len(self.timers.kind("write")),
            requests_served=self.requests_served,
            stopping=self.stopping,
        )

    def date_line(self) -> bytes:
        """The Date field, formatted once a second."""
        now = int(time.time())
        if now != self._date_at:
            self._date_at = now
            self._date_line = b"date: %b\r\n" % formatdate(now, usegmt=True).encode()
        return self._date_line

    def close_idle(self) -> None:
        """Close every keep-alive connection that is not in a request."""
        for connection in tuple(self.timers.kind("idle")):
            connection.expire("idle")

    def evict_idle(self) -> bool:
        """Close the connection that has been idle longest; False if none is."""
        for connection in self.timers.kind("idle"):
            connection.expire("idle")
            return True
        return False


class Http11:
    """One connection."""

    __slots__ = (
        "client",
        "edge",
        "head_expired",
        "keep_open",
        "parser",
        "scheme",
        "server",
        "transport",
    )

    def __init__(
        self,
        edge: Edge,
        transport: Transport,
        *,
        scheme: str,
        client: Address,
        server: Address,
    ) -> None:
        self.edge = edge
        self.transport = transport
        self.scheme = scheme
        self.client = client
        self.server = server
        self.parser = RequestParser(edge.limits)
        self.keep_open = True
        self.head_expired = False

    def __repr__(self) -> str:
        return f"<Http11 {self.scheme} {self.transport}>"

    async def run(self) -> tuple[Upgrade, bytes]:
        """Serve until the connection ends, or is to go on in another protocol.

        Returns the protocol and the bytes it begins with; "" when it is over.
        """
        parser = self.parser
        requests = parser.requests
        try:
            while self.keep_open:
                if requests:
                    await self._answer(requests.popleft())
                elif parser.refusal is not None:
                    await self.refuse(parser.refusal)
                elif parser.upgrade:
                    return parser.upgrade, parser.rest
                elif self.edge.stopping and not parser.mid_head:
                    break
                else:
                    await self._read_head()
            if self.transport.unsent_bytes:
                await self.transport.drain()
        finally:
            idle, head = self.edge.timers.kind("idle"), self.edge.timers.kind("head")
            idle.pop(self, None)
            head.pop(self, None)
            parser.close()
        return "", b""

    def expire(self, kind: str) -> None:
        """Idle, or the head's deadline: wake the read that waits for it."""
        if kind == "head":
            self.head_expired = True
        self.transport.interrupt()

    async def _read_head(self) -> None:
        """Read once, on the clock of an idle connection or of a head."""
        parser, timers = self.parser, self.edge.timers
        armed = timers.kind("head" if parser.mid_head else "idle")
        if self not in armed:
            # A head keeps its deadline however many reads it takes.
            armed[self] = self.transport.clock()
        data = b""
        if not self.head_expired:
            data = await self.transport.receive(READ_BYTES_MAX)
        if not parser.mid_head:
            armed.pop(self, None)
        if data:
            parser.feed(data)
            if parser.requests or parser.refusal or parser.upgrade:
                timers.kind("head").pop(self, None)
                self.head_expired = False
            return
        self.keep_open = False
        if self.head_expired:
            seconds = self.edge.deadlines.head_s
            await self.refuse(
                Refusal(
                    408,
                    "request_timeout",
                    f"the head of the request was not complete after {seconds:g} s",
                )
            )

    async def read_body(self, started: float, received: int) -> Refusal | None:
        """Read once towards the body of the request being answered."""
        if self.parser.refusal is not None:
            return self.parser.refusal  # The body went wrong in the head's own read.
        deadlines = self.edge.deadlines
        deadline = started + deadlines.body_s + received / deadlines.body_rate_min
        with trio.move_on_at(deadline) as scope:
            data = await self.transport.receive(READ_BYTES_MAX)
            if data:
                self.parser.feed(data)
                return self.parser.refusal
            raise ClientGone("the client closed the connection inside the body")
        assert scope.cancelled_caught
        return Refusal(
            408,
            "request_timeout",
            f"the body came slower than {deadlines.body_rate_min} bytes/s",
        )

    async def _answer(self, request: Request) -> None:
        """Run the app for one request; leave the connection ready, or not open."""
        exchange = Exchange(self, request)
        transport = self.transport
        transport.on_gone = exchange.peer_gone
        try:
            await self.edge.app(exchange.scope(), exchange.receive, exchange.send)
        except ClientGone:
            self.keep_open = False
        except Exception as error:  # noqa: BLE001 - the app is not ours to trust
            await self._app_failed(exchange, error)
        transport.on_gone = None
        exchange.finish()
        self.edge.requests_served += 1
        if not exchange.answered:
            await self._app_fell_silent(exchange)
        if exchange.close or transport.broken:
            self.keep_open = False
        if not request.complete:
            self.keep_open = False
            await self._linger()

    async def _app_failed(self, exchange: Exchange, error: Exception) -> None:
        self.keep_open = False
        if only_client_gone(error):
            return
        self.edge.report("the app raised", error)
        if not exchange.started and not self.transport.broken:
            await self.refuse(
                Refusal(500, "internal_error", "the server failed; try again later")
            )
            exchange.answered = True

    async def _app_fell_silent(self, exchange: Exchange) -> None:
        """The app returned without an answer, or in the middle of one."""
        self.keep_open = False
        if self.transport.gone:
            return
        if exchange.started:
            # Ending it normally would pass half an answer off as a whole one.
            self.transport.abort("the answer was not completed")
            return
        self.edge.report(
            "the app gave no answer", RuntimeError("no http.response.start")
        )
        await self.refuse(Refusal(500, "internal_error", "the server gave no answer"))

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with the gateway's error body and close."""
        self.keep_open = False
        content_type, body = self.edge.error_body(
            refusal.status, refusal.code, refusal.message
        )
        head = b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%bconnection: close\r\n"
        told = _TOLD.get(refusal.status, b"")
        line = STATUS_LINES[refusal.status]
        length = len(body)
        head %= line, self.edge.date_line(), content_type.encode(), length, told
        try:
            await self.transport.write(head + b"\r\n" + body)
            await self._linger()
        except ClientGone:
            return

    async def _linger(self) -> None:
        """Read past what the client still sends: closing at once would reset it."""
        left = LINGER_BYTES_MAX
        self.transport.half_close()
        with trio.move_on_after(self.edge.deadlines.linger_s):
            while left > 0:
                data = await self.transport.receive(READ_BYTES_MAX)
                if not data:
                    return
                left -= len(data)


def only_client_gone(error: Exception) -> bool:
    """Whether an app's nurseries have wrapped a ClientGone and nothing else."""
    if isinstance(error, ExceptionGroup):
        return error.split(ClientGone)[1] is None
    return isinstance(error, ClientGone)
