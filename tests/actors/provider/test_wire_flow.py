"""Bytes that flow: handed over as they come, and only while somebody wants them."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from actors.provider.body import BodyStream
from actors.provider.transport import Transport
from actors.provider.wires import READ_BYTES, SocketWire
from runtime.poller import poller_here
from tests.actors.provider.transport_fakes import SSE
from tests.actors.provider.transport_server import (
    NAME,
    certificate,
    client_context,
    server_context,
    upstream,
)

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(name="pem", scope="module")
def _pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[SocketWire, socket.socket]]:
    """A wire, and the peer's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.getsockname()[1])
        theirs, _ = server.accept()
    wire = SocketWire(stream)
    try:
        yield wire, theirs
    finally:
        wire.close()
        theirs.close()


class Taker:
    """Takes what comes until it has had enough."""

    def __init__(self, enough: bytes = b"") -> None:
        self.pieces: list[bytes] = []
        self.enough = enough
        self.fault: Exception | None = None

    def __call__(self, data: bytes) -> bool:
        self.pieces.append(data)
        if self.fault is not None:
            raise self.fault
        return data != self.enough


async def everything(body: BodyStream, taker: Taker) -> None:
    """Flowing, and asked for where it does not flow."""
    await body.flow(taker)
    async for piece in body:
        taker(piece)
        await body.flow(taker)


async def quiet() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_pieces_flow_without_waking_the_task_that_waits() -> None:
    async with connected() as (wire, theirs), trio.open_nursery() as nursery:
        taker = Taker(enough=b"stop")
        steps: list[int] = []

        async def flow() -> None:
            await wire.flow(taker)
            steps.append(len(taker.pieces))

        nursery.start_soon(flow)
        await quiet()
        for piece in (b"a", b"b", b"stop"):
            theirs.send(piece)
            await quiet()
        theirs.send(b"later")  # Nobody wants it: it stays in the kernel.
        await quiet()
        assert taker.pieces == [b"a", b"b", b"stop"]
        assert steps == [3]
        await wire.flow(taker)  # It is readable: to be asked for.
        assert await wire.receive() == b"later"
        assert taker.pieces == [b"a", b"b", b"stop"]


async def test_a_full_read_is_followed_by_one_that_is_asked_for() -> None:
    """However much there is, the others have their turn in between."""
    async with connected() as (wire, theirs), trio.open_nursery() as nursery:
        taker = Taker()
        nursery.start_soon(wire.flow, taker)
        await quiet()
        theirs.sendall(b"x" * (READ_BYTES + 1))
        with trio.fail_after(5):
            while nursery.child_tasks:
                await trio.lowlevel.checkpoint()
        assert [len(piece) for piece in taker.pieces] == [READ_BYTES]
        assert await wire.receive() == b"x"


async def test_the_end_that_comes_with_the_last_bytes_is_met() -> None:
    async with connected() as (wire, theirs):
        theirs.send(b"last")
        theirs.shutdown(socket.SHUT_WR)
        await quiet()
        taker = Taker()
        await wire.flow(taker)
        assert await wire.receive() == b"last"
        await wire.flow(taker)
        assert await wire.receive() == b""
        assert taker.pieces == []


async def test_the_end_of_a_flow_is_handed_over_too() -> None:
    async with connected() as (wire, theirs), trio.open_nursery() as nursery:
        taker = Taker(enough=b"")
        nursery.start_soon(wire.flow, taker)
        await quiet()
        theirs.shutdown(socket.SHUT_WR)
        await quiet()
        assert taker.pieces == [b""]


async def test_a_reset_is_raised_where_it_is_waited_for() -> None:
    async with connected() as (wire, theirs), trio.open_nursery() as nursery:

        async def flow() -> None:
            with pytest.raises(ConnectionResetError):
                await wire.flow(Taker())

        nursery.start_soon(flow)
        await quiet()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        theirs.close()


async def test_what_the_taker_raises_is_raised_there_as_well() -> None:
    async with connected() as (wire, theirs):
        taker = Taker()
        taker.fault = RuntimeError("taker")
        async with trio.open_nursery() as nursery:

            async def flow() -> None:
                with pytest.raises(RuntimeError, match="taker"):
                    await wire.flow(taker)

            nursery.start_soon(flow)
            await quiet()
            theirs.send(b"x")


async def test_a_cancelled_flow_takes_nothing_more() -> None:
    async with connected() as (wire, theirs):
        taker = Taker()
        with trio.move_on_after(0):
            await wire.flow(taker)
        theirs.send(b"x")
        await quiet()
        assert taker.pieces == []
        assert await wire.receive() == b"x"


async def test_a_taker_may_end_its_own_task() -> None:
    """As a client does that is found gone: its call is cancelled in the same turn."""
    async with connected() as (wire, theirs):
        with trio.CancelScope() as scope:

            def take(data: bytes) -> bool:
                del data
                scope.cancel()
                return False

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.flow, take)
                await quiet()
                theirs.send(b"x")
        assert scope.cancelled_caught


async def test_closing_wakes_who_waits_and_two_readers_are_refused() -> None:
    async with connected() as (wire, _), trio.open_nursery() as nursery:

        async def flow() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wire.flow(Taker())

        nursery.start_soon(flow)
        await quiet()
        with pytest.raises(trio.BusyResourceError):
            await wire.receive()
        wire.close()


