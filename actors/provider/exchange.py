"""What one request holds and writes: its slot, its timeouts, its head with the key.

Here a key's bytes meet the socket. They are appended to a buffer of our own that is
wiped before the write's outcome is known to anybody else; no request, response, repr
or exception ever holds them.

Owns the slot from its grant until the body's end. However that comes (the last byte,
an error, a cancel, a dropped response), the slot goes back at once; unless the
response ended cleanly the socket is closed with it, without a drain.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Final, NamedTuple, TypeVar, TypeVarTuple, final

import httpx
import trio

from actors.provider.http import Outgoing
from actors.provider.pool import Pool, Settled
from actors.provider.wires import Origin, Wire
from actors.vault.keyuse import KeyUse

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Up to here copying the body behind the head is cheaper than a second syscall.
BODY_JOINED_BYTES_MAX: Final = 16_384


class Timeouts(NamedTuple):
    """httpx's four, in seconds; None is for ever (the caller has its own deadlines)."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None

    @classmethod
    def of(cls, request: httpx.Request) -> "Timeouts":
        """Read the extension that httpx's clients fill."""
        given: dict[str, float | None] | None = request.extensions.get("timeout")
        if not given:
            return UNLIMITED
        return cls(
            given.get("connect"),
            given.get("read"),
            given.get("write"),
            given.get("pool"),
        )


UNLIMITED: Final = Timeouts()


def within(
    seconds: float | None,
    fault: type[httpx.TimeoutException],
    origin: Origin,
    what: str,
    call: Callable[[*Ts], Awaitable[T]],
    *args: *Ts,
) -> Awaitable[T]:
    """`call`, for at most so many seconds; without a limit it is `call` itself."""
    if seconds is None:
        return call(*args)
    return _within(seconds, fault, origin, what, call(*args))


async def _within(
    seconds: float,
    fault: type[httpx.TimeoutException],
    origin: Origin,
    what: str,
    called: Awaitable[T],
) -> T:
    with trio.move_on_after(seconds):
        return await called
    raise fault(f"{origin}: {what} took longer than {seconds} s")


@final
class Connection:
    """A wire and what the pool's rules want to know about it."""

    __slots__ = ("info", "kept", "kept_s", "opened_s", "wire")

    def __init__(self, wire: Wire, opened_s: float) -> None:
        self.wire: Final = wire
        self.opened_s: Final = opened_s
        self.kept = 0  # How often it was left for another request,
        self.kept_s = opened_s  # and when it last was.
        self.info: Final = NetworkInfo(wire)

    def __repr__(self) -> str:
        return f"<Connection {self.wire!r} kept={self.kept}>"


