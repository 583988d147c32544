"""Hand a connection to hypercorn: WebSocket, h2c, HTTP/2 by ALPN or prior knowledge.

Owns: the two adapters hypercorn needs. `Replayed` is the stream its `TCPServer`
reads, beginning with the bytes we had read already: so hypercorn decides the upgrade
itself, from the request as it came. `Guarded` is the app as it sees it: a deadline on
each send, the limit on bodies, our error body, and RST_STREAM for half an answer.
Never: HTTP/2 or WebSocket frames; those stay hypercorn's and wsproto's.

hypercorn shields its writes without a timeout. Here the write it shields ends by
itself: `Transport.write` raises at the write deadline, and at the end of a stop.
"""

from collections.abc import Callable
from typing import Any, cast

import trio
from h2.errors import ErrorCodes
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

from gateway.http11 import Edge, only_client_gone
from gateway.http11_exchange import Message, Receive, Scope, Send
from gateway.http11_parser import READ_BYTES_MAX
from gateway.http11_transport import ClientGone, Transport
from gateway.websocket_stream import install

install()


def hypercorn_config(edge: Edge) -> Config:
    """Hypercorn's settings out of ours; its log is silent, `Guarded` reports."""
    config = Config()
    config.errorlog = None
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = edge.deadlines.idle_s
    config.websocket_max_message_size = edge.limits.body_bytes_max
    config.websocket_ping_interval = edge.deadlines.ping_s
    config.h2_max_header_list_size = edge.limits.head_bytes_max
    config.h11_max_incomplete_size = edge.limits.head_bytes_max
    return config


async def serve_upgraded(
    edge: Edge,
    config: Config,
    context: WorkerContext,
    transport: Transport,
    first: bytes,
    *,
    tls: bool,
    alpn: str,
) -> None:
    """Let hypercorn serve this connection until it ends."""
    kind = ReplayedTls if tls else Replayed
    stream = kind(transport, first, alpn)
    server = TCPServer(
        cast("AppWrapper", Guarded(edge)),
        config,
        context,
        edge.state,
        cast("trio.SSLStream[trio.SocketStream]", stream),
    )
    await server.run()


class Replayed:
    """What hypercorn's TCPServer asks of a plain stream, over our transport."""

    def __init__(self, transport: Transport, first: bytes, alpn: str) -> None:
        self.socket = transport.sock
        self._transport = transport
        self._first = first
        self._alpn = alpn

    def __repr__(self) -> str:
        return f"<{type(self).__name__} replaying={len(self._first)} {self._transport}>"

    async def receive_some(self, _bytes_max: int) -> bytes:
        """The replayed bytes, then what comes."""
        if self._first:
            first, self._first = self._first, b""
            await trio.lowlevel.checkpoint()
            return first
        if self._transport.closed:
            raise trio.ClosedResourceError
        # Hypercorn asks for 64 KiB a read; a quarter is as fast and stays small.
        return await self._transport.receive(READ_BYTES_MAX)

    async def send_all(self, data: bytes) -> None:
        """Write; a peer that stopped reading counts as a broken stream."""
        if self._transport.closed:
            raise trio.ClosedResourceError
        try:
            await self._transport.write(data)
        except ClientGone as gone:
            raise trio.BrokenResourceError(str(gone)) from None

    async def send_eof(self) -> None:
        """Hypercorn calls this on its way to `aclose`."""
        with trio.CancelScope(shield=True):
            await self._transport.drain()  # At most the write deadline.
        self._transport.half_close()

    async def aclose(self) -> None:
        """Close; wakes whoever reads or writes."""
        self._transport.close()
        await trio.lowlevel.cancel_shielded_checkpoint()


class ReplayedTls(Replayed):
    """The same after a TLS handshake, which is done before hypercorn comes in."""

    def __init__(self, transport: Transport, first: bytes, alpn: str) -> None:
        super().__init__(transport, first, alpn)
        self.transport_stream = self  # Hypercorn looks for `.socket` in there.

    async def do_handshake(self) -> None:
        """Done already."""
        await trio.lowlevel.checkpoint()

    def selected_alpn_protocol(self) -> str:
        """What the handshake agreed on."""
        return self._alpn


