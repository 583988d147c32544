"""The one bounded hop that chunks cross."""

from __future__ import annotations

from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from runtime import Normal, ReceiverGone, StreamChannel
from runtime.testing import Sim, run_sim
from tests.runtime.support_actors import Budget, settled


async def test_items_arrive_in_order_and_the_status_after_the_last() -> None:
    channel: StreamChannel[int] = StreamChannel(16)
    for number in range(3):
        await channel.send(number)
    channel.close("done")
    assert [item async for item in channel] == [0, 1, 2]
    assert channel.status == "done"


async def test_the_default_status_is_normal() -> None:
    channel: StreamChannel[int] = StreamChannel(1)
    channel.close()
    assert channel.status == Normal()


async def test_a_full_stream_blocks_its_sender() -> None:
    """That is backpressure: a slow client stops the read from upstream."""
    channel: StreamChannel[int] = StreamChannel(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pump, channel, 10)
        await settled()
        assert channel.depth == 2
        assert await channel.__anext__() == 0
        await settled()
        assert channel.depth == 2
        assert [item async for item in channel] == list(range(1, 10))
    assert channel.peak == 2


async def _pump(channel: StreamChannel[int], count: int) -> None:
    for number in range(count):
        await channel.send(number)
    channel.close()


async def test_a_failure_is_met_after_the_items_before_it() -> None:
    channel: StreamChannel[int] = StreamChannel(16)
    await channel.send(1)
    channel.fail(Budget("over"))
    assert await channel.__anext__() == 1
    for _ in range(2):
        with pytest.raises(Budget):
            await channel.__anext__()
    with pytest.raises(Budget):
        await channel.receive_some()


async def test_a_stream_ends_once() -> None:
    channel: StreamChannel[int] = StreamChannel(1)
    channel.close()
    with pytest.raises(trio.ClosedResourceError):
        channel.close()
    with pytest.raises(trio.ClosedResourceError):
        channel.fail(Budget("over"))
    with pytest.raises(trio.ClosedResourceError):
        await channel.send(1)


async def test_a_reader_that_leaves_stops_a_blocked_sender() -> None:
    channel: StreamChannel[int] = StreamChannel(1)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(ReceiverGone, match="client left"):
                await _pump(channel, 9)

        nursery.start_soon(send)
        await settled()
        channel.cancel("client left")
    assert channel.depth == 0
    assert channel.cancelled == "client left"
    with pytest.raises(ReceiverGone):
        channel.send_nowait(1)
    channel.close("cancelled")  # the sender still says how it ended
    assert [item async for item in channel] == []


async def test_leaving_after_the_end_changes_nothing() -> None:
    channel: StreamChannel[int] = StreamChannel(2)
    channel.send_nowait(1)
    channel.close("done")
    channel.cancel("late")
    assert channel.cancelled is None
    assert channel.depth == 0


async def test_a_batch_takes_all_there_is_and_lets_the_blocked_in() -> None:
    channel: StreamChannel[int] = StreamChannel(4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pump, channel, 6)
        await settled()
        assert await channel.receive_some() == [0, 1, 2, 3]
        await settled()
        assert channel.take_all() == [4, 5]
        assert channel.take_all() == []
        assert await channel.receive_some() == []


async def test_bytes_bound_it_too() -> None:
    channel: StreamChannel[bytes] = StreamChannel(16, cost=len, cost_max=10)
    channel.send_nowait(b"12345678")
    with pytest.raises(trio.WouldBlock):
        channel.send_nowait(b"123")
    channel.send_nowait(b"12")
    assert channel.cost == 10
    assert channel.receive_nowait() == b"12345678"
    channel.send_nowait(b"12345678")
    assert channel.take_all() == [b"12", b"12345678"]
    assert channel.cost == 0


async def test_an_item_dearer_than_the_bound_passes_alone() -> None:
    """Otherwise one long line would block its stream for good."""
    channel: StreamChannel[bytes] = StreamChannel(16, cost=len, cost_max=4)
    await channel.send(b"much too long")
    with pytest.raises(trio.WouldBlock):
        channel.send_nowait(b"x")
    assert channel.receive_nowait() == b"much too long"
    channel.send_nowait(b"x")


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match="can carry nothing"):
        StreamChannel(0)
    with pytest.raises(ValueError, match="give both"):
        StreamChannel(1, cost=len)
    with pytest.raises(ValueError, match="give both"):
        StreamChannel(1, cost_max=3)


