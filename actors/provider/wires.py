"""Sockets as the transport wants them: dial, send, receive, close at once.

A `Wire` is less than a trio stream: its `close` is synchronous (so that cleaning up
after a cancel needs no shield and no checkpoint), it can say whether an idle peer hung
up, and it reads only when asked. `dial` makes one for an origin, plain or TLS.

Owns nothing beyond the one socket. Never retries.
"""

import select
import socket
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

import trio

# One read. Larger does not pay (a TLS record is 16 KiB, a delta 200 bytes); it is also
# what an open stream may hold of a body that its consumer has not asked for yet.
READ_BYTES: Final = 32_768
# A half-open peer is found in about two minutes, below the patience of most NATs.
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 20
KEEPALIVE_PROBES: Final = 3

# What a wire raises when the peer or the network failed. ssl.SSLError is an OSError.
WIRE_FAULTS: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

PhaseHook: TypeAlias = Callable[[str], object]


class Origin(NamedTuple):
    """Where a connection leads."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Wire(Protocol):
    """One connected byte stream."""

    @property
    def secure(self) -> bool:
        """TLS, with the certificate and the server's name verified."""
        ...

    async def send_all(self, data: bytes | bytearray) -> None:
        """Write all of it."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes, at most READ_BYTES; empty at the end of the stream."""
        ...

    def quiet(self) -> bool:
        """Whether an idle wire is still usable: nothing came, nobody hung up."""
        ...

    def close(self) -> None:
        """Close the socket now; harmless when repeated."""
        ...

    def get_extra_info(self, info: str) -> object:
        """What httpx's `network_stream` extension tells about the connection."""
        ...


class Dial(Protocol):
    """Makes wires; tests and unusual networks bring their own."""

    async def __call__(
        self, origin: Origin, tls: ssl.SSLContext | None, phase: PhaseHook
    ) -> Wire:
        """Connect to `origin`, over TLS if a context is given."""
        ...


class SocketWire:
    """A plain TCP connection, driven without trio's stream layers (2 of 3 µs)."""

    __slots__ = ("_open", "_poll", "_socket")

    secure: bool = False

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over the stream's descriptor; the stream is of no use afterwards."""
        self._socket = _detach(stream.socket)
        self._poll = _hangup_poll(self._socket)
        self._open = True

    async def send_all(self, data: bytes | bytearray) -> None:
        """Write all of it."""
        # A checkpoint for cancels only: the read that follows every write yields.
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self._send(data)
        if sent == len(data):
            return
        with memoryview(data) as view:
            while sent < len(view):
                await trio.lowlevel.wait_writable(self._socket)
                sent += self._send(view[sent:])

    async def receive(self) -> bytes:
        """Wait for bytes; empty at the end of the stream."""
        # Wait first, always: the common read finds nothing yet, and the wait is the
        # checkpoint that a read needs in any case.
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:  # A spurious wake-up.
                continue

    def quiet(self) -> bool:
        """Whether nothing came and nobody hung up."""
        # One syscall a reuse, on a poll object made once a connection.
        return self._open and not self._poll.poll(0)

    def close(self) -> None:
        """Close the socket now."""
        if self._open:
            self._open = False
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def get_extra_info(self, info: str) -> object:
        """Answer httpx's `network_stream` questions."""
        return _socket_info(self._socket, info) if self._open else None

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def __repr__(self) -> str:
        return f"<SocketWire {'open' if self._open else 'closed'}>"


