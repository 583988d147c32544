"""One epoll for the sockets of a run: each is registered once, for its whole life.

trio's own waits arm a descriptor anew each time: a system call, and a task switch, for
every delta of every stream. Here the kernel tells of news by edges, and whoever owns a
socket hears of it by a plain call in the poller's task, so that what needs no waiting
needs no task switch either.

Owns: which descriptors are watched. Never: reads or writes them.
"""

from __future__ import annotations

import logging
import select
from typing import Final, Protocol

from trio.lowlevel import RunVar, spawn_system_task, wait_readable

EVENTS_MAX: Final = 64
"""A batch: other tasks get their turn after at most this many wake-ups, some 2 ms."""

READABLE: Final = select.EPOLLIN
BROKEN: Final = select.EPOLLHUP | select.EPOLLERR
GONE: Final = select.EPOLLRDHUP | BROKEN
READS: Final = READABLE | select.EPOLLRDHUP | select.EPOLLET
READS_AND_WRITES: Final = READS | select.EPOLLOUT

log = logging.getLogger("stagedoor.poller")


class Watched(Protocol):
    """A connection, as the poller sees it."""

    @property
    def fd(self) -> int:
        """Its descriptor, the same until it is removed."""
        ...

    def on_events(self, events: int) -> None:
        """Take note of epoll's news. Must not block or raise."""
        ...


class Poller:
    """One epoll and those who hear of it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}

    def __repr__(self) -> str:
        return f"<Poller connections={len(self._watched)}>"

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, watched: Watched, events: int = READS_AND_WRITES) -> None:
        """Watch a connection for its whole life: one system call.

        What is there already is news, too. Raises OSError, as when the system's limit
        of watches is reached.
        """
        self._epoll.register(watched.fd, events)
        self._watched[watched.fd] = watched

    def remove(self, watched: Watched) -> None:
        """Forget a connection that is about to be closed."""
        if self._watched.pop(watched.fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(watched.fd)

    async def run(self) -> None:
        """Tell whom the kernel has news for, for ever."""
        epoll, watched = self._epoll, self._watched
        epoll_fd = epoll.fileno()
        while True:
            await wait_readable(epoll_fd)
            for fd, events in epoll.poll(0, EVENTS_MAX):
                one = watched.get(fd)
                if one is None:
                    continue
                try:
                    one.on_events(events)
                except Exception as error:  # noqa: BLE001 - of one socket
                    log.error("a socket's news: %s", type(error).__name__)  # noqa: TRY400 - no payload

    def close(self) -> None:
        """Close the epoll; who is still watched hears nothing any more."""
        self._epoll.close()


_HERE: RunVar[Poller] = RunVar("poller")


def poller_here() -> Poller:
    """The poller of this run of trio; its task starts with the first who asks."""
    try:
        return _HERE.get()
    except LookupError:
        poller = Poller()
        _HERE.set(poller)
        spawn_system_task(_serve, poller, name="poller")
        return poller


async def _serve(poller: Poller) -> None:
    try:
        await poller.run()
    finally:  # The run is over.
        poller.close()
