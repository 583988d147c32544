"""Dial: from an origin to a wire, plain or TLS.

Name lookup and happy eyeballs are trio's, for names; an address has neither, and a dial
of it takes a sixth of the time. TCP_NODELAY and keep-alive probes are set.
Never retries: a refused dial is the router's business.
"""

import functools
import ssl
from typing import Final

import trio

from actors.provider.reach import is_metadata
from actors.provider.tls_wire import TlsWire
from actors.provider.wires import WIRE_FAULTS, Origin, PhaseHook, SocketWire, Wire

ORIGINS_KNOWN: Final = 256  # Of what their hosts are; a gateway has a few dozen.


class DialRefused(Exception):
    """No connection came about; the text says why."""


async def dial(origin: Origin, tls: ssl.SSLContext | None, phase: PhaseHook) -> Wire:
    """Connect to an origin: happy eyeballs, TCP_NODELAY, TLS with SNI and ALPN.

    Raises:
        DialRefused: name, network or handshake failed, or no provider is there.
    """
    phase("connect")
    try:
        stream = await _connect(origin.host, origin.port)
        # Of the connection itself: a name may lead elsewhere each time it is asked.
        peer = str(stream.socket.getpeername()[0])
    except OSError as error:
        raise DialRefused(f"cannot connect: {_reason(error)}") from error
    if is_metadata(peer):
        stream.socket.close()
        raise DialRefused(f"{peer} is link-local or a metadata service, no provider")
    try:
        wire = SocketWire(stream)
    except OSError as error:
        raise DialRefused(f"cannot watch the connection: {_reason(error)}") from error
    if tls is None:
        return wire
    try:
        phase("tls")
        return await _secured(wire, tls, origin.host)
    except BaseException:
        wire.close()
        raise


async def _connect(host: str, port: int) -> trio.SocketStream:
    family = _family(host)
    if family is None:
        return await trio.open_tcp_stream(host, port)
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        await sock.connect((host, port))
        return trio.SocketStream(sock)
    except BaseException:
        sock.close()
        raise


@functools.lru_cache(ORIGINS_KNOWN)
def _family(host: str) -> int | None:
    """Of an address; None for a name, and for an address with a zone."""
    for family in (trio.socket.AF_INET, trio.socket.AF_INET6):
        try:
            trio.socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return family
    return None


async def _secured(wire: SocketWire, tls: ssl.SSLContext, host: str) -> TlsWire:
    secured = TlsWire(wire, tls, host)
    try:
        await secured.shake_hands()
    except WIRE_FAULTS as error:
        raise DialRefused(f"TLS handshake failed: {_reason(error)}") from error
    chosen = secured.protocol
    if chosen not in (None, "http/1.1"):
        raise DialRefused(f"the peer chose {chosen!r} by ALPN, we speak http/1.1")
    return secured


def _reason(error: BaseException) -> str:
    """Say what went wrong in one line; trio keeps it below the group it raises."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error) or type(error).__name__
