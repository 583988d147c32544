"""One WebSocket as the edge wants it, in the place of hypercorn's `WSStream`.

Owns, beside what hypercorn's does: no compression; a message bound that is kept before
the bytes are, in both directions of a close; a ping that has to be answered; a close
handshake that is waited for, so that the client reads its code; and frames of text
that are built from bytes, several in one write (`websocket.send` with `texts`).

`install` puts it where hypercorn makes its own, for HTTP/1.1 upgrades and HTTP/2's
extended CONNECT; the canary guards the names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

import trio
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, Data, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

NAME: Final = "WSStream"  # What hypercorn's protocols call the class they make.
CLOSE_S: Final = 2.0  # For the client's half of a close: round trips, not thought.
REASON_BYTES_MAX: Final = 123  # RFC 6455 section 5.5: 125 with the code.
MESSAGES_WAITING_MAX: Final = 1  # For the app: each may be as long as a body.

_TEXT: Final = 0x81  # FIN and opcode 1.


def text_frame(data: bytes) -> bytes:
    """One unmasked text message in one frame. `data` must be UTF-8."""
    size = len(data)
    if size < 126:
        return b"%c%c%b" % (_TEXT, size, data)
    if size < 65_536:
        return b"%c\x7e%b%b" % (_TEXT, size.to_bytes(2, "big"), data)
    return b"%c\x7f%b%b" % (_TEXT, size.to_bytes(8, "big"), data)


class Assembly:
    """The message that is coming in: text or bytes, never longer than its bound."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.size = 0
        self._text: list[str] = []
        self._bytes: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Assembly {self.size}/{self.bytes_max} bytes>"

    def take(self, event: Message[Any]) -> bool:
        """Add a piece; False when the message is too long, and the piece is dropped."""
        piece = event.data
        # Of text, characters were bytes a moment ago: at least as many.
        self.size += len(piece)
        if self.size > self.bytes_max:
            self._text.clear()
            self._bytes.clear()
            return False
        if isinstance(event, TextMessage):
            self._text.append(event.data)
        elif isinstance(event, BytesMessage):
            self._bytes.append(bytes(event.data))
        return True

    def message(self) -> dict[str, Any]:
        """The whole message as ASGI has it; the next one begins."""
        binary = b"".join(self._bytes) if self._bytes else None
        text = None if binary is not None else "".join(self._text)
        self.size = 0
        self._text.clear()
        self._bytes.clear()
        return {"type": "websocket.receive", "bytes": binary, "text": text}


class SocketStream(WSStream):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = copy.copy(self.config)
        self.config.max_app_queue_size = MESSAGES_WAITING_MAX
        self.assembly = Assembly(self.config.websocket_max_message_size)
        self.heard = True  # Anything at all since the last ping.
        self.handing_over = False  # The app is slow to take a message: not the peer.
        self.closed_by_us = False
        self.over = trio.Event()
        self.app_ended = False
        self._putting: trio.CancelScope | None = None

    def __repr__(self) -> str:
        return f"<SocketStream {self.state.name} {self.assembly!r}>"

    async def handle(self, event: Any) -> None:
        """See WSStream; any byte is a sign of life."""
        self.heard = True
        if isinstance(event, StreamClosed):
            await self._end()
        elif isinstance(event, (Body, Data)) and not self.handshake.accepted:
            await self._refuse_early()
        else:
            await super().handle(event)

    async def _refuse_early(self) -> None:
        """Bytes before the handshake's answer: no client sends them, a smuggler does.

        hypercorn answers 400 and goes on; here the connection and its app end too.
        """
        if self.closed:
            return
        await self._send_error_response(400)
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _end(self) -> None:
        """Nothing more comes or goes: tell the app, while it listens."""
        self.over.set()
        if self.closed:
            return
        self.closed = True
        ended = {ASGIWebsocketState.HTTPCLOSED, ASGIWebsocketState.CLOSED}
        code = CloseReason.NORMAL_CLOSURE
        if self.state not in ended:
            code = CloseReason.ABNORMAL_CLOSURE
        await self._put({"type": "websocket.disconnect", "code": int(code)})

    async def app_send(self, message: Any) -> None:
        """See WSStream; and `texts`, which are many messages in one write."""
        if message is None:
            await self._finish()
        elif message["type"] == "websocket.send" and "texts" in message:
            await self._send_texts(message["texts"])
        else:
            if message["type"] == "websocket.close":
                self.closed_by_us = self.state is ASGIWebsocketState.CONNECTED
                self._let_go("the app has closed")
            await super().app_send(message)

    async def _accept(self, message: Any) -> None:
        # Deltas are small and a window costs 64 KB a connection; what is compressed
        # beside a secret also tells of it (CRIME).
        self.handshake.extensions = None
        await super()._accept(message)

    async def _send_texts(self, texts: Iterable[bytes]) -> None:
        if self.closed or self.state is not ASGIWebsocketState.CONNECTED:
            return
        if self.connection.state is not ConnectionState.OPEN:
            return
        data = b"".join(map(text_frame, texts))
        await self.send(Data(stream_id=self.stream_id, data=data))

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                await self._take(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await self._peer_closes(event)

    async def _take(self, event: Message[Any]) -> None:
        if self.closed_by_us:
            return  # Whatever was on its way when we closed.
        if not self.assembly.take(event):
            await self._close(
                CloseReason.MESSAGE_TOO_BIG,
                f"a message may have {self.assembly.bytes_max} bytes",
            )
            return
        if event.message_finished:
            self.handing_over = True
            try:
                await self._put(self.assembly.message())
            finally:
                self.handing_over = False

    async def _peer_closes(self, event: CloseConnection) -> None:
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
            self.state = ASGIWebsocketState.CLOSED  # So the app is told 1000.
        elif self.connection.state is ConnectionState.OPEN:
            # It broke the protocol; wsproto says with which code to say so.
            await self._close(event.code, event.reason or "")
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _close(self, code: int, reason: str) -> None:
        """Close by the edge's own decision; the app is told with the same code."""
        self.closed_by_us = True
        shown = reason.encode()[:REASON_BYTES_MAX].decode("utf-8", "ignore")
        await self._send_wsproto_event(CloseConnection(code=code, reason=shown))
        await self._put({"type": "websocket.disconnect", "code": int(code)})

    async def _put(self, message: dict[str, Any]) -> None:
        put = self.app_put
        if put is None or self.app_ended:
            return
        with trio.CancelScope() as self._putting:
            await put(message)
        self._putting = None

    async def _finish(self) -> None:
        """The app has ended: wait a moment for the client's half of the close."""
        if self.closed_by_us and not self.closed:
            with trio.move_on_after(CLOSE_S):
                await self.over.wait()
        self.app_ended = True
        self._let_go("the app has ended")
        await super().app_send(None)

    def _let_go(self, why: str) -> None:
        """Drop the message that the app will not take, so that reading goes on."""
        if self._putting is not None:
            self._putting.cancel(reason=why)

    async def _send_pings(self) -> None:
        interval_s = self.config.websocket_ping_interval
        assert interval_s is not None
        while not self.closed:
            with trio.move_on_after(interval_s):
                await self.over.wait()
            if not (self.heard or self.handing_over or self.closed):
                # TCP may be fine and end at a proxy: nobody is there to read.
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
            self.heard = False
            await self._send_wsproto_event(Ping())


def install() -> None:
    """Let hypercorn make these, wherever it would make its own."""
    for module in (h11, h2):
        setattr(module, NAME, SocketStream)
