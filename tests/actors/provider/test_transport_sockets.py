"""Over real sockets: what scripted wires cannot show."""

import gc
import socket
import struct

import httpx
import pytest
import trio
from trio.testing import MockClock

from actors.provider.http import prepare
from actors.provider.transport import FRESH_S, Transport
from actors.provider.wires import READ_BYTES
from tests.actors.provider.transport_fakes import OK, SSE, read
from tests.actors.provider.transport_server import upstream

BODY = b"x" * 4_000_000  # More than any socket buffer takes at once.


async def test_a_large_body_waits_for_the_peer_to_read() -> None:
    client = Transport()

    async with upstream([OK]) as server:
        url = f"http://127.0.0.1:{server.port}"
        request = prepare(url, "x", []).request(BODY)
        response = await client.handle_async_request(request)

        assert await read(response) == b"{}"
        info = response.extensions["network_stream"]
        sock = info.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await client.aclose()
        await server.wait_alone()


async def test_a_large_response_comes_in_bounded_pieces() -> None:
    """However fast the peer is, one read's worth is held."""
    client = Transport()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY)

    async with upstream([answer, BODY]) as server:
        url = f"http://127.0.0.1:{server.port}"
        response = await client.handle_async_request(httpx.Request("GET", url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        sizes = [len(piece) async for piece in response.stream]
        await client.aclose()

    assert sum(sizes) == len(BODY)
    assert max(sizes) <= READ_BYTES


async def test_a_peer_that_hangs_up_at_once_is_asked_before_each_request() -> None:
    """After it was found out by one request, which went out again."""
    client = Transport()
    answered = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(OK)
        await stream.aclose()
        answered.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve_on_loopback, serve)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        sent = ["write", "headers"]
        alone = ["connect", *sent]
        for expected in (alone, [*sent, *alone], alone, alone):
            answered = trio.Event()
            phases: list[str] = []
            request = httpx.Request(
                "GET", url, extensions={"stagedoor.phase": phases.append}
            )
            assert await read(await client.handle_async_request(request)) == b"{}"
            assert phases == expected
            await answered.wait()
        nursery.cancel_scope.cancel()
    await client.aclose()


async def test_a_peer_that_hung_up_while_idle_is_noticed_before_the_request(
    mock_clock: MockClock,
) -> None:
    """By one poll, without sending anything into the void."""
    client = Transport()
    hung_up = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(OK)
        await stream.aclose()
        hung_up.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve_on_loopback, serve)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        for _ in range(2):
            hung_up = trio.Event()
            phases: list[str] = []
            request = httpx.Request(
                "GET", url, extensions={"stagedoor.phase": phases.append}
            )
            assert await read(await client.handle_async_request(request)) == b"{}"
            assert phases == ["connect", "write", "headers"]
            await hung_up.wait()
            mock_clock.jump(FRESH_S)
        nursery.cancel_scope.cancel()
    await client.aclose()


async def test_a_reset_in_the_body_is_a_read_error() -> None:
    client = Transport()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(SSE + b"1\r\na\r\n")
        await release.wait()
        # Closing with this option sends RST in the place of FIN.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    release = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve_on_loopback, serve)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        response = await client.handle_async_request(httpx.Request("GET", url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = aiter(response.stream)
        assert await anext(body) == b"a"
        release.set()
        with pytest.raises(httpx.ReadError, match="broke in the body"):
            await anext(body)
        nursery.cancel_scope.cancel()


async def test_closing_from_another_task_wakes_the_reader() -> None:
    """A stream that is cut off from outside ends with an error, not with a hang."""
    client = Transport()

    async with upstream([SSE]) as server, trio.open_nursery() as nursery:
        url = f"http://127.0.0.1:{server.port}"
        response = await client.handle_async_request(httpx.Request("GET", url))

        async def reader() -> None:
            with pytest.raises(httpx.ReadError):
                await read(response)

        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        await response.aclose()
    assert list(client.statistics().values()) == [(0, 0, 0)]


async def test_a_closed_port_refuses_in_plain_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Transport()

    with pytest.raises(
        httpx.ConnectError, match=rf":{port}: cannot connect: .*refused"
    ):
        await client.handle_async_request(
            httpx.Request("GET", f"http://127.0.0.1:{port}/")
        )


async def test_httpx_own_transport_takes_prepared_requests() -> None:
    """For HTTP/2 and proxies: the drop-in that the stream actor need not know."""
    async with upstream([OK]) as server, httpx.AsyncHTTPTransport() as stock:
        url = f"http://127.0.0.1:{server.port}"
        request = prepare(url, "x", [(b"x-a", b"1")]).request(b"{}")
        response = await stock.handle_async_request(request)

        assert await read(response) == b"{}"


async def test_a_request_leaves_nothing_to_the_collector() -> None:
    """Cycles by the thousand a second would stop every stream while they are found."""
    client = Transport()

    async with upstream([SSE, b"1\r\na\r\n", b"0\r\n\r\n"]) as server:
        prepared = prepare(f"http://127.0.0.1:{server.port}", "x", [])
        await read(await client.handle_async_request(prepared.request(b"{}")))
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await read(await client.handle_async_request(prepared.request(b"{}")))
            response = await client.handle_async_request(prepared.request(b"{}"))
            await response.aclose()
            del response
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            ours = [
                thing
                for thing in gc.garbage
                if type(thing).__module__.startswith(("actors", "httpx", "httptools"))
            ]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        await client.aclose()

    assert ours == []


async def serve_on_loopback(handler, *, task_status) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    await trio.serve_tcp(handler, 0, host="127.0.0.1", task_status=task_status)