async def test_a_cancelled_send_delivers_nothing() -> None:
    channel: StreamChannel[int] = StreamChannel(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.send(1)
    channel.send_nowait(2)
    with trio.move_on_after(1):
        await channel.send(3)
    assert channel.take_all() == [2]


async def test_a_cancelled_read_takes_nothing() -> None:
    channel: StreamChannel[int] = StreamChannel(1)
    with trio.move_on_after(1):
        await channel.__anext__()
    channel.send_nowait(1)
    assert channel.receive_nowait() == 1
    with pytest.raises(trio.WouldBlock):
        channel.receive_nowait()


async def test_a_stream_has_one_reader() -> None:
    channel: StreamChannel[int] = StreamChannel(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.receive_some)
        await settled()
        with pytest.raises(trio.BusyResourceError):
            await channel.receive_some()
        channel.close()


async def test_a_busy_sender_and_a_busy_reader_let_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    channel: StreamChannel[int] = StreamChannel(10_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await _pump(channel, 800)
        sent = turns
        async for _ in channel:
            pass
        nursery.cancel_scope.cancel()
    assert sent >= 20
    assert turns - sent >= 20


async def test_its_repr_says_how_full_and_how_it_ended() -> None:
    channel: StreamChannel[int] = StreamChannel(4)
    channel.send_nowait(1)
    assert repr(channel) == "<StreamChannel 1/4 open>"
    channel.fail(ValueError("secret"))
    assert repr(channel) == "<StreamChannel 1/4 failed: ValueError>"


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(0, 40))
def test_nothing_is_lost_or_doubled_whatever_the_order(
    seed: int, capacity: int, count: int
) -> None:
    """Any schedule, any bound, readers by one or by batch, senders that give up."""

    async def main(sim: Sim) -> None:
        channel: StreamChannel[int] = StreamChannel(capacity)
        sent: list[int] = []
        got: list[int] = []

        async def send() -> None:
            for number in range(count):
                with sim.impatience(0.3, 0.5):
                    await channel.send(number)
                    sent.append(number)
                await sim.jitter(0.2)
            channel.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            rng = Random(sim.seed)
            while True:
                await sim.jitter(0.3)
                if rng.random() < 0.5:
                    batch = await channel.receive_some()
                    assert len(batch) <= capacity
                    if not batch:
                        break
                    got += batch
                else:
                    try:
                        got.append(await channel.__anext__())
                    except StopAsyncIteration:
                        break
        assert got == sent
        assert channel.peak <= capacity

    run_sim(main, seed)


class Taker:
    """What a reader has in its place while it waits."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.full = False

    def __call__(self, item: int) -> bool:
        if not self.full:
            self.taken.append(item)
        return not self.full


async def test_what_is_taken_directly_wakes_nobody_and_the_rest_follows_in_order() -> (
    None
):
    channel: StreamChannel[int] = StreamChannel(2)
    taker = Taker()
    read: list[list[int]] = []

    async def reader() -> None:
        while some := await channel.receive_some(taker):
            read.append(some)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await settled()
        await channel.send(1)
        assert channel.offer(2)
        channel.send_nowait(3)
        await settled()
        assert (taker.taken, read) == ([1, 2, 3], [])
        taker.full = True
        assert channel.offer(4)  # Not taken: buffered, and the reader is woken.
        taker.full = False
        assert channel.offer(5)  # It has not had its turn: 5 must not overtake 4.
        assert not channel.offer(6)
        await settled()
        assert (taker.taken, read) == ([1, 2, 3], [[4, 5]])
        await channel.send(7, last=True)
        channel.close()
    assert read == [[4, 5], [7]]  # The last, with the end behind it.
    assert channel.passed == 6
    assert channel.peak == 2
    assert not channel.offer(8)


async def test_a_cancelled_reader_takes_nothing_directly() -> None:
    channel: StreamChannel[int] = StreamChannel(2)
    taker = Taker()
    with trio.move_on_after(0):
        await channel.receive_some(taker)
    assert channel.offer(1)
    assert taker.taken == []
    assert await channel.receive_some(taker) == [1]


async def test_a_taker_that_ends_the_stream_leaves_nothing_in_it() -> None:
    """A client found gone while it is written to: its reader cancels the channel."""
    channel: StreamChannel[int] = StreamChannel(2)

    def gone(item: int) -> bool:
        del item
        channel.cancel("client left")
        return False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.receive_some, gone)
        await settled()
        assert not channel.offer(1)
    assert channel.depth == 0
    with pytest.raises(ReceiverGone):
        await channel.send(2)
