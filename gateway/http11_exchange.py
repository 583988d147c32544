"""One HTTP/1.1 request and its response: ASGI's receive and send, and `Conn`.

Owns: the framing of the response and its one write a body, `100-continue`, and what
the app learns of the client. Never: reads the socket by itself (its connection does)
or closes it (it says `close`).
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from gateway.http11_parser import Refusal, Request
from gateway.http11_transport import ClientGone

if TYPE_CHECKING:
    from gateway.http11 import Http11

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Address = tuple[str, int] | None

_ASGI = {"version": "3.0", "spec_version": "2.4"}
STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode())
    for status in HTTPStatus
}
BODILESS = frozenset({204, 304})
_LAST_LINES = {False: b"\r\n", True: b"connection: close\r\n\r\n"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """One request and its response: ASGI's receive and send, and `Conn`."""

    heartbeats = True  # There may be proxies in between.

    __slots__ = (
        "_body_started",
        "_callbacks",
        "_chunked",
        "_connection",
        "_finished",
        "_head",
        "_length_left",
        "_request",
        "_suppressed",
        "_taken",
        "_transport",
        "_waiting",
        "answered",
        "close",
        "started",
    )

    def __init__(self, connection: "Http11", request: Request) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._request = request
        self._callbacks: list[Callable[[], None]] = []
        self._waiting: list[trio.lowlevel.Task] = []  # The app's own tasks: few.
        self._finished = False  # The app has returned.
        self._taken = False  # The app has seen the end of the body.
        self._body_started = -inf
        self._head: list[bytes] | None = None  # Held back for the first body.
        self._length_left = -1  # -1: unknown, so chunked or until close.
        self._chunked = False
        self._suppressed = False  # HEAD, 204, 304: a head alone.
        self.started = False  # Bytes of the answer have gone out.
        self.answered = False
        self.close = not request.keep_alive

    def __repr__(self) -> str:
        state = "answered" if self.answered else "started" if self.started else "open"
        return f"<Exchange {state} {self._request}>"

    def scope(self) -> Scope:
        """ASGI's scope of this request."""
        request, connection = self._request, self._connection
        raw_path, _, query = request.target.partition(b"?")
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.0" if request.http_1_0 else "1.1",
            "method": request.method,
            "scheme": connection.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": connection.client,
            "server": connection.server,
            "state": connection.edge.state.copy(),
            "extensions": {"stagedoor": self},
        }

    # Conn.

    @property
    def gone(self) -> bool:
        """See Conn."""
        return self._transport.gone

    @property
    def write_deadline(self) -> float:
        """See Conn."""
        return self._transport.write_deadline

    @property
    def unsent_bytes(self) -> int:
        """See Conn."""
        return self._transport.unsent_bytes

    @property
    def body(self) -> bytes | None:
        """See Conn."""
        request = self._request
        if not request.complete or self._taken or self._body_started != -inf:
            return None
        self._taken = True
        return self._take()

    async def read_body(self) -> bytes:
        """See Conn."""
        pieces: list[bytes] = []
        while not self._taken:
            if not await self._fill():
                raise ClientGone("the body will not be complete")
            pieces.append(self._take())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write_now(self, body: bytes) -> bool:
        """See Conn."""
        if self._chunked and self._head is None and not self.answered and body:
            return self._transport.write_now(b"%x\r\n%b\r\n" % (len(body), body))
        return False

    def answer_now(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes
    ) -> bool:
        """See Conn."""
        request, edge = self._request, self._connection.edge
        line = STATUS_LINES.get(status)
        if self.started or self._head is not None or self.answered or line is None:
            return False
        if request.method == "HEAD" or status in BODILESS:
            return False
        text = "".join([f"{name}: {value}\r\n" for name, value in fields])
        ends = len(fields)
        if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
            return False  # `send` says why.
        try:
            head = text.encode("latin-1")
        except UnicodeEncodeError:
            return False
        if not request.complete or edge.stopping:
            self.close = True
        date, length, last = edge.date_line(), len(body), _LAST_LINES[self.close]
        if request.http_1_0 and not self.close:
            last = b"connection: keep-alive\r\n\r\n"
        if not self._transport.write_now(
            b"%b%b%bcontent-length: %d\r\n%b%b" % (line, date, head, length, last, body)
        ):
            return False
        self.started = self.answered = True
        if self._waiting:
            self._wake()
        return True

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """See Conn; called at once when the client has left already."""
        if self._transport.gone:
            callback()
        else:
            self._callbacks.append(callback)

    def remove(self, callback: Callable[[], None]) -> None:
        """See Conn."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def peer_gone(self) -> None:
        """Called by the transport, once."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - must not end the poller
                self._connection.edge.report("an on_disconnect callback raised", error)
        self._wake()

    def finish(self) -> None:
        """The app has returned: what it left behind must not wait for ever."""
        self._finished = True
        self._callbacks = []
        self._wake()

    # ASGI: receive.

    async def receive(self) -> Message:
        """`http.request` until the body is through, then wait for the disconnect."""
        if not self._taken and not self.answered and not self._finished:
            if await self._fill():
                body = self._take()
                more = not self._taken
                return {"type": "http.request", "body": body, "more_body": more}
            return {"type": "http.disconnect"}
        while not (self.answered or self._finished or self._transport.gone):
            await self._park()
        return {"type": "http.disconnect"}

    async def _fill(self) -> bool:
        """See to it that there is something to take; False if there never will be."""
        request = self._request
        if request.body or request.complete:
            await trio.lowlevel.checkpoint_if_cancelled()
            return True
        if self._body_started == -inf:
            self._body_started = trio.current_time()
            if request.expects_continue and not self.started:
                await self._transport.write(_CONTINUE)
        while not request.body and not request.complete:
            try:
                refusal = await self._connection.read_body(
                    self._body_started, request.received
                )
            except ClientGone:
                return False
            if refusal is not None:
                await self._refuse(refusal)
                return False
        return True

    async def _refuse(self, refusal: Refusal) -> None:
        """Answer in the app's place; to the app it looks as if the client had left."""
        self.close = True
        if self.started:
            self._transport.abort("the request's body broke while it was answered")
        else:
            self.started = self.answered = True
            await self._connection.refuse(refusal)

    def _take(self) -> bytes:
        request = self._request
        body = request.body[0] if len(request.body) == 1 else b"".join(request.body)
        request.body = []
        self._taken = request.complete
        return body

    async def _park(self) -> None:
        task = current_task()
        self._waiting.append(task)

        def abort(_: object) -> Abort:
            self._waiting.remove(task)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            reschedule(task)

    # ASGI: send.

    async def send(self, message: Message) -> None:
        """`http.response.start` is held back; each body is one write.

        Raises:
            ClientGone: nobody is there to read it.
        """
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            last = not message.get("more_body", False)
            if self.answered:
                raise self._late()
            if self._head is not None:
                data = self._first(body, last=last)
            elif not self.started:
                raise RuntimeError("http.response.body came before its start")
            elif self._chunked:
                data = _chunk(body, last=last)
            else:
                data = self._plain(body, last=last)
            if last:
                self.answered = True
                if self._waiting:
                    self._wake()
            if data:
                await self._transport.write(data)
            elif self._transport.broken:
                raise ClientGone(self._transport.why_broken)
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
        elif kind == "http.response.start":
            if self.answered:
                raise self._late()
            self._start(message)
        else:
            raise RuntimeError(f"HTTP/1.1 has no use for {kind}")

    def _late(self) -> Exception:
        transport = self._transport
        if transport.gone or not self._connection.keep_open:
            return ClientGone(transport.why_broken or "this request was refused")
        return RuntimeError("the response is complete already")

    def _start(self, message: Message) -> None:
        if self.started or self._head is not None:
            raise RuntimeError("http.response.start came twice")
        status: int = message["status"]
        if status < 200:
            raise RuntimeError(f"{status} is no final response")
        line = STATUS_LINES.get(status)
        if line is None:
            line = b"HTTP/1.1 %d \r\n" % status
        lines = [line, self._connection.edge.date_line()]
        fields: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
        for name, value in fields:
            lower = name.lower()
            if lower == b"content-length":
                self._length_left = int(value)
            elif lower in (b"connection", b"transfer-encoding", b"keep-alive"):
                # The hop is ours; only the wish to close it is the app's.
                if value.lower() == b"close":
                    self.close = True
                continue
            elif lower == b"date":
                lines[1] = b""
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._request.method == "HEAD" or status in BODILESS:
            self._suppressed = True
        self._head = lines

    def _first(self, body: bytes, *, last: bool) -> bytes:
        """The head, decided now that the first body is known, and that body."""
        lines, request = self._head, self._request
        assert lines is not None
        self._head = None
        if self._suppressed:
            if last and self._length_left < 0 and request.method == "HEAD" and body:
                lines.append(b"content-length: %d\r\n" % len(body))
        elif self._length_left < 0:
            if last:
                self._length_left = len(body)
                lines.append(b"content-length: %d\r\n" % len(body))
            elif request.http_1_0:
                self.close = True  # The end of the connection is the end of the body.
            else:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not request.complete or self._connection.edge.stopping:
            self.close = True
        if self.close:
            lines.append(b"connection: close\r\n")
        elif request.http_1_0:
            lines.append(b"connection: keep-alive\r\n")
        head = b"".join(lines)
        ends = len(lines) - lines.count(b"")
        if head.count(b"\n") != ends or head.count(b"\r") != ends or 0 in head:
            raise ValueError("a response header holds a line end or a NUL")
        self.started = True
        rest = _chunk(body, last=last) if self._chunked else None
        return b"".join((head, b"\r\n", rest or self._plain(body, last=last)))

    def _plain(self, body: bytes, *, last: bool) -> bytes:
        """Body bytes as they are, counted against the length that was promised."""
        if self._suppressed:
            return b""
        if self._length_left >= 0:
            self._length_left -= len(body)
            if self._length_left < 0 or (last and self._length_left > 0):
                self._transport.abort("the body and its content-length differ")
                raise RuntimeError("the body and its content-length differ")
        return body


def _chunk(body: bytes, *, last: bool) -> bytes:
    if last:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""