class Guarded:
    """The app, as hypercorn calls it, once for each HTTP/2 stream or WebSocket."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def __repr__(self) -> str:
        return f"<Guarded {self._edge}>"

    async def __call__(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        _sync_spawn: Callable[..., Any],
        _call_soon: Callable[..., Any],
    ) -> None:
        """Run the app; see that its stream ends one way or the other."""
        call = _Call(self._edge, scope, receive, send)
        self._edge.requests_served += 1
        try:
            await self._edge.app(scope, call.receive, call.send)
        except Exception as error:  # noqa: BLE001 - the app is not ours to trust
            if only_client_gone(error):
                await call.reset()
                return
            self._edge.report("the app raised", error)
            await call.fail(500, "internal_error", "the server failed; try again later")
        else:
            if scope["type"] == "http" and not call.answered:
                await call.fail(500, "internal_error", "the server gave no answer")


class _Call:
    """One stream's receive and send."""

    def __init__(self, edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
        self._edge = edge
        self._http = scope["type"] == "http"
        self._receive = receive
        self._send = send
        self._received_bytes = 0
        self._over = False  # Reset or refused: nothing more from the app.
        self._gone = False  # The app was told that its peer has left.
        self._sending: trio.CancelScope | None = None
        self.started = False
        self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] in {"http.disconnect", "websocket.disconnect"}:
            # Nobody opens a window any more: a send that waits for one is over.
            self._gone = True
            if self._sending is not None:
                self._sending.cancel(reason="the client left")
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
            bytes_max = self._edge.limits.body_bytes_max
            if self._received_bytes > bytes_max:
                text = f"the body is larger than {bytes_max} bytes"
                await self.fail(413, "body_too_large", text)
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self._over or self._gone:
            raise ClientGone("this request was refused or reset, or its client left")
        kind = message["type"]
        self.started = self.started or kind == "http.response.start"
        with trio.move_on_after(self._edge.deadlines.write_s) as scope:
            self._sending = scope
            await self._drain()
            await self._send(message)
        self._sending = None
        if scope.cancelled_caught and self._gone:
            raise ClientGone("the client left")
        if scope.cancelled_caught:
            # The connection may be fine: a peer may withhold WINDOW_UPDATE of one
            # stream only. So this stream ends, and not the others.
            await self.reset()
            raise ClientGone("the client opened no window before the write deadline")
        if kind == "http.response.body" and not message.get("more_body", False):
            self.answered = True

    async def _drain(self) -> None:
        """Wait until the stream's buffer is empty, once it is over the bound.

        Hypercorn has a high-water mark, but each write to a closed window wakes its
        send task, which takes nothing and lifts the pause: without this, all that
        the app can produce would be buffered for a peer that opens no window.
        """
        stream, protocol = _http2_of(self._send)
        if protocol is None:
            return
        buffer = protocol.stream_buffers.get(stream.stream_id)
        bytes_max = self._edge.limits.unsent_bytes_max
        if buffer is not None and len(buffer.buffer) >= bytes_max:
            await buffer.drain()

    async def fail(self, status: int, code: str, text: str) -> None:
        """An error body if nothing went out, a reset if something did."""
        if not self._http or self._over or self.answered:
            return  # A WebSocket: hypercorn closes it with 500 or 1011.
        if self.started:
            await self.reset()
            return
        content_type, body = self._edge.error_body(status, code, text)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})
        self._over = True

    async def reset(self) -> None:
        """RST_STREAM: hypercorn would leave half an answer open for ever."""
        if self._over or self.answered:
            return
        self._over = True
        stream, protocol = _http2_of(self._send)
        if protocol is None:
            return
        buffer = protocol.stream_buffers.get(stream.stream_id)
        if buffer is None:
            return  # Reset or ended by the other side already.
        with trio.CancelScope(shield=True):  # Bounded by the write deadline.
            protocol.connection.reset_stream(stream.stream_id, ErrorCodes.CANCEL)
            await protocol._flush()  # noqa: SLF001 - the canary guards the name
            await buffer.close()
            # Its turn comes once more, in which the send task forgets the stream.
            protocol.priority.unblock(stream.stream_id)
            await protocol.has_data.set()


def _http2_of(send: Send) -> tuple[Any, H2Protocol | None]:
    """The hypercorn stream behind an ASGI send, and its HTTP/2 connection if it is one.

    ASGI offers no way to either; the canary guards the two attributes.
    """
    stream = getattr(send, "__self__", None)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    return stream, protocol if isinstance(protocol, H2Protocol) else None
