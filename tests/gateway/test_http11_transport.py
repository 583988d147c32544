"""The transport alone, over a socket pair: turns, bounds, and the write deadline."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gateway.http11_timers import Timers
from gateway.http11_transport import TURNS_IN_A_ROW_MAX, ClientGone, Transport
from runtime.poller import Poller


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Transport, socket.socket, Timers]]:
    """A transport, the peer's end of it, and the timers that watch it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    poller, timers = Poller(), Timers(head=10, idle=75, write=30)
    transport = Transport(ours, poller, timers, unsent_bytes_max=60_000, write_s=30)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(timers.run)
            yield transport, theirs, timers
            nursery.cancel_scope.cancel()
    finally:
        transport.close()
        theirs.close()
        poller.close()


async def turns_of_others(count: list[int]) -> None:
    while True:
        count[0] += 1
        await trio.lowlevel.checkpoint()


async def test_a_fast_peer_does_not_starve_the_others() -> None:
    """Reads and writes that need not wait still let others have a turn."""
    async with pair() as (transport, theirs, _):
        theirs.send(b"x" * 4_096)
        await trio.testing.wait_all_tasks_blocked()
        count = [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns_of_others, count)
            for _ in range(4 * TURNS_IN_A_ROW_MAX):
                await transport.receive(8)
            after_reads = count[0]
            for _ in range(4 * TURNS_IN_A_ROW_MAX):
                await transport.write(b"y")
            after_writes = count[0]
            nursery.cancel_scope.cancel()

    assert after_reads >= 3
    assert after_writes - after_reads >= 3


async def test_a_cancelled_read_loses_nothing() -> None:
    async with pair() as (transport, theirs, _):
        theirs.send(b"kept")
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.receive(100)
        assert scope.cancelled_caught
        assert await transport.receive(100) == b"kept"


async def test_an_interrupted_read_takes_what_has_just_come() -> None:
    async with pair() as (transport, theirs, _):
        got: list[bytes] = []

        async def read() -> None:
            got.append(await transport.receive(100))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"crossed")
            transport.interrupt()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            transport.interrupt()
        transport.interrupt()  # Nobody waits: the next read is not cut short.
        theirs.send(b"later")
        await read()

    assert got == [b"crossed", b"", b"later"]


async def test_a_sip_does_not_renew_the_deadline_of_what_waits(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Else a peer could hold a full buffer for ever by reading a little of it."""
    async with pair() as (transport, theirs, _):
        while transport.unsent_bytes < 50_000:
            await transport.write(b"z" * 1_000)
        deadlines = [transport.write_deadline]
        for _ in range(2):
            mock_clock.jump(10)
            unsent = transport.unsent_bytes
            while transport.unsent_bytes == unsent:
                theirs.recv(4_096)
                await trio.testing.wait_all_tasks_blocked()
            assert 0 < transport.unsent_bytes < unsent
            deadlines.append(transport.write_deadline)
        # The mark moves once all that waited when it was made has gone: the first
        # few bytes at the first sip, and then not before the whole buffer.
        assert deadlines == [30, 40, 40]
        for _ in range(20):
            mock_clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()
        assert transport.why_broken == "the client read nothing for 30 s"
        with pytest.raises(ClientGone):
            await transport.write(b"more")
        assert transport.unsent_bytes == 0


async def test_draining_waits_until_the_kernel_has_everything() -> None:
    async with pair() as (transport, theirs, _):
        while transport.unsent_bytes < 10_000:
            await transport.write(b"z" * 1_000)
        drained = trio.Event()

        async def drain() -> None:
            await transport.drain()
            drained.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked()
            assert not drained.is_set()
            while not drained.is_set():
                theirs.recv(65_536)
                await trio.testing.wait_all_tasks_blocked()
        assert transport.unsent_bytes == 0
        assert repr(transport).endswith("open unsent=0>")


async def test_what_is_written_now_is_bounded_and_keeps_its_order() -> None:
    """As `write`: what the kernel refuses is kept once, and then there is no more."""
    async with pair() as (transport, theirs, timers):
        pieces = [b"%d;" % number * 2_000 for number in range(100)]
        taken = next(
            n for n, piece in enumerate(pieces) if not transport.write_now(piece)
        )
        assert 0 < transport.unsent_bytes <= 60_000
        assert transport in timers.kind("write")  # Its deadline runs.
        assert not transport.write_now(b"overtaking")
        read = bytearray()

        async def reader() -> None:
            expected = len(b"".join(pieces[: taken + 1]))
            while len(read) < expected:
                await trio.lowlevel.wait_readable(theirs)
                read.extend(theirs.recv(65_536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await transport.write(pieces[taken])
        assert read == b"".join(pieces[: taken + 1])
        assert transport.write_now(b"again")
        assert not transport.write_now(b"x" * 60_001)  # More than could be kept.


async def test_what_is_written_now_to_a_broken_connection_is_left_to_write() -> None:
    async with pair() as (transport, theirs, _):
        theirs.close()
        gone: list[bool] = []
        transport.on_gone = lambda: gone.append(True)
        transport.write_now(b"x")
        assert gone == [True]
        assert not transport.write_now(b"y")
        with pytest.raises(ClientGone):
            await transport.write(b"y")
