"""Requests over scripted wires: reuse, order, faults, timeouts, what is sent."""

import gc
import warnings
from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from actors.provider import exchange, transport
from actors.provider.dial import DialRefused
from actors.provider.http import header, prepare
from actors.provider.pool import PoolLimits
from actors.provider.transport import PoolFull, StaleConnection, Transport
from actors.provider.wires import Origin
from tests.actors.provider.transport_fakes import (
    OK,
    SSE,
    STALL,
    URL,
    ScriptedDial,
    ScriptedWire,
    post,
    read,
    scripted,
)

ORIGIN = Origin("http", "upstream.test", 80)


async def test_a_response_arrives_and_its_connection_serves_the_next() -> None:
    wire = ScriptedWire([OK], [OK])
    client, dial = scripted(wire)

    for _ in range(2):
        response = await client.handle_async_request(post())
        assert await read(response) == b"{}"
        assert response.status_code == 200
        assert response.extensions["http_version"] == b"HTTP/1.1"

    assert len(dial.made) == 1
    assert not wire.closed


async def test_a_short_response_frees_its_slot_before_it_is_read() -> None:
    """All of it came with the head, so nobody has to wait for the consumer."""
    client, _ = scripted(ScriptedWire([OK]))

    response = await client.handle_async_request(post())

    assert client.statistics() == {ORIGIN: (0, 1, 0)}
    assert await read(response) == b"{}"


async def test_head_and_small_body_are_one_write_and_a_large_body_is_not_copied() -> (
    None
):
    """One segment for the common request; two where a copy costs more."""
    wire = ScriptedWire([OK], [OK])
    client, _ = scripted(wire)
    large = b"x" * (exchange.BODY_JOINED_BYTES_MAX + 1)

    await read(await client.handle_async_request(post(b"small")))
    assert len(wire.writes) == 1
    assert bytes(wire.sent).endswith(b"\r\n\r\nsmall")
    await read(await client.handle_async_request(post(large)))

    assert len(wire.writes) == 3
    assert wire.writes[2] == len(large)


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    """A slow client stops the upstream: this is the backpressure."""
    wire = ScriptedWire([SSE, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"])
    client, _ = scripted(wire)
    response = await client.handle_async_request(post())
    body = aiter(response.stream)  # type: ignore[arg-type]

    assert wire.reads == 1
    assert await anext(body) == b"a"
    assert wire.reads == 2
    await response.aclose()
    assert wire.reads == 2, "a response that is let go is not drained"
    assert wire.closed


async def test_chunks_that_come_together_are_handed_out_together() -> None:
    """One piece a read: the cost of a delta is not the cost of a wake-up."""
    client, _ = scripted(ScriptedWire([SSE + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"]))

    response = await client.handle_async_request(post())

    assert [piece async for piece in response.stream] == [b"ab"]  # type: ignore[union-attr]


async def test_httpx_decodes_what_a_provider_compresses_unasked() -> None:
    gzipped = bytes.fromhex("1f8b08000000000002ffcb48cdc9c90700 86a6103605000000")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    client, _ = scripted(ScriptedWire([head % len(gzipped) + gzipped]))

    response = await client.handle_async_request(post())

    assert await response.aread() == b"hello"


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ([b"HTTP/1.1 200 OK\r\nconte"], httpx.RemoteProtocolError),
        ([b"SSH-2.0\r\n"], httpx.RemoteProtocolError),
        ([], httpx.RemoteProtocolError),
        ([ConnectionResetError("reset")], httpx.ReadError),
        ([trio.BrokenResourceError("no close_notify")], httpx.ReadError),
    ],
    ids=["cut head", "garbage", "nothing", "reset", "broken"],
)
async def test_a_broken_head_is_the_peers_fault_and_frees_the_slot(
    reply: list[bytes | str | BaseException], fault: type[httpx.TransportError]
) -> None:
    wire = ScriptedWire(reply)
    client, _ = scripted(wire)

    with pytest.raises(fault, match=r"^http://upstream\.test:80: "):
        await client.handle_async_request(post())

    assert wire.closed
    assert client.statistics() == {ORIGIN: (0, 0, 0)}


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ([b"5\r\nhel"], httpx.RemoteProtocolError),
        ([b"1\r\na\r\n"], httpx.RemoteProtocolError),
        ([b"1\r\nab"], httpx.RemoteProtocolError),
        ([ConnectionResetError("reset")], httpx.ReadError),
    ],
    ids=["inside a chunk", "between chunks", "bad chunk", "reset"],
)
async def test_a_body_is_never_silently_short(
    rest: list[bytes | str | BaseException], fault: type[httpx.TransportError]
) -> None:
    """A truncated success is worse than an error: nobody would know."""
    wire = ScriptedWire([SSE, *rest])
    client, _ = scripted(wire)
    response = await client.handle_async_request(post())

    with pytest.raises(fault):
        await read(response)

    assert wire.closed
    assert client.statistics() == {ORIGIN: (0, 0, 0)}


async def test_reading_on_after_an_error_says_the_stream_is_closed() -> None:
    client, _ = scripted(ScriptedWire([SSE, b"zz\r\n"]))
    response = await client.handle_async_request(post())
    with pytest.raises(httpx.RemoteProtocolError):
        await read(response)

    with pytest.raises(httpx.StreamClosed):
        await read(response)


async def test_surplus_bytes_end_the_connection_with_the_response() -> None:
    wire = ScriptedWire([OK + OK])
    client, _ = scripted(wire, ScriptedWire([OK]))

    assert await read(await client.handle_async_request(post())) == b"{}"
    assert wire.closed
    assert await read(await client.handle_async_request(post())) == b"{}"


async def test_an_idle_connection_whose_peer_hung_up_is_not_used() -> None:
    first, second = ScriptedWire([OK]), ScriptedWire([OK])
    client, _ = scripted(first, second)
    await read(await client.handle_async_request(post()))

    first.hung_up = True
    await read(await client.handle_async_request(post()))

    assert first.closed
    assert second.sent


@pytest.mark.parametrize(
    "death", [[], [ConnectionResetError("reset")]], ids=["end", "reset"]
)
async def test_a_request_that_meets_a_stale_connection_is_sent_once_more(
    death: list[bytes | str | BaseException],
) -> None:
    """The hang-up crossed our request: the peer cannot have read it."""
    stale, fresh = ScriptedWire([OK], death), ScriptedWire([OK])
    client, _ = scripted(stale, fresh)
    await read(await client.handle_async_request(post()))

    response = await client.handle_async_request(post())

    assert await read(response) == b"{}"
    assert stale.closed
    assert bytes(fresh.sent) == bytes(stale.sent)[len(stale.sent) // 2 :]


async def test_a_stale_write_is_sent_once_more() -> None:
    stale, fresh = ScriptedWire([OK], []), ScriptedWire([OK])
    client, _ = scripted(stale, fresh)
    await read(await client.handle_async_request(post()))

    stale.write_fault = BrokenPipeError("broken pipe")

    assert await read(await client.handle_async_request(post())) == b"{}"


async def test_a_second_death_is_not_retried() -> None:
    """The fresh connection never served, so its death is no hang-up while idle."""
    client, dial = scripted(ScriptedWire([OK], []), ScriptedWire([]))
    await read(await client.handle_async_request(post()))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.handle_async_request(post())

    assert len(dial.made) == 2


async def test_a_death_after_the_first_byte_is_not_retried() -> None:
    client, dial = scripted(ScriptedWire([OK], [b"H"]), ScriptedWire([OK]))
    await read(await client.handle_async_request(post()))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.handle_async_request(post())

    assert len(dial.made) == 1


async def test_a_peer_that_worked_and_died_is_not_asked_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Past a round trip it was no hang-up; asking again could be paid for twice."""

    class Slow(ScriptedWire):
        async def receive(self) -> bytes:
            if self.reads:
                await trio.sleep(transport.STALE_S_MAX + 0.1)
            return await super().receive()

    client, dial = scripted(Slow([OK], []), ScriptedWire([OK]))
    await read(await client.handle_async_request(post()))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.handle_async_request(post())

    assert len(dial.made) == 1


async def test_a_streamed_body_is_not_sent_twice() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    client, dial = scripted(ScriptedWire([OK], []), ScriptedWire([OK]))
    await read(await client.handle_async_request(post()))
    request = httpx.Request("POST", URL, content=pieces())

    with pytest.raises(httpx.RemoteProtocolError):
        await client.handle_async_request(request)

    assert len(dial.made) == 1


async def test_an_answer_given_while_we_write_is_read() -> None:
    """A peer that refuses a large body answers and hangs up."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"
    wire = ScriptedWire([refusal])
    wire.write_fault = BrokenPipeError("broken pipe")
    client, _ = scripted(wire)

    response = await client.handle_async_request(post())

    assert response.status_code == 413


async def test_a_broken_write_without_an_answer_is_a_write_error() -> None:
    wire = ScriptedWire([])
    wire.write_fault = BrokenPipeError("broken pipe")
    client, _ = scripted(wire)

    with pytest.raises(httpx.WriteError):
        await client.handle_async_request(post())


async def test_a_streamed_body_goes_out_in_chunks_or_as_declared() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"ab", b"", b"cde"):
            yield piece

    wire = ScriptedWire([OK], [OK])
    client, _ = scripted(wire)
    chunked = httpx.Request("POST", URL, content=pieces())
    declared = httpx.Request(
        "POST", URL, content=pieces(), headers={"content-length": "5"}
    )

    await read(await client.handle_async_request(chunked))
    assert bytes(wire.sent).endswith(b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
    await read(await client.handle_async_request(declared))
    assert bytes(wire.sent).endswith(b"\r\n\r\nabcde")


@pytest.mark.parametrize("declared", ["4", "6"], ids=["too long", "too short"])
async def test_a_body_that_breaks_its_declared_length_is_our_fault(
    declared: str,
) -> None:
    """Sent on, the next request would begin in the middle of it."""

    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"abcde"

    wire = ScriptedWire([OK])
    client, _ = scripted(wire)
    request = httpx.Request(
        "POST", URL, stream=Pieces(), headers={"content-length": declared}
    )

    with pytest.raises(httpx.LocalProtocolError, match="content-length says"):
        await client.handle_async_request(request)

    assert wire.closed


async def test_the_line_for_a_connection_is_first_in_first_out() -> None:
    wire = ScriptedWire(*[[OK]] * 5)
    client = Transport(dial=ScriptedDial(wire), limits=PoolLimits(connections_max=1))
    order: list[int] = []
    wire.on_write = lambda data: order.append(data[-1] - ord("0"))

    async def call(number: int) -> None:
        request = post(b"%d" % number)
        await read(await client.handle_async_request(request))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(call, number)
            await trio.testing.wait_all_tasks_blocked()

    assert order == [0, 1, 2, 3, 4]


async def test_a_full_line_refuses_at_once() -> None:
    limits = PoolLimits(connections_max=1, waiters_max=0)
    client = Transport(dial=ScriptedDial(ScriptedWire([SSE])), limits=limits)
    response = await client.handle_async_request(post())

    with pytest.raises(PoolFull, match="1 connections are in use and 0 requests wait"):
        await client.handle_async_request(post())

    await response.aclose()


async def test_a_refused_dial_frees_its_slot_for_the_next() -> None:
    dial = ScriptedDial(DialRefused("cannot connect: refused"), ScriptedWire([OK]))
    client = Transport(dial=dial, limits=PoolLimits(connections_max=1))

    with pytest.raises(httpx.ConnectError, match="cannot connect: refused"):
        await client.handle_async_request(post())

    assert await read(await client.handle_async_request(post())) == b"{}"


async def test_each_timeout_of_httpx_has_its_own_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Connect, write, read (head and body) and pool, each in its phase."""

    class StalledDial(ScriptedDial):
        async def __call__(self, *args: object) -> ScriptedWire:
            return await trio.sleep_forever()

    class StalledWrite(ScriptedWire):
        async def send_all(self, data: bytes | bytearray) -> None:
            await trio.sleep_forever()

    limits = {"connect": 1.0, "read": 2.0, "write": 3.0, "pool": 4.0}
    begun = trio.current_time()
    with pytest.raises(httpx.ConnectTimeout):
        await Transport(dial=StalledDial()).handle_async_request(post(timeout=limits))
    assert trio.current_time() - begun == pytest.approx(1)
    stalled = StalledWrite()
    client, _ = scripted(stalled, ScriptedWire([STALL]))
    with pytest.raises(httpx.WriteTimeout):
        await client.handle_async_request(post(timeout=limits))
    assert stalled.closed
    with pytest.raises(httpx.ReadTimeout):
        await client.handle_async_request(post(timeout=limits))
    one = PoolLimits(connections_max=1)
    client = Transport(dial=ScriptedDial(ScriptedWire([SSE, STALL])), limits=one)
    response = await client.handle_async_request(post(timeout=limits))
    with pytest.raises(httpx.PoolTimeout):
        await client.handle_async_request(post(timeout=limits))
    with pytest.raises(httpx.ReadTimeout):
        await read(response)
    assert client.statistics() == {ORIGIN: (0, 0, 0)}


async def test_the_caller_learns_each_phase_as_it_begins() -> None:
    """So that a deadline that hits can be named after what it hit."""
    phases: list[str] = []
    wire = ScriptedWire([OK], [OK])
    client, _ = scripted(wire)

    for _ in range(2):
        request = post(**{"stagedoor.phase": phases.append})
        await read(await client.handle_async_request(request))

    assert phases == ["connect", "write", "headers", "write", "headers"]


async def test_old_connections_retire(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Idle ones before the peer hangs up, busy ones so that DNS is asked again."""
    limits = PoolLimits(idle_s_max=10, age_s_max=15)
    wires = [ScriptedWire(*[[OK]] * 9) for _ in range(3)]
    client = Transport(dial=ScriptedDial(*wires), limits=limits)
    await read(await client.handle_async_request(post()))

    await trio.sleep(11)
    await read(await client.handle_async_request(post()))
    assert wires[0].closed, "idle for too long"
    await trio.sleep(9)
    await read(await client.handle_async_request(post()))
    await trio.sleep(9)
    await read(await client.handle_async_request(post()))

    assert wires[1].closed, "too old"
    assert not wires[2].sent


async def test_a_sweep_closes_what_nobody_would_have_asked_about() -> None:
    wire = ScriptedWire([OK])
    client, _ = scripted(wire)
    await read(await client.handle_async_request(post()))
    client.sweep()
    assert not wire.closed

    wire.hung_up = True
    client.sweep()

    assert wire.closed
    assert client.statistics() == {}


async def test_closing_turns_waiters_away_and_lets_open_responses_end() -> None:
    wire = ScriptedWire([SSE, b"1\r\na\r\n0\r\n\r\n"])
    limits = PoolLimits(connections_max=1)
    client = Transport(dial=ScriptedDial(wire), limits=limits)
    response = await client.handle_async_request(post())

    async def waiter() -> None:
        with pytest.raises(httpx.ConnectError, match="was closed"):
            await client.handle_async_request(post())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()

    assert await read(response) == b"a"
    assert wire.closed, "a closed transport keeps nothing"
    with pytest.raises(httpx.ConnectError, match="is closed"):
        await client.handle_async_request(post())


async def test_origins_are_bounded_and_quiet_ones_make_room() -> None:
    dial = ScriptedDial(*[ScriptedWire([OK]) for _ in range(70)])
    client = Transport(dial=dial)

    for number in range(transport.ORIGINS_MAX + 3):
        url = f"http://host{number}.test/"
        await read(await client.handle_async_request(httpx.Request("GET", url)))

    assert len(client.statistics()) == transport.ORIGINS_MAX
    assert sum(wire.closed for wire in dial.made) == 3


async def test_a_dropped_response_warns_and_gives_its_slot_back() -> None:
    """A leak in the caller must not eat the pool."""
    wire = ScriptedWire([SSE, STALL])
    client, _ = scripted(wire)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await client.handle_async_request(post())
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()

    assert [w.category for w in caught] == [ResourceWarning]
    assert wire.closed
    assert client.statistics() == {ORIGIN: (0, 0, 0)}


async def test_response_to_head_and_interim_responses_are_understood() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    client, _ = scripted(
        ScriptedWire([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"]),
        ScriptedWire([early, OK]),
    )

    head = await client.handle_async_request(httpx.Request("HEAD", URL))
    assert await read(head) == b""
    response = await client.handle_async_request(post())

    assert response.status_code == 200
    assert "link" not in response.headers


@pytest.mark.parametrize("url", ["ftp://x.test/", "http:///x", "https:///"])
async def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    client, _ = scripted()

    with pytest.raises(httpx.UnsupportedProtocol):
        await client.handle_async_request(httpx.Request("GET", url))


async def test_raw_fields_are_found_without_parsing_all() -> None:
    reply = b"HTTP/1.1 200 OK\r\nRetry-After: 3\r\ncontent-length: 0\r\n\r\n"
    client, _ = scripted(ScriptedWire([reply]))

    response = await client.handle_async_request(post())

    assert header(response, b"retry-after") == b"3"
    assert header(response, b"x-other") is None
    assert response.headers["retry-after"] == "3"
    assert header(httpx.Response(200, headers={"A": "b"}), b"a") == b"b"


async def test_network_info_tells_the_peer_and_nothing_to_write_to() -> None:
    client, _ = scripted(ScriptedWire([OK]))

    response = await client.handle_async_request(post())
    info = response.extensions["network_stream"]

    assert info.get_extra_info("server_addr") == ("192.0.2.1", 80)
    assert not hasattr(info, "send_all")


async def test_a_stock_transport_takes_prepared_requests() -> None:
    """What the stream actor sends works against MockTransport too."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"mocked")

    prepared = prepare("http://upstream.test/v1", "/chat", [(b"x-static", b"1")])
    mock = httpx.MockTransport(answer)
    request = prepared.request(b"{}", headers=[(b"x-extra", b"2")])

    response = await mock.handle_async_request(request)

    assert await response.aread() == b"mocked"
    assert seen[0].content == b"{}"
    assert str(seen[0].url) == URL
    assert dict(seen[0].headers) == {
        "host": "upstream.test",
        "x-static": "1",
        "accept-encoding": "identity",
        "x-extra": "2",
        "content-length": "2",
    }


async def test_a_stock_client_runs_over_this_transport() -> None:
    client, _ = scripted(ScriptedWire([OK], [OK]))

    async with httpx.AsyncClient(transport=client) as stock:
        response = await stock.post(URL, json={"a": 1})
        async with stock.stream("POST", URL, content=b"{}") as streamed:
            assert await streamed.aread() == b"{}"

    assert response.json() == {}


def test_a_stale_connection_is_a_read_error_to_those_who_do_not_know_it() -> None:
    assert issubclass(StaleConnection, httpx.ReadError)
    assert issubclass(PoolFull, httpx.PoolTimeout)