@final
class NetworkInfo:
    """httpx's `network_stream` extension, without the right to touch the stream."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def get_extra_info(self, info: str) -> object:
        """`server_addr`, `client_addr`, `socket`, `ssl_object`, or None."""
        return self._wire.get_extra_info(info)


@final
class Slot:
    """A leased place in a pool, with or without a connection; given back once."""

    __slots__ = ("_open", "_pool", "_settle", "clock", "connection", "origin", "token")

    def __init__(
        self,
        origin: Origin,
        pool: Pool[Connection],
        connection: Connection | None,
        settle: Callable[[Settled[Connection]], None],
        token: trio.lowlevel.TrioToken,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.origin: Final = origin
        self.connection = connection
        self.token: Final = token
        self.clock: Final = clock
        self._pool = pool
        self._settle = settle
        self._open = True

    def found_dead(self) -> None:
        """The peer had hung up, unannounced: such peers are asked each time."""
        self._pool.abrupt = True

    def drop(self) -> None:
        """Close the connection and free the slot, now."""
        if self._open:
            self._open = False
            if self.connection is not None:
                self.connection.wire.close()
            self._settle(self._pool.give_back(None, self.clock()))

    def keep(self) -> None:
        """Free the slot and leave the connection for the next request, if young."""
        connection = self.connection
        assert connection is not None
        now_s = self.clock()
        if now_s - connection.opened_s >= self._pool.limits.age_s_max:
            self.drop()
        elif self._open:
            self._open = False
            connection.kept += 1
            connection.kept_s = now_s
            self._settle(self._pool.give_back(connection, now_s))

    def __repr__(self) -> str:
        state = "held" if self._open else "given back"
        return f"<Slot {self.origin} {state} {self.connection!r}>"


@final
class KeyedHead:
    """The bytes of a head with a key in it, for as long as they are written."""

    __slots__ = ("_key", "_whole", "_written")

    def __init__(
        self, key: KeyUse, out: Outgoing, origin: Origin, *, secure: bool
    ) -> None:
        if key.name.lower() in out.names:
            raise httpx.LocalProtocolError(
                f"header field {key.name.decode('ascii', 'replace')} is set already;"
                " the key's use brings its own"
            )
        self._key = key
        self._whole = bytearray()
        head = bytearray(b"%b%b: %b" % (out.head, key.name, key.prefix))
        bare = len(head)
        joined = len(out.body) <= BODY_JOINED_BYTES_MAX
        tail = b"\r\n\r\n" + out.body if joined else b"\r\n\r\n"
        try:
            key.handle.write_key(head, host=origin.host, secure=secure)
            _check_key(head, bare)
            # A fresh buffer, not an append: growing one that holds a key may leave
            # a copy behind in freed memory.
            self._whole = bytearray(len(head) + len(tail))
            self._whole[: len(head)] = head
            self._whole[len(head) :] = tail
        finally:
            wipe(head)

    def __enter__(self) -> bytearray:
        return self._whole

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        wipe(self._whole)
        self._key.handle.spent()

    def __repr__(self) -> str:
        return "KeyedHead(…)"


def wipe(buffer: bytearray) -> None:
    """Overwrite in place; a slice of equal length moves nothing."""
    buffer[:] = bytes(len(buffer))


def _check_key(head: bytearray, bare: int) -> None:
    """Refuse a key that would end its field; look at the bytes without a copy."""
    if len(head) == bare:
        raise httpx.LocalProtocolError("the key is empty; store it again")
    if max(head.find(b"\r", bare), head.find(b"\n", bare), head.find(b"\0", bare)) >= 0:
        raise httpx.LocalProtocolError(
            "the key holds a line end or NUL; store it again without"
        )


async def send(wire: Wire, out: Outgoing, keyed: KeyedHead | None) -> None:
    """Write head and body: small bodies in one write with the head."""
    body = out.body
    joined = len(body) <= BODY_JOINED_BYTES_MAX
    if keyed is not None:
        with keyed as head_with_key:
            await wire.send_all(head_with_key)
    elif joined:
        await wire.send_all(b"%b\r\n%b" % (out.head, body))
    else:
        await wire.send_all(out.head + b"\r\n")
    if not joined:
        await wire.send_all(body)
    if out.stream is not None:
        await _send_stream(wire, out.stream, out.length)


async def _send_stream(
    wire: Wire, stream: httpx.AsyncByteStream, length: int | None
) -> None:
    pieces = aiter(stream)
    try:
        await _send_pieces(wire, pieces, length)
    finally:
        # Left half-way, a generator would have to be cleaned up by the collector.
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def _send_pieces(
    wire: Wire, pieces: AsyncIterator[bytes], length: int | None
) -> None:
    sent = 0
    async for piece in pieces:
        sent += len(piece)
        if length is None:
            if piece:  # An empty chunk would be the last one.
                await wire.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
            continue
        if sent > length:
            raise httpx.LocalProtocolError(
                f"content-length says {length}, the body goes on after it"
            )
        await wire.send_all(piece)
    if length is None:
        await wire.send_all(b"0\r\n\r\n")
    elif sent < length:
        raise httpx.LocalProtocolError(
            f"content-length says {length}, the body ended after {sent} bytes"
        )