class TlsWire:
    """A TLS connection over trio's SSLStream."""

    __slots__ = ("_open", "_poll", "_socket", "_stream", "secure")

    def __init__(
        self, socket_: trio.socket.SocketType, stream: trio.SSLStream[trio.SocketStream]
    ) -> None:
        """`stream` has shaken hands over `socket_`."""
        self._socket = socket_
        self._stream = stream
        self._poll = _hangup_poll(socket_)
        self._open = True
        context: ssl.SSLContext = stream.context
        self.secure: bool = (
            context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        )

    async def send_all(self, data: bytes | bytearray) -> None:
        """Write all of it."""
        await self._stream.send_all(data)

    async def receive(self) -> bytes:
        """Wait for bytes; empty at the end of the stream."""
        return bytes(await self._stream.receive_some(READ_BYTES))

    def quiet(self) -> bool:
        """Whether nothing came and nobody hung up."""
        # Any byte condemns the connection. A late session ticket does so too, which
        # costs a handshake; a close_notify looks just the same from here.
        pending: int = self._stream.pending()
        return self._open and not pending and not self._poll.poll(0)

    def close(self) -> None:
        """Close the socket now."""
        # No close_notify: it could block, and every response says itself where it
        # ends. (The peer's is demanded where only the close ends a body.)
        if self._open:
            self._open = False
            self._socket.close()

    def get_extra_info(self, info: str) -> object:
        """Answer httpx's `network_stream` questions."""
        if not self._open:
            return None
        if info == "ssl_object":
            return self._stream
        return _socket_info(self._socket, info)

    def __repr__(self) -> str:
        return f"<TlsWire {'open' if self._open else 'closed'}>"


class DialRefused(Exception):  # noqa: N818 - says who refused, as httpx.ConnectError does
    """No connection came about; the text says why."""


async def dial(origin: Origin, tls: ssl.SSLContext | None, phase: PhaseHook) -> Wire:
    """Connect to an origin: happy eyeballs, TCP_NODELAY, TLS with SNI and ALPN.

    Raises:
        DialRefused: name, network or handshake failed.
    """
    phase("connect")
    try:
        stream = await trio.open_tcp_stream(origin.host, origin.port)
    except OSError as error:
        raise DialRefused(f"cannot connect: {_reason(error)}") from error
    try:
        _keep_alive(stream.socket)
        if tls is None:
            return SocketWire(stream)
        phase("tls")
        return await _shake_hands(stream, tls, origin.host)
    except BaseException:
        stream.socket.close()
        raise


async def _shake_hands(
    stream: trio.SocketStream, tls: ssl.SSLContext, host: str
) -> TlsWire:
    secured: trio.SSLStream[trio.SocketStream] = trio.SSLStream(
        stream, tls, server_hostname=host
    )
    try:
        await secured.do_handshake()
    except WIRE_FAULTS as error:
        cause = error.__cause__ or error
        raise DialRefused(f"TLS handshake failed: {_reason(cause)}") from error
    chosen: object = secured.selected_alpn_protocol()
    if chosen not in (None, "http/1.1"):
        raise DialRefused(f"the peer chose {chosen!r} by ALPN, we speak http/1.1")
    return TlsWire(stream.socket, secured)


def _reason(error: BaseException) -> str:
    """Say what went wrong in one line; trio keeps it below the group it raises."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error) or type(error).__name__


def _keep_alive(socket_: trio.socket.SocketType) -> None:
    socket_.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        option = getattr(socket, name, None)  # Not every system has all three.
        if option is not None:
            socket_.setsockopt(socket.IPPROTO_TCP, option, value)


def _detach(wrapped: trio.socket.SocketType) -> socket.socket:
    plain = socket.socket(
        wrapped.family, wrapped.type, wrapped.proto, fileno=wrapped.detach()
    )
    plain.setblocking(False)
    return plain


def _hangup_poll(socket_: socket.socket | trio.socket.SocketType) -> select.poll:
    poll = select.poll()
    # POLLERR and POLLHUP are always reported.
    poll.register(socket_.fileno(), select.POLLIN)
    return poll


def _socket_info(socket_: socket.socket | trio.socket.SocketType, info: str) -> object:
    try:
        match info:
            case "server_addr":
                return socket_.getpeername()
            case "client_addr":
                return socket_.getsockname()
            case "socket":
                return socket_
            case _:
                return None
    except OSError:  # The peer is gone already.
        return None
