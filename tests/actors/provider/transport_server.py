"""A real upstream on loopback, and throw-away certificates for it."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "upstream.test"


Answer = Callable[[trio.abc.Stream], Awaitable[None]]


class Upstream:
    """Answers every request with `answer`, or by it; counts the living connections."""

    def __init__(self, answer: list[bytes] | Answer) -> None:
        self.answer = answer
        self.port = 0
        self.accepted = 0
        self.live = 0
        self.names: list[str | None] = []
        self.protocols: list[str | None] = []
        self._changed = trio.Condition()

    async def wait_alone(self) -> None:
        """Until no client is connected any more."""
        async with self._changed:
            while self.live:
                await self._changed.wait()

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.accepted += 1
        self.live += 1
        try:
            while await _read_request(stream):
                if callable(self.answer):
                    await self.answer(stream)
                    continue
                for piece in self.answer:
                    await stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
                async with self._changed:
                    self.live -= 1
                    self._changed.notify_all()


async def _read_request(stream: trio.abc.Stream) -> bool:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some(65_536)
        if not piece:
            return False
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        piece = await stream.receive_some(65_536)
        if not piece:
            return False
        body += piece
    return True


@asynccontextmanager
async def upstream(
    answer: list[bytes] | Answer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    """Serve on a port of the system's choosing, where every name leads to."""
    trio.socket.set_custom_hostname_resolver(OnlyResolver())
    server = Upstream(answer)

    async def serve(stream: trio.SocketStream) -> None:
        if tls is None:
            await server.serve(stream)
            return
        secured = trio.SSLStream(stream, tls, server_side=True)
        try:
            await secured.do_handshake()
            server.protocols.append(secured.selected_alpn_protocol())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(stream)
            return
        await server.serve(secured)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()


def certificate(folder: Path) -> Path:
    """Write a self-signed certificate for NAME and 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName(NAME),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "upstream.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def server_context(pem: Path, protocols: list[str] | None = None) -> ssl.SSLContext:
    """What the upstream presents."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if protocols is not None:
        context.set_alpn_protocols(protocols)
    return context


def client_context(pem: Path) -> ssl.SSLContext:
    """Trust this certificate and nothing else."""
    return ssl.create_default_context(cafile=str(pem))


class OnlyResolver(trio.abc.HostnameResolver):
    """Resolves every name to 127.0.0.1, with a checkpoint in which to be cancelled."""

    async def getaddrinfo(
        self, host: object, port: object, *_: object, **__: object
    ) -> list[Any]:
        await trio.lowlevel.checkpoint()
        kind, family = trio.socket.SOCK_STREAM, trio.socket.AF_INET
        return [(family, kind, 6, "", ("127.0.0.1", port))]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError
