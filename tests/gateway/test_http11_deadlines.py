"""How long a client is waited for. Time is virtual: it passes when a test says so."""

from typing import Any

import pytest
import trio
import trio.testing

from gateway.http11_exchange import Exchange
from gateway.http11_parser import Http11Limits
from gateway.http11_timers import Timers
from gateway.http11_transport import ClientGone, EdgeDeadlines
from tests.gateway.support_http11 import (
    GET,
    Client,
    Server,
    conn_of,
    echo,
    post,
    running,
    until,
)

SMALL = Http11Limits(unsent_bytes_max=20_000, kernel_unsent_bytes_max=20_000)


async def settle() -> None:
    """Let everything that was sent be read."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked(0.005)


async def pass_time(clock: trio.testing.MockClock, seconds: float) -> None:
    """Pass it in steps, as sweeps see it."""
    for _ in range(20):
        clock.jump(seconds / 20)
        await settle()


@pytest.fixture
def clock(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    return mock_clock


async def test_an_idle_connection_is_closed_cleanly(
    clock: trio.testing.MockClock,
) -> None:
    """No 408: a client that has asked nothing must not take it for an answer."""
    async with running(echo) as server:
        client = await server.connect()
        silent = await server.connect()
        await client.ask(GET)
        await pass_time(clock, 70)
        assert (await client.ask(GET))[0] == 200  # Within 75 s: kept.
        await pass_time(clock, 90)
        assert await client.rest() == b""
        assert await silent.rest() == b""


async def test_slowloris_gets_a_408_at_the_head_deadline(
    clock: trio.testing.MockClock,
) -> None:
    """Each byte must not start the clock again."""
    async with running(echo) as server:
        client = await server.connect()
        for byte in b"GET / HTTP/1":
            await client.send(bytes([byte]))
            await settle()
            clock.jump(1)
            await settle()
        data = await client.rest()

    assert data.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in data


async def test_a_head_in_time_is_answered_and_leaves_no_timer(
    clock: trio.testing.MockClock,
) -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(GET[:10])
        await settle()
        await pass_time(clock, 8)
        assert (await client.ask(GET[10:]))[0] == 200
        await settle()
        await pass_time(clock, 20)
        assert (await client.ask(GET))[0] == 200


async def test_a_body_that_trickles_is_a_408(clock: trio.testing.MockClock) -> None:
    async with running(echo) as server:
        client = await server.connect()
        await client.send(post(b"x" * 100)[:-99])
        for _ in range(4):
            await settle()
            clock.jump(10)
            await settle()
        data = await client.rest()

    assert data.startswith(b"HTTP/1.1 408 ")
    assert server.reports == []


async def test_a_body_that_keeps_the_rate_may_take_long(
    clock: trio.testing.MockClock,
) -> None:
    body = b"x" * 100_000
    async with running(echo) as server:
        client = await server.connect()
        request = post(body)
        await client.send(request[:-100_000])
        for at in range(0, 100_000, 10_000):
            await client.send(body[at : at + 10_000])
            await settle()
            clock.jump(9.0)  # 1.1 KB/s, for 90 s.
            await settle()
        assert (await client.answer())[0].status_code == 200


async def stalled(server: Server, streams: list[Exchange]) -> Client:
    """A client that asks and reads nothing, once the server notices it."""
    client = await server.connect(receive_buffer_bytes=4_096)
    await client.send(GET)
    await until(lambda: bool(streams) and streams[-1].unsent_bytes > 0)
    await settle()
    return client


async def test_a_stalled_client_is_dropped_at_the_write_deadline(
    clock: trio.testing.MockClock,
) -> None:
    streams: list[Exchange] = []
    whys: list[str] = []
    ended = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        streams.append(conn_of(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 9_000, "more_body": True}
        try:
            while True:
                await send(piece)
        except ClientGone as gone:
            whys.append(str(gone))
        ended.set()

    async with running(handler, limits=SMALL) as server:
        client = await stalled(server, streams)
        started = trio.current_time()
        deadline = streams[0].write_deadline
        assert started < deadline <= started + 30
        await pass_time(clock, 25)
        assert not ended.is_set()
        await pass_time(clock, 10)
        await ended.wait()
        assert not (await client.rest()).endswith(b"0\r\n\r\n")

    assert whys == ["the client read nothing for 30 s"]
    assert server.reports == []


async def test_a_stalled_client_is_dropped_also_when_the_app_sends_no_more(
    clock: trio.testing.MockClock,
) -> None:
    """The app may wait for its upstream: the sweeper tells it, not its next send."""
    streams: list[Exchange] = []
    gone = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        conn = conn_of(scope)
        conn.on_disconnect(gone.set)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 9_000, "more_body": True}
        while conn.unsent_bytes == 0:
            await send(piece)
        streams.append(conn)
        await gone.wait()

    async with running(handler, limits=SMALL) as server:
        await stalled(server, streams)
        await pass_time(clock, 40)
        await gone.wait()


async def test_a_slow_but_steady_reader_is_kept(clock: trio.testing.MockClock) -> None:
    """The deadline is for a byte to leave, not for all of them."""
    streams: list[Exchange] = []
    total = 3_000_000

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        streams.append(conn_of(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(0, total, 10_000):
            last = at + 10_000 >= total
            piece = {"type": "http.response.body", "body": b"x" * 10_000}
            await send({**piece, "more_body": not last})

    async with running(handler, limits=SMALL) as server:
        client = await stalled(server, streams)
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            clock.jump(0.5)
            await settle()
            for _ in range(8):
                data += await client.stream.receive_some(65_536)
                if data.endswith(b"0\r\n\r\n"):
                    break

    assert data.count(b"x") == total


async def test_a_stop_closes_idle_connections_and_lets_requests_finish(
    clock: trio.testing.MockClock,
) -> None:
    go_on = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        await echo(scope, receive, send)

    async with running(handler) as server:
        idle, busy = await server.connect(), await server.connect()
        await idle.ask(GET)
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
        await settle()
        server.stop.set()
        assert await idle.rest() == b""
        with pytest.raises(OSError, match="refused"):
            await server.connect()
        go_on.set()
        response, body, _ = await busy.answer()
        assert (response.status_code, body) == (200, b"GET /slow ")
        assert dict(response.headers)[b"connection"] == b"close"
        await server.stopped.wait()  # Without any time passing.


async def test_a_response_begun_before_the_stop_ends_its_connection_after_it(
    clock: trio.testing.MockClock,
) -> None:
    """Its head promised keep-alive; waiting for a next request would take 75 s."""
    go_on = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"b"})

    async with running(handler) as server:
        client = await server.connect()
        await client.send(GET)
        await client.until(b"a")
        server.stop.set()
        await settle()
        go_on.set()
        assert (await client.rest()).endswith(b"0\r\n\r\n")
        await server.stopped.wait()


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_stop_with_a_stalled_client_ends_within_its_limit(
    clock: trio.testing.MockClock, shielded: bool
) -> None:
    """Also when the write is shielded, as hypercorn shields its own."""
    streams: list[Exchange] = []

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        streams.append(conn_of(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        piece = {"type": "http.response.body", "body": b"x" * 9_000, "more_body": True}
        with trio.CancelScope(shield=shielded):
            while True:
                await send(piece)

    deadlines = EdgeDeadlines(write_s=600, stop_s=5)
    async with running(handler, limits=SMALL, deadlines=deadlines) as server:
        await stalled(server, streams)
        server.stop.set()
        await settle()
        assert not server.stopped.is_set()
        await pass_time(clock, 6)
        await server.stopped.wait()


async def test_what_outlives_the_stop_is_cancelled(
    clock: trio.testing.MockClock,
) -> None:
    cancelled = trio.Event()

    async def handler(scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    async with running(handler, deadlines=EdgeDeadlines(stop_s=5)) as server:
        client = await server.connect()
        await client.send(GET)
        await settle()
        server.stop.set()
        await pass_time(clock, 4)
        assert not cancelled.is_set()
        await pass_time(clock, 2)
        await cancelled.wait()
        await server.stopped.wait()


class Expired:
    """Something with a deadline that notes what expired."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def expire(self, kind: str) -> None:
        self.kinds.append(kind)


def test_timers_expire_in_order_and_only_what_is_due() -> None:
    timers = Timers(idle=10, head=2)
    first, second, third, disarmed = Expired(), Expired(), Expired(), Expired()
    timers.kind("idle")[first] = 0
    timers.kind("head")[first] = 7
    timers.kind("idle")[disarmed] = 1
    timers.kind("idle")[second] = 5
    timers.kind("idle")[third] = 5
    timers.kind("idle").pop(disarmed)

    timers.sweep(9)
    assert first.kinds == ["head"]
    timers.sweep(14.9)
    assert first.kinds == ["head", "idle"]
    timers.sweep(15)

    assert (second.kinds, third.kinds, disarmed.kinds) == (["idle"], ["idle"], [])
    assert repr(timers) == "<Timers idle=0 head=0>"
    assert timers.tick_s == 0.25
