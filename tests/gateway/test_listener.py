"""Binding, accepting within limits, the lifespan, and the tuning of sockets."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypercorn.utils import LifespanFailureError

from gateway.http11 import EdgeStatistics
from gateway.http11_binding import BACKLOG, address_of, bind, tune
from gateway.http11_parser import Http11Limits
from gateway.http11_transport import EdgeDeadlines
from gateway.listener import report_by_log, serve
from tests.gateway.support_http11 import (
    GET,
    Client,
    conn_of,
    echo,
    error_body,
    reply,
    running,
    until,
)


async def ask_unix(path: str) -> tuple[int, bytes]:
    async with await trio.open_unix_socket(path) as stream:
        return await Client(stream).ask(GET)


async def test_ipv4_ipv6_and_unix_sockets_are_served_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "edge.sock")
    seen: list[object] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["client"] and scope["client"][0])
        await reply(send)

    addresses: list[str] = []
    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(
                handler_without_lifespan(handler),
                binds=["127.0.0.1:0", "[::1]:0", f"unix:{path}"],
                error_body=error_body,
                shutdown=stop.wait,
                report=lambda _what, _error: None,
                task_status=task_status,
            )

        addresses = await nursery.start(run)
        for address in addresses[:2]:
            host, _, port = address.removeprefix("http://").rpartition(":")
            stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
            async with stream:
                assert (await Client(stream).ask(GET))[0] == 200
        assert await ask_unix(path) == (200, b"hello")
        stop.set()

    assert addresses[0].startswith("http://127.0.0.1:")
    assert addresses[1].startswith("http://[::1]:")
    assert addresses[2] == f"unix:{path}"
    assert seen == ["127.0.0.1", "::1", None]
    assert not await trio.Path(path).exists()


def handler_without_lifespan(handler: Any) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")  # Allowed: ASGI goes on without.
        await handler(scope, receive, send)

    return app


async def test_a_socket_that_is_bound_already_is_served() -> None:
    """As a parent process hands one down to its workers."""
    listening = bind("127.0.0.1:0")
    inherited = bind(f"fd://{os.dup(listening.fileno())}")
    listening.close()
    async with running(echo, binds=[inherited]) as server:
        client = await server.connect()
        assert (await client.ask(GET))[0] == 200


def test_a_socket_file_left_behind_is_replaced_and_a_served_one_is_not(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "edge.sock")
    bind(f"unix:{path}").close()
    assert Path(path).exists()
    with bind(f"unix:{path}"), pytest.raises(OSError, match="is served already"):
        bind(f"unix:{path}")


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear")
    with pytest.raises(OSError, match="in use"):
        bind(f"unix:{path}")
    assert path.read_text() == "dear"


@pytest.mark.parametrize("address", ["8080", "localhost", "127.0.0.1:http", ""])
def test_an_address_that_is_none_says_how_to_write_one(address: str) -> None:
    with pytest.raises(ValueError, match=r"write 127\.0\.0\.1:8080"):
        bind(address)


def test_a_port_in_use_is_an_error_at_once() -> None:
    with bind("127.0.0.1:0") as taken, pytest.raises(OSError, match="in use"):
        bind(f"127.0.0.1:{taken.getsockname()[1]}")


def test_addresses_are_written_as_clients_write_them() -> None:
    with bind("127.0.0.1:0") as four, bind("[::1]:0") as six:
        assert (
            address_of(four, tls=True) == f"https://127.0.0.1:{four.getsockname()[1]}"
        )
        assert address_of(six, tls=False) == f"http://[::1]:{six.getsockname()[1]}"


def test_accepted_sockets_are_tuned() -> None:
    left, right = socket.socket(), socket.socket()
    with left, right:
        tune(left, Http11Limits(), EdgeDeadlines(write_s=12))
        tcp = socket.IPPROTO_TCP
        assert left.getsockopt(tcp, socket.TCP_NODELAY) == 1
        assert left.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 12_000
        assert left.getsockopt(tcp, socket.TCP_NOTSENT_LOWAT) == 131_072
        assert left.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert not left.getblocking()
    assert BACKLOG >= 128


async def test_at_the_limit_the_longest_idle_connection_makes_room() -> None:
    async with running(echo, limits=Http11Limits(connections_max=3)) as server:
        clients = [await server.connect() for _ in range(3)]
        for client in clients:
            await client.ask(GET)
        await clients[0].ask(GET)  # So the second has been idle longest.
        newcomer = await server.connect()
        assert (await newcomer.ask(GET))[0] == 200
        assert await clients[1].rest() == b""
        for client in (clients[0], clients[2]):
            assert (await client.ask(GET))[0] == 200


async def test_at_the_limit_with_none_idle_the_newcomer_waits(
    mock_clock: trio.testing.MockClock,
) -> None:
    go_on = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        await reply(send)

    async with running(handler, limits=Http11Limits(connections_max=1)) as server:
        busy, newcomer = await server.connect(), await server.connect()
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
        await newcomer.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.005)
        go_on.set()
        assert (await busy.answer())[0].status_code == 200
        await trio.testing.wait_all_tasks_blocked(0.005)
        mock_clock.jump(1)  # Now it is idle, and is asked to make room.
        assert (await newcomer.answer())[0].status_code == 200


async def test_out_of_file_descriptors_the_edge_waits_and_goes_on(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted(socket.socket):
        """A listening socket that fails like one in a process without descriptors."""

        failures = 2

        def accept(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    plain = bind("127.0.0.1:0")
    listening = Exhausted(fileno=plain.detach())
    async with running(echo, binds=[listening]) as server:
        client = await server.connect()
        await client.send(GET)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked(0.005)
            mock_clock.jump(0.2)
        assert (await client.answer())[0].status_code == 200
    assert listening.failures == 0


async def test_the_lifespan_surrounds_the_requests_and_its_state_reaches_them() -> None:
    order: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{step}"
                order.append(step)
                scope["state"]["answer"] = b"42"
                await send({"type": f"lifespan.{step}.complete"})
            return
        order.append("request")
        await reply(send, scope["state"]["answer"])
        scope["state"]["answer"] = b"mine alone"

    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(
                app,
                binds=["127.0.0.1:0"],
                error_body=error_body,
                shutdown=stop.wait,
                task_status=task_status,
            )

        (address,) = await nursery.start(run)
        port = int(address.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            client = Client(stream)
            assert await client.ask(GET) == (200, b"42")
            assert await client.ask(GET) == (200, b"42")
        stop.set()

    assert order == ["startup", "request", "request", "shutdown"]


async def test_an_app_that_refuses_to_start_is_one_plain_error() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LifespanFailureError, match="no database"):
        await serve(
            app,
            binds=["127.0.0.1:0"],
            error_body=error_body,
            shutdown=trio.sleep_forever,
        )


async def test_a_second_stop_is_not_needed_when_nobody_is_connected() -> None:
    async with running(echo) as server:
        server.stop.set()
        await server.stopped.wait()


async def test_a_vanished_client_of_each_kind_leaves_nothing_behind() -> None:
    conns: list[Any] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        conns.append(conn_of(scope)._connection)
        await echo(scope, receive, send)

    async with running(handler) as server:
        for request in (GET, GET[:9], b""):
            client = await server.connect()
            await client.ask(GET)
            await client.send(request)
            await trio.testing.wait_all_tasks_blocked()
            await client.stream.aclose()
        statistics = conns[0].edge.statistics
        await until(lambda: statistics().connections == 0)

    expected = EdgeStatistics(
        connections=0,
        idle=0,
        reading_head=0,
        unsent_stalled=0,
        requests_served=4,
        stopping=True,
    )
    assert statistics() == expected


async def test_the_state_counts_connections_by_what_they_wait_for() -> None:
    seen: list[EdgeStatistics] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["state"]["edge"]())
        await reply(send)

    async with running(handler) as server:
        idle, slow, asking = [await server.connect() for _ in range(3)]
        await idle.ask(GET)
        await slow.send(GET[:5])
        await trio.testing.wait_all_tasks_blocked(0.005)
        await asking.ask(GET)

    assert seen[-1] == EdgeStatistics(
        connections=3,
        idle=1,
        reading_head=1,
        unsent_stalled=0,
        requests_served=1,
        stopping=False,
    )


def test_reports_name_the_place_and_not_the_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception of the app may quote a prompt."""
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("the prompt")
    report_by_log("the app raised", caught.value)

    assert "the app raised: RuntimeError at test_listener.py:" in caplog.text
    assert "the prompt" not in caplog.text
