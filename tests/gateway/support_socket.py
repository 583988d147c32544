"""A WebSocket client in memory: it talks ASGI to an app, as the edge would."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from gateway.embed import Embedded
from gateway.http11_transport import ClientGone

MESSAGES_IN_FLIGHT_MAX = 4  # What the edge and the kernel would take unread.


class SocketClient:
    """One socket: what was sent, what came, and how it ended."""

    def __init__(self) -> None:
        self.status = 0
        self.subprotocol: str | None = None
        self.refusal: Any = None
        self.refusal_headers: dict[str, str] = {}
        self.code: int | None = None
        self.reason = ""
        self.gone = False
        self.done = False
        self.sent_by_app = 0  # Messages that the app has got rid of.
        self._to_app: list[dict[str, Any]] = [{"type": "websocket.connect"}]
        self._from_app: list[Any] = []
        self._body = b""
        self._moved = trio.Event()

    def __repr__(self) -> str:
        return f"<SocketClient {self.status} code={self.code}>"

    async def send(self, event: Any) -> None:
        """An event as JSON text; text and bytes as they are."""
        await trio.lowlevel.checkpoint()
        await self.handshake()
        if isinstance(event, bytes):
            message = {"type": "websocket.receive", "bytes": event, "text": None}
        else:
            text = event if isinstance(event, str) else msgspec.json.encode(event)
            told = text if isinstance(text, str) else text.decode()
            message = {"type": "websocket.receive", "bytes": None, "text": told}
        self._to_app.append(message)
        self._move()

    async def receive(self) -> Any:
        """The next event; None when the socket is closed."""
        while not self._from_app and self.code is None and not self.done:
            await self._moved.wait()
        found = self._from_app.pop(0) if self._from_app else None
        self._move()
        return found

    async def until(self, *types: str) -> list[Any]:
        """Events up to the first of one of these types."""
        found: list[Any] = []
        while True:
            event = await self.receive()
            assert event is not None, f"closed with {self.code} after {found}"
            found.append(event)
            if event["type"] in types:
                return found

    async def handshake(self) -> int:
        """The status of the handshake."""
        while not self.status and not self.done:
            await self._moved.wait()
        return self.status

    async def closed(self) -> int | None:
        """Wait for the end; with which code."""
        while self.code is None and not self.done:
            self._from_app.clear()
            self._move()
            await self._moved.wait()
        return self.code

    def leave(self) -> None:
        """Hang up without a word."""
        if not self.gone:
            self.gone = True
            self._to_app.append({"type": "websocket.disconnect", "code": 1006})
            self._move()

    # -- the app's side ----------------------------------------------------------

    async def app_receive(self) -> dict[str, Any]:
        while not self._to_app:
            await self._moved.wait()
        return self._to_app.pop(0)

    async def app_send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        match message["type"]:
            case "websocket.accept":
                self.status, self.subprotocol = 101, message["subprotocol"]
            case "websocket.http.response.start":
                self.refusal_headers = {
                    k.decode(): v.decode() for k, v in message["headers"]
                }
                self._status = message["status"]
            case "websocket.http.response.body":
                self.status = self._status
                self.refusal = msgspec.json.decode(message["body"])
            case "websocket.close":
                self.code = message.get("code", 1000)
                self.reason = message.get("reason", "")
                self._to_app.append({"type": "websocket.disconnect", "code": 1000})
            case _:
                await self._take(message)
        self._move()

    async def _take(self, message: Any) -> None:
        while len(self._from_app) >= MESSAGES_IN_FLIGHT_MAX and not self.gone:
            await self._moved.wait()
        if self.gone:
            raise ClientGone("the client left")
        if message.get("bytes") is not None:
            self._from_app.append(message["bytes"])
        else:
            texts = message.get("texts") or [message["text"]]
            self._from_app += [msgspec.json.decode(text) for text in texts]
            self.sent_by_app += len(texts)

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


@asynccontextmanager
async def socket(
    gateway: Embedded,
    path: str = "/v1/responses",
    *,
    key: str | None = None,
    subprotocols: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[SocketClient]:
    """A WebSocket to the gateway; leaving the block hangs up."""
    client = SocketClient()
    fields = {"host": "gateway.example", **(headers or {})}
    if key is not None:
        fields["authorization"] = f"Bearer {key}"
    if subprotocols:
        fields["sec-websocket-protocol"] = ", ".join(subprotocols)
    name, _, query = path.partition("?")
    scope = {
        "type": "websocket",
        "path": name,
        "raw_path": name.encode(),
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in fields.items()],
        "subprotocols": list(subprotocols),
        "http_version": "1.1",
        "scheme": "wss",
        "extensions": {"websocket.http.response": {}},
    }

    async def run() -> None:
        try:
            await gateway.app(scope, client.app_receive, client.app_send)
        finally:
            client.done = True
            client._move()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield client
        finally:
            client.leave()
