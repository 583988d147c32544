"""TLS: who the peer is, which protocol it chose, where its bodies end."""

import contextlib
import functools
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trio

from actors.provider.http import prepare
from actors.provider.transport import Transport
from actors.vault.keyuse import KeyUse
from tests.actors.provider.transport_fakes import OK, ALease, read
from tests.actors.provider.transport_server import (
    NAME,
    OnlyResolver,
    certificate,
    client_context,
    server_context,
    upstream,
)


@pytest.fixture(name="pem", scope="module")
def _pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


async def test_sni_alpn_and_reuse(pem: Path) -> None:
    """One handshake serves two requests, and offers http/1.1 only."""
    asked: list[str | None] = []
    context = server_context(pem, ["h2", "http/1.1"])
    context.sni_callback = lambda _sock, name, _ctx: asked.append(name)  # type: ignore[assignment]
    client = Transport(tls=client_context(pem))

    async with upstream([OK], context) as server:
        for _ in range(2):
            url = f"https://{NAME}:{server.port}/"
            response = await client.handle_async_request(httpx.Request("GET", url))
            info = response.extensions["network_stream"]
            assert info.get_extra_info("server_addr")[1] == server.port
            assert info.get_extra_info("ssl_object").version() == "TLSv1.3"
            assert await read(response) == b"{}"
        await client.aclose()

    assert server.accepted == 1
    assert asked == [NAME]
    assert server.protocols == ["http/1.1"]


async def test_another_name_is_refused(pem: Path) -> None:
    """The error says what did not match, so that an operator can act on it."""
    client = Transport(tls=client_context(pem))

    async with upstream([OK], server_context(pem)) as server:
        request = httpx.Request("GET", f"https://other.test:{server.port}/")
        with pytest.raises(httpx.ConnectError, match=r"other\.test"):
            await client.handle_async_request(request)
        await server.wait_alone()

    assert list(client.statistics().values()) == [(0, 0, 0)]


async def test_an_unknown_issuer_is_refused_by_default(pem: Path) -> None:
    client = Transport()

    async with upstream([OK], server_context(pem)) as server:
        request = httpx.Request("GET", f"https://{NAME}:{server.port}/")
        with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
            await client.handle_async_request(request)


async def test_plain_text_in_the_place_of_a_handshake_is_refused(pem: Path) -> None:
    client = Transport(tls=client_context(pem))

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        request = httpx.Request("GET", f"https://127.0.0.1:{port}/")
        with pytest.raises(httpx.ConnectError, match="TLS handshake failed"):
            await client.handle_async_request(request)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)
async def test_large_bodies_pass_both_ways(pem: Path, version: ssl.TLSVersion) -> None:
    """Record by record, with the peer's reading as the brake."""
    body = bytes(range(256)) * 8_000
    context = server_context(pem)
    context.maximum_version = version
    client = Transport(tls=client_context(pem))
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)

    async with upstream([head, body], context) as server:
        prepared = prepare(f"https://{NAME}:{server.port}", "x", [])
        for _ in range(2):
            response = await client.handle_async_request(prepared.request(body))
            assert await read(response) == body
        await client.aclose()

    assert server.accepted == 1


async def test_session_tickets_do_not_look_like_a_hang_up(pem: Path) -> None:
    """They come unasked; a connection that got nothing else is as good as new."""
    trio.socket.set_custom_hostname_resolver(OnlyResolver())
    client = Transport(tls=client_context(pem))
    spent = ALease(b"sk-tls", uses_max=0)
    shaken = trio.Event()

    def serve() -> None:
        # OpenSSL's own server sends them at once; trio's would wait for our request.
        plain, _ = listener.accept()
        plain.settimeout(5)
        with server_context(pem).wrap_socket(plain, server_side=True) as secured:
            trio.from_thread.run_sync(shaken.set)
            secured.recv(65_536)
            secured.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        url = f"https://{NAME}:{listener.getsockname()[1]}/"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, serve)
            refused = httpx.Request(
                "GET", url, extensions={"stagedoor.key": KeyUse(b"x", b"", spent)}
            )
            with pytest.raises(PermissionError):
                await client.handle_async_request(refused)
            await shaken.wait()
            phases: list[str] = []
            request = httpx.Request(
                "GET", url, extensions={"stagedoor.phase": phases.append}
            )
            assert await read(await client.handle_async_request(request)) == b"{}"

    assert phases == ["write", "headers"], "no second handshake"
    await client.aclose()


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
async def test_a_lease_learns_whether_the_peer_was_verified(
    pem: Path, *, verified: bool
) -> None:
    """Encrypted to nobody in particular is not secure."""
    context = client_context(pem)
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    client = Transport(tls=context)
    lease = ALease(b"sk-tls")
    key = KeyUse(b"authorization", b"Bearer ", lease)

    async with upstream([OK], server_context(pem)) as server:
        request = httpx.Request(
            "GET",
            f"https://{NAME}:{server.port}/",
            extensions={"stagedoor.key": key},
        )
        if verified:
            await read(await client.handle_async_request(request))
        else:
            with pytest.raises(PermissionError):
                await client.handle_async_request(request)
        await client.aclose()

    assert lease.asked == [(NAME, verified)]
    assert lease.spent_count == int(verified)


async def test_a_body_that_ends_with_the_connection_needs_a_close_notify(
    pem: Path,
) -> None:
    """Without it, anybody on the path could have cut the answer short."""
    answer = b"HTTP/1.1 200 OK\r\n\r\npart of a body"
    client = Transport(tls=client_context(pem))
    trio.socket.set_custom_hostname_resolver(OnlyResolver())
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve(polite: bool) -> None:
        listener.settimeout(5)
        plain, _ = listener.accept()
        plain.settimeout(5)
        with server_context(pem).wrap_socket(plain, server_side=True) as secured:
            secured.recv(65_536)
            secured.sendall(answer)
            if polite:
                # Sends ours, then waits for theirs: which never comes.
                with contextlib.suppress(OSError):
                    secured.unwrap()
            else:
                secured.shutdown(socket.SHUT_RDWR)

    with listener:
        for polite in (True, False):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, serve, polite)
                request = httpx.Request("GET", f"https://{NAME}:{port}/")
                response = await client.handle_async_request(request)
                if polite:
                    assert await read(response) == b"part of a body"
                else:
                    with pytest.raises(httpx.ReadError):
                        await read(response)
