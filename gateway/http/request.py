"""One HTTP request as handlers see it: cheap to make, read only as far as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeVar, overload
from urllib.parse import unquote

from gateway.http11_conn import Conn
from gateway.http11_exchange import Receive, Scope, Send
from gateway.http11_transport import ClientGone

T = TypeVar("T")

# What of a header may change how any request is answered, whatever its dialect.
MARKS: Final = frozenset(
    {
        b"idempotency-key",
        b"last-event-id",
        b"origin",
        b"user-agent",
        b"x-stagedoor-buffered",
        b"x-stagedoor-client",
    }
)


class Headers(Mapping[str, str]):
    """Header fields by lower-case name, over ASGI's list; the first one counts."""

    __slots__ = ("_raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        """The first field of this name."""
        wanted = name.encode("latin-1")
        for key, value in self._raw:
            if key == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    # As Mapping's own, without an exception for each field that is not there.

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    @overload
    def get(self, name: str, default: T, /) -> str | T: ...
    def get(self, name: str, default: object = None, /) -> object:
        """The first field of this name, if there is one."""
        wanted = name.encode("latin-1")
        for key, value in self._raw:
            if key == wanted:
                return value.decode("latin-1")
        return default

    def __contains__(self, name: object) -> bool:
        """Whether there is a field of this name."""
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        """Names, each once."""
        return iter(dict.fromkeys(key.decode("latin-1") for key, _ in self._raw))

    def __len__(self) -> int:
        """How many names there are."""
        return len({key for key, _ in self._raw})

    def __repr__(self) -> str:
        """Without values: they hold keys."""
        return f"<Headers {len(self._raw)} fields>"


class Request:
    """What handlers need of one request."""

    __slots__ = ("_bare_send", "_conn", "_marks", "_receive", "body_bytes_max",
                 "headers", "method", "path", "readable", "scope", "send")  # fmt: skip

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, body_bytes_max: int
    ) -> None:
        self.scope = scope
        self._receive = receive
        self.send = self._bare_send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = Headers(scope["headers"])
        self.body_bytes_max = body_bytes_max
        self._marks: dict[bytes, bytes] | None = None
        self.readable = False  # Whether a page of another origin may read the answer.
        extensions: Mapping[str, Any] | None = scope.get("extensions")
        self._conn: Conn | None = (
            extensions.get("stagedoor") if extensions is not None else None
        )

    def __repr__(self) -> str:
        """Method and path: the query may hold a key."""
        return f"<Request {self.method} {self.path}>"

    @property
    def marks(self) -> dict[bytes, bytes]:
        """The fields of `MARKS`, found in one walk; the first of a name counts."""
        marks = self._marks
        if marks is None:
            marks = self._marks = {
                name: value
                for name, value in reversed(self.scope["headers"])
                if name in MARKS
            }
        return marks

    def say(self, name: str, value: str) -> None:
        """Have the answer's head say this too."""
        send = self.send
        field = (name.encode("ascii"), value.encode("latin-1"))

        async def with_field(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], field]
            await send(message)

        self.send = with_field

    def field(self, name: bytes) -> bytes | None:
        """A header field as it came; the first one counts."""
        for key, value in self.scope["headers"]:
            if key == name:
                found: bytes = value
                return found
        return None

    def at(self, path: str, fields: Iterable[tuple[str, str]]) -> Request:
        """The same client, as if it had posted to `path` with these header fields."""
        raw_path, _, query = path.partition("?")
        scope = {
            **self.scope,
            "method": "POST",
            "path": unquote(raw_path),
            "raw_path": raw_path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [(k.encode("ascii"), v.encode("latin-1")) for k, v in fields],
        }
        return Request(scope, self._receive, self.send, self.body_bytes_max)

    def through(self, receive: Receive, send: Send, conn: Conn) -> Request:
        """The same request, as if this had sent it and read the answer."""
        scope = {**self.scope, "extensions": {"stagedoor": conn}}
        return Request(scope, receive, send, self.body_bytes_max)

    @property
    def target(self) -> tuple[str, str]:
        """The path as it was sent, still encoded, and the query."""
        raw: bytes = self.scope["raw_path"]
        query: bytes = self.scope["query_string"]
        return raw.decode("ascii", "replace"), query.decode("ascii", "replace")

    async def read(self) -> bytes:
        """The whole body. Raises ClientGone or TooLarge."""
        conn = self._conn
        if conn is not None:
            # HTTP/1.1: the protocol has counted the bytes already.
            body = conn.body
            return body if body is not None else await conn.read_body()
        return await self._gather(self.body_bytes_max)

    async def read_small(self, bytes_max: int) -> bytes:
        """The whole body, where it may be small only. Raises ClientGone or TooLarge.

        More is not waited for, nor held: nobody knows yet who sends it.
        """
        told = self.field(b"content-length")
        if told is not None and (not told.isdigit() or int(told) > bytes_max):
            raise TooLarge(bytes_max)
        if self._conn is None or self.field(b"transfer-encoding") is not None:
            return await self._gather(bytes_max)
        return await self.read()

    async def _gather(self, bytes_max: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the body will not be complete")
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > bytes_max:
                raise TooLarge(bytes_max)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    @property
    def conn(self) -> Conn | None:
        """The connection's extras; None over HTTP/2."""
        return self._conn

    @property
    def direct_conn(self) -> Conn | None:
        """The same, where nobody wants the answer to say more on its way to it."""
        return self._conn if self.send is self._bare_send else None

    @property
    def takes_heartbeats(self) -> bool:
        """Whether the answer goes to a client as it comes, through who knows what."""
        return self._conn is None or self._conn.heartbeats

    async def wait_disconnect(self) -> None:
        """Return when the client has left (for HTTP/2, where nobody calls back)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def when_gone(self, callback: Callable[[], None]) -> bool:
        """Call back when the client leaves; False where only waiting can tell."""
        if self._conn is None:
            return False
        self._conn.on_disconnect(callback)
        return True


class TooLarge(Exception):
    """The body is over the limit."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the body has more than {bytes_max} bytes")
        self.bytes_max = bytes_max
