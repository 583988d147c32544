"""One accepted WebSocket: messages in, texts out, one close. Over ASGI.

Owns: the order of its writers (lanes share it) and the news that it is over. A write
waits for the client, up to the edge's write deadline; so does everything behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import trio

from gateway.http11_exchange import Receive, Scope, Send
from gateway.http11_transport import ClientGone


class Close(Exception):
    """End the socket with this code, and tell the client why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


Fields = Iterable[tuple[str, str]]


class Handshake:
    """A WebSocket that was asked for: it is accepted or refused, once.

    `scope` has the fields that count after it (see socket_login).
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, subprotocol: str | None
    ) -> None:
        self.scope = scope
        self.subprotocol = subprotocol
        self.socket: Socket | None = None
        self._receive = receive
        self._send = send

    def __repr__(self) -> str:
        """Where, and whether it was accepted."""
        return f"<Handshake {self.scope['path']} {self.socket!r}>"

    async def accept(self, headers: Mapping[str, str] | None = None) -> Socket:
        """Open the socket. Raises ClientGone."""
        fields = [
            (name.encode(), value.encode("latin-1"))
            for name, value in (headers or {}).items()
            if name.startswith("x-")  # Those of a stream are no handshake's.
        ]
        await self._send(
            {
                "type": "websocket.accept",
                "subprotocol": self.subprotocol,
                "headers": fields,
            }
        )
        self.socket = Socket(self.scope, self._receive, self._send)
        return self.socket

    async def refuse(
        self, status: int, headers: Fields, body: bytes, request_id: str = ""
    ) -> None:
        """Answer as a POST would be answered. Raises ClientGone."""
        fields = [*headers, ("content-length", str(len(body)))]
        if request_id:
            fields.append(("x-request-id", request_id))
        await self._send(
            {
                "type": "websocket.http.response.start",
                "status": status,
                "headers": [(k.encode(), v.encode("latin-1")) for k, v in fields],
            }
        )
        await self._send({"type": "websocket.http.response.body", "body": body})

    async def wait_gone(self) -> None:
        """Return when the client has left before it was answered."""
        while (await self._receive())["type"] != "websocket.disconnect":
            pass


class Socket:
    """See the module. `scope` is its handshake's, with the fields that count."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.closed = False
        self._receive = receive
        self._send = send
        self._turn = trio.Lock()

    def __repr__(self) -> str:
        """Where, and whether it is open."""
        return f"<Socket {self.scope['path']} {'closed' if self.closed else 'open'}>"

    async def receive(self) -> str | None:
        """The next text; None at the end. What is not text ends it with 1003."""
        message = await self.receive_any()
        if isinstance(message, bytes):
            await self.close(1003, "send text: JSON events")
            return None
        return message

    async def receive_any(self) -> str | bytes | None:
        """The next message, text or not; None at the end."""
        if self.closed:
            return None
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self.closed = True
            return None
        text: str | None = message.get("text")
        if text is not None:
            return text
        data: bytes = message.get("bytes") or b""
        return data

    async def send(self, texts: list[bytes]) -> None:
        """Send UTF-8 texts, each a message. Raises ClientGone."""
        async with self._turn:
            if self.closed:
                raise ClientGone("the socket is closed")
            await self._put({"type": "websocket.send", "texts": texts})

    async def send_bytes(self, data: bytes) -> None:
        """Send one binary message. Raises ClientGone."""
        async with self._turn:
            if self.closed:
                raise ClientGone("the socket is closed")
            await self._put({"type": "websocket.send", "bytes": data, "text": None})

    async def close(self, code: int, why: str = "") -> None:
        """Close it; once. A client that is gone already is no trouble."""
        async with self._turn:
            if self.closed:
                return
            self.closed = True
            try:
                await self._send(
                    {"type": "websocket.close", "code": code, "reason": why}
                )
            except ClientGone:
                return

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except ClientGone:
            self.closed = True
            raise