async def test_plain_text_flows_out_of_tls_and_a_bare_close_is_a_cut(
    pem: Path,
) -> None:
    client = Transport(tls=client_context(pem))
    go = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.send_all(SSE + b"5\r\nfirst\r\n")
        await go.wait()
        await stream.send_all(b"6\r\nsecond\r\n")
        await quiet()
        await stream.send_all(b"5\r\nthird\r\n")
        await quiet()
        stream.transport_stream.socket.shutdown(socket.SHUT_WR)
        await quiet()

    async with upstream(serve, server_context(pem)) as server:
        url = f"https://{NAME}:{server.port}/"
        response = await client.handle_async_request(httpx.Request("POST", url))
        body = response.stream
        assert isinstance(body, BodyStream)
        assert await anext(body) == b"first"
        taker = Taker()
        go.set()
        with pytest.raises(httpx.ReadError):
            await everything(body, taker)
        assert b"".join(taker.pieces) == b"secondthird"
        await client.aclose()


async def test_a_body_that_flowed_to_its_end_leaves_its_connection() -> None:
    client = Transport()
    go = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.send_all(SSE + b"5\r\nfirst\r\n")
        await go.wait()
        await stream.send_all(b"6\r\nsecond\r\n")
        await quiet()
        await stream.send_all(b"4\r\nlast\r\n0\r\n\r\n")

    async with upstream(serve) as server:
        for _ in range(2):
            url = f"http://127.0.0.1:{server.port}"
            response = await client.handle_async_request(httpx.Request("POST", url))
            body = response.stream
            assert isinstance(body, BodyStream)
            taker = Taker()
            async for piece in body:
                go.set()
                taker(piece)
                await body.flow(taker)
            assert b"".join(taker.pieces) == b"firstsecondlast"
        assert server.accepted == 1
        await client.aclose()


CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\n"


@pytest.mark.parametrize(
    ("pieces", "keeps"),
    [
        ([SSE + b"5\r\nfirst\r\n", b"4\r\nlast\r\n0\r\n\r\n"], True),
        (
            [
                CLOSING + b"transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
                b"4\r\nlast\r\n0\r\n\r\n",
            ],
            True,
        ),
        (
            [
                CLOSING + b"transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
                b"4\r\nlast\r\n",
                b"0\r\n\r\n",
            ],
            True,
        ),
        ([CLOSING + b"content-length: 9\r\n\r\nfirst", b"last"], True),
        ([CLOSING + b"\r\nfirst", b"last"], False),
        ([b"HTTP/1.0 200 OK\r\n\r\nfirst", b"last"], False),
    ],
)
@pytest.mark.parametrize("enough", [b"", b"last"])
async def test_an_end_that_also_ends_the_connection_is_an_end_and_no_break(
    pieces: list[bytes], keeps: bool, enough: bytes
) -> None:
    client = Transport()

    async def serve(stream: trio.abc.Stream) -> None:
        for piece in pieces:
            await stream.send_all(piece)
            await quiet()
        if not keeps:
            await stream.aclose()

    async with upstream(serve) as server:
        url = f"http://127.0.0.1:{server.port}"
        response = await client.handle_async_request(httpx.Request("POST", url))
        body = response.stream
        assert isinstance(body, BodyStream)
        taker = Taker(enough)
        await everything(body, taker)
        assert b"".join(taker.pieces) == b"firstlast"
        assert [one[0] for one in client.statistics().values()] == [0]
        await client.aclose()


async def test_what_tls_says_is_over_is_over_though_its_connection_is_not(
    pem: Path,
) -> None:
    client = Transport(tls=client_context(pem))
    go = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.send_all(CLOSING + b"\r\nfirst")
        await go.wait()
        sock = stream.transport_stream.socket
        # Text and close_notify arrive in one read.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await stream.send_all(b"last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.unwrap)  # It waits for the client's.
            await quiet()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    async with upstream(serve, server_context(pem)) as server:
        url = f"https://{NAME}:{server.port}/"
        response = await client.handle_async_request(httpx.Request("POST", url))
        body = response.stream
        assert isinstance(body, BodyStream)
        assert await anext(body) == b"first"
        go.set()
        taker = Taker(enough=b"last")
        with trio.fail_after(5):
            await body.flow(taker)
            await body.flow(taker)
            assert [piece async for piece in body] == []
        assert taker.pieces == [b"last"]
        await client.aclose()


async def test_a_body_that_breaks_while_it_flows_frees_its_slot() -> None:
    client = Transport()
    go = trio.Event()

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.send_all(SSE + b"5\r\nfirst\r\n")
        await go.wait()
        await stream.send_all(b"no chunk\r\n")
        await quiet()

    async with upstream(serve) as server:
        url = f"http://127.0.0.1:{server.port}"
        response = await client.handle_async_request(httpx.Request("POST", url))
        body = response.stream
        assert isinstance(body, BodyStream)
        assert await anext(body) == b"first"
        go.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await body.flow(Taker())
        assert list(client.statistics().values()) == [(0, 0, 0)]
        await client.aclose()


async def test_a_connection_that_cannot_be_watched_is_refused_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    client = Transport()
    async with upstream([SSE]) as server:
        monkeypatch.setattr(poller_here(), "add", full)
        request = httpx.Request("GET", f"http://127.0.0.1:{server.port}")
        with pytest.raises(httpx.ConnectError, match="cannot watch"):
            await client.handle_async_request(request)
        await server.wait_alone()
    assert list(client.statistics().values()) == [(0, 0, 0)]
