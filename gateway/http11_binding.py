"""Addresses and sockets of the edge: bind, name, tune, and its TLS context.

Never: accepts, reads or writes.
"""

import contextlib
import errno
import os
import socket
import ssl
import stat

from hypercorn.config import Config

from gateway.http11_parser import Http11Limits
from gateway.http11_transport import EdgeDeadlines

BACKLOG = 1_024  # Connections the kernel holds for us during a burst or a GC pause.
KEEPALIVE_S = 60  # TCP probes: finds peers that vanished while nothing is sent.


def tls_context(
    certfile: str, keyfile: str, *, password: str | None = None
) -> ssl.SSLContext:
    """Hypercorn's server context (TLS 1.2 up, ALPN h2 and http/1.1).

    Loading a renewed chain into it takes effect for new connections.
    """
    config = Config()
    config.certfile, config.keyfile = certfile, keyfile
    config.keyfile_password = password
    context = config.create_ssl_context()
    assert context is not None
    return context


def bind(address: str, *, backlog: int = BACKLOG) -> socket.socket:
    """A listening socket: `host:port`, `[v6]:port`, `unix:/path` or `fd://3`.

    Raises:
        OSError: the address is taken, not ours or not allowed.
        ValueError: it is no address.
    """
    if address.startswith("fd://"):
        sock = socket.socket(fileno=int(address[5:]))
    elif address.startswith("unix:"):
        sock = _bind_unix(address[5:])
    else:
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit():
            raise ValueError(f"{address!r} is no host:port; write 127.0.0.1:8080")
        host = host.removeprefix("[").removesuffix("]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # One family a socket: `[::]` must not take IPv4's port as well.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, int(port)))
        except OSError:
            sock.close()
            raise
    sock.setblocking(False)
    sock.listen(backlog)
    return sock


def _bind_unix(path: str) -> socket.socket:
    """A socket file; one left behind by a dead server is replaced."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - beside os.unlink
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) == 0:
                    raise OSError(errno.EADDRINUSE, f"{path} is served already")
            os.unlink(path)  # noqa: PTH108 - a socket, not a document
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    return sock


def address_of(sock: socket.socket, *, tls: bool) -> str:
    """What a client would write: http://127.0.0.1:8080, https://[::1]:443, unix:/x."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"


def tune(sock: socket.socket, limits: Http11Limits, deadlines: EdgeDeadlines) -> None:
    """Set an accepted socket up: no Nagle, bounded kernel buffers, dead-peer checks."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    tcp = socket.IPPROTO_TCP
    # Nagle waits up to 40 ms for an acknowledgement before a small delta.
    sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    # The kernel gives up on a peer that acknowledges nothing, like we do.
    write_ms = int(deadlines.write_s * 1_000)
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, write_ms)
    sock.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, limits.kernel_unsent_bytes_max)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, KEEPALIVE_S // 4)
