"""One `response.create` as the endpoint of its dialect sees it: an HTTP request.

Owns: the one place where a lane's request is a request (`Conn`, ASGI's `send`) and its
answer becomes messages. So everything that a POST has, a lane has: its own id, holds,
leases, record, idempotency, storage, and the same way of ending. It never buffers more
than the piece in hand: the socket's pace is the stream's pace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any, Final

import msgspec

from gateway.http.lane_events import (
    DONE,
    Create,
    SocketDialect,
    Translation,
    error_message,
    named,
    refusal,
)
from gateway.http11_transport import ClientGone
from wire.openai_responses_stored import id_of

SendTexts = Callable[[list[bytes]], Awaitable[None]]

STOPPED: Final = 499  # As nginx calls a request whose client did not wait.


class _Told(msgspec.Struct):
    """What of an event is looked at, and only when it matters."""

    sequence_number: int = 0
    response: msgspec.Raw = msgspec.Raw(b"{}")


_told: Final = msgspec.json.Decoder(_Told)


class LaneCall:
    """One request on a lane."""

    heartbeats = False  # The socket has pings.

    def __init__(
        self, create: Create, dialect: SocketDialect, send_texts: SendTexts
    ) -> None:
        self.create = create
        self.dialect: SocketDialect = dialect
        self.lane = create.lane
        self.gone = False
        self.cancelled = False
        self.status = 0
        self.failed = False
        self.completed = b""  # The event that ended it well, as it was sent.
        self._created = b""
        self._last = b""
        self._headers: list[tuple[str, str]] = []
        self.say = send_texts
        self._body: bytes | None = create.body
        self._whole = bytearray()
        self._translation: Translation | None = None
        self._callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        """Which lane, and how far."""
        return f"<LaneCall lane={self.lane!r} status={self.status} gone={self.gone}>"

    # -- Conn, and ASGI's two halves ---------------------------------------------

    @property
    def body(self) -> bytes | None:
        """See Conn."""
        body, self._body = self._body, None
        return body

    async def read_body(self) -> bytes:
        """See Conn."""
        return self.body or b""

    @property
    def write_deadline(self) -> float:
        """See Conn: the socket's connection keeps it."""
        return inf

    @property
    def unsent_bytes(self) -> int:
        """See Conn."""
        return 0

    def write_now(self, body: bytes) -> bool:
        """See Conn: lanes take turns on their socket."""
        del body
        return False

    def answer_now(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes
    ) -> bool:
        """See Conn: lanes take turns on their socket."""
        del status, fields, body
        return False

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        if self.gone:
            callback()
        else:
            self._callbacks.append(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive, for who does not use Conn."""
        body = self.body
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """ASGI's send. Raises ClientGone when nobody wants the answer any more."""
        if self.gone:
            raise ClientGone("the lane was cancelled, or its socket closed")
        if message["type"] == "http.response.start":
            self._start(message)
            return
        body = message.get("body", b"")
        if self._translation is None:
            self._whole += body
            if not message.get("more_body", False):
                await self._send_whole()
        elif body:
            await self._send_events(self._translation, body)

    # -- the socket's side -------------------------------------------------------

    def leave(self) -> None:
        """The socket is gone, or the client wants no more of this."""
        if self.gone:
            return
        self.gone = True
        for callback in tuple(self._callbacks):
            callback()

    def cancel(self) -> None:
        """The same, and the client waits to be told that it is over."""
        self.cancelled = True
        self.leave()

    def is_response(self, answer_id: str) -> bool:
        """Whether this is the answer with that id."""
        if not self._created:
            return False
        return id_of(bytes(_told.decode(self._created).response)) == answer_id

    def farewell(self) -> bytes:
        """The event that ends a cancelled lane's answer."""
        if self.dialect == "chat" and self._last:
            return named(DONE, self.lane, (("cancelled", True),))
        if not self._created:
            why = "The response was cancelled before it began."
            return refusal(STOPPED, "response_cancelled", why, self.lane)
        began, last = _told.decode(self._created), _told.decode(self._last)
        response = {
            **msgspec.json.decode(began.response),
            "status": "incomplete",
            "incomplete_details": {"reason": "cancelled"},
        }
        number = last.sequence_number + 1
        fields = (("sequence_number", number), ("response", response))
        return named("response.incomplete", self.lane, fields)

    def answer(self) -> bytes:
        """The response object, once it is complete."""
        return bytes(_told.decode(self.completed).response)

    def _start(self, message: Any) -> None:
        self.status = message["status"]
        self._headers = [
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in message["headers"]
        ]
        kind = next((v for k, v in self._headers if k == "content-type"), "")
        if kind.startswith("text/event-stream"):
            self._translation = Translation(self.dialect, self.lane)

    async def _send_whole(self) -> None:
        self.failed = True
        body = bytes(self._whole)
        await self.say([error_message(self.status, body, self._headers, self.lane)])

    async def _send_events(self, translation: Translation, body: bytes) -> None:
        messages = translation.feed(body)
        if not messages:
            return
        for message in messages:
            match message.name:
                case "response.created":
                    self._created = message.data
                case "response.completed" | "response.incomplete":
                    self.completed = message.data
                case "response.failed" | "error":
                    self.failed = True
                case _:
                    pass
        self._last = messages[-1].data
        await self.say([message.data for message in messages])
