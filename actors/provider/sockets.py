"""A WebSocket to a provider, from its handshake to its close.

Speaks RFC 6455 by wsproto over a wire of its own: a session outlives any pooled
connection. The key is in the handshake's head alone, written from its lease and wiped
(`KeyedHead`); after that nobody has it.

Reading is pulled, a message at a time, so whoever does not ask holds the provider back.
Pings are answered here. Never retries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import httpx
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from actors.provider.exchange import KeyedHead
from actors.provider.http import Outgoing
from actors.provider.wires import WIRE_FAULTS, Origin, Wire
from actors.vault.keyuse import KeyUse

MESSAGE_BYTES_MAX: Final = 16 * 2**20  # OpenAI's own bound on an event is 15 MB.
REJECT_BYTES_MAX: Final = 64 * 1024  # Of an error's body; the rest is not its cause.
CLOSE_S: Final = 2.0  # For the provider's half of a close.


class SocketRejected(Exception):
    """The provider answered the handshake with an error."""

    def __init__(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        super().__init__(f"the handshake was answered with {status}")
        self.status = status
        self.headers = headers
        self.body = body


class UpstreamSocket:
    """An open WebSocket; `code` and `reason` say how it ended."""

    def __init__(self, wire: Wire, origin: Origin) -> None:
        self.code: int | None = None
        self.reason = ""
        self._wire = wire
        self._origin = origin
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._pieces: list[bytes] = []
        self._size = 0
        self._ready: list[bytes] = []
        self._writing = trio.Lock()

    def __repr__(self) -> str:
        """Where to, and whether it is open."""
        state = "open" if self.code is None else f"closed with {self.code}"
        return f"<UpstreamSocket {self._origin} {state}>"

    async def shake_hands(
        self,
        target: str,
        fields: list[tuple[bytes, bytes]],
        key: KeyUse | None,
        on_phase: Callable[[str], object],
    ) -> None:
        """Upgrade. Raises SocketRejected, httpx.TransportError, what a lease does."""
        origin = self._origin
        default = {"http": 80, "https": 443}[origin.scheme] == origin.port
        host = origin.host if default else f"{origin.host}:{origin.port}"
        asked = Request(host=host, target=target, extra_headers=list(fields))
        data = self._ws.send(asked)
        on_phase("write")
        try:
            if key is None:
                await self._wire.send_all(data)
            else:
                names = frozenset(name for name, _ in fields)
                out = Outgoing("GET", data[: -len(b"\r\n")], names, b"")
                keyed = KeyedHead(key, out, origin, secure=self._wire.secure)
                with keyed as head:
                    await self._wire.send_all(head)
            on_phase("headers")
            await self._await_answer()
        except WIRE_FAULTS as error:
            raise httpx.ConnectError(
                f"{origin}: the handshake broke: {error}"
            ) from error

    async def receive(self) -> bytes | None:
        """The next text, or None when the provider has closed.

        Raises httpx.TransportError when it went without a word, or broke the protocol.
        """
        while not self._ready:
            if self.code is not None:
                return None
            await self._read()
        return self._ready.pop(0)

    async def send(self, text: bytes) -> None:
        """Send one text. Raises httpx.TransportError."""
        await self._put(TextMessage(data=text.decode("utf-8", "replace")))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close in order, for at most a moment."""
        with trio.move_on_after(CLOSE_S), contextlib.suppress(httpx.TransportError):
            if self._ws.state is ConnectionState.OPEN:
                await self._put(CloseConnection(code=code, reason=reason))
            while self.code is None:
                await self._read()
        self.close()

    def close(self) -> None:
        """Close now; harmless when repeated."""
        self._wire.close()

    async def _await_answer(self) -> None:
        rejected: RejectConnection | None = None
        body = bytearray()
        while True:
            data = await self._wire.receive()
            try:
                self._ws.receive_data(data or None)
                events = list(self._ws.events())
            except RemoteProtocolError:
                raise httpx.RemoteProtocolError(
                    f"{self._origin}: the answer to the handshake is no HTTP, or no "
                    "WebSocket's"
                ) from None
            for place, event in enumerate(events):
                if isinstance(event, AcceptConnection):
                    # Its first messages may have come with the answer.
                    for early in events[place + 1 :]:
                        await self._take(early)
                    return
                if isinstance(event, RejectConnection):
                    rejected = event
                elif isinstance(event, RejectData):
                    body += event.data
            whole = bool(events) and isinstance(events[-1], RejectData)
            if rejected is not None and (
                not data
                or not rejected.has_body
                or len(body) > REJECT_BYTES_MAX
                or (whole and getattr(events[-1], "body_finished", False))
            ):
                headers = httpx.Headers(rejected.headers)
                raise SocketRejected(
                    rejected.status_code, headers, bytes(body[:REJECT_BYTES_MAX])
                )
            if not data:
                raise httpx.RemoteProtocolError(
                    f"{self._origin}: closed in the middle of the handshake"
                )

    async def _read(self) -> None:
        try:
            data = await self._wire.receive()
            if not data:
                raise httpx.ReadError(f"{self._origin}: closed without a close frame")
            self._ws.receive_data(data)
            events = list(self._ws.events())
        except WIRE_FAULTS as error:
            raise httpx.ReadError(
                f"{self._origin}: the socket broke: {error}"
            ) from error
        except RemoteProtocolError:
            raise httpx.RemoteProtocolError(
                f"{self._origin}: not a frame of WebSocket"
            ) from None
        for event in events:
            await self._take(event)

    async def _take(self, event: object) -> None:
        if isinstance(event, Message):
            self._assemble(event)
        elif isinstance(event, Ping):
            await self._put(event.response())
        elif isinstance(event, CloseConnection):
            self.code, self.reason = int(event.code), event.reason or ""
            if self._ws.state is ConnectionState.REMOTE_CLOSING:
                with contextlib.suppress(httpx.TransportError):
                    await self._put(event.response())

    def _assemble(self, event: Message[Any]) -> None:
        if isinstance(event, BytesMessage):
            raise httpx.RemoteProtocolError(f"{self._origin}: sent bytes, not events")
        piece = str(event.data).encode()
        self._size += len(piece)
        if self._size > MESSAGE_BYTES_MAX:
            raise httpx.RemoteProtocolError(
                f"{self._origin}: a message has more than {MESSAGE_BYTES_MAX} bytes"
            )
        self._pieces.append(piece)
        if event.message_finished:
            self._ready.append(b"".join(self._pieces))
            self._pieces.clear()
            self._size = 0

    async def _put(self, event: object) -> None:
        # Two tasks write: who relays to the provider, and who answers its pings.
        async with self._writing:
            try:
                data = self._ws.send(event)  # type: ignore[arg-type]
                await self._wire.send_all(data)
            except LocalProtocolError:
                raise httpx.WriteError(
                    f"{self._origin}: the socket is closed"
                ) from None
            except WIRE_FAULTS as error:
                raise httpx.WriteError(
                    f"{self._origin}: the socket broke: {error}"
                ) from error
