"""One epoll for all sockets of a run, and who hears of what."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest
import trio
import trio.testing

from runtime.poller import EVENTS_MAX, GONE, READABLE, READS, Poller, poller_here


class Ear:
    """Hears of a socket; fails on demand."""

    def __init__(self, sock: socket.socket) -> None:
        self.fd = sock.fileno()
        self.heard: list[int] = []
        self.fails = False

    def on_events(self, events: int) -> None:
        self.heard.append(events)
        if self.fails:
            raise ValueError("a secret")


@pytest.fixture
def pair() -> Generator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_news_is_told_once_an_edge_and_the_end_too(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    poller, ear = poller_here(), Ear(ours)
    poller.add(ear, READS)
    theirs.send(b"x")
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert ear.heard == [READABLE]  # It lies there unread, and is no news any more.
    theirs.close()
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert len(ear.heard) == 2
    assert ear.heard[-1] & GONE
    poller.remove(ear)
    assert poller_here() is poller
    assert len(poller) == 0


async def test_one_that_fails_is_logged_without_its_words_and_harms_nobody(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = pair
    poller, ear, other = poller_here(), Ear(ours), Ear(theirs)
    ear.fails = True
    poller.add(ear, READS)
    poller.add(other, READS)
    theirs.send(b"x")
    ours.send(b"y")
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert ear.heard
    assert other.heard
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text
    poller.remove(ear)
    poller.remove(other)


async def test_a_batch_is_bounded_so_that_others_have_their_turn() -> None:
    pairs = [socket.socketpair() for _ in range(3 * EVENTS_MAX)]
    poller = Poller()
    ears = [Ear(ours) for ours, _ in pairs]
    for ear in ears:
        poller.add(ear, READS)
    for _, theirs in pairs:
        theirs.send(b"x")
    heard_at_turns: list[int] = []

    async def other() -> None:
        while True:
            heard_at_turns.append(sum(len(ear.heard) for ear in ears))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        nursery.start_soon(other)
        while not all(ear.heard for ear in ears):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    poller.close()
    for ear, (ours, theirs) in zip(ears, pairs, strict=True):
        poller.remove(ear)  # Harmless after the end.
        ours.close()
        theirs.close()
    assert any(0 < heard < len(pairs) for heard in heard_at_turns)
