"""One epoll and one sweeper for all connections of a server.

Owns: who waits for the kernel, and who for the clock. Never: reads or writes.

Why not trio's own waits: they cost a system call and six function calls for each
read, a task that reads to notice a client leaving, and a cancel scope for each
timeout. Here every socket is registered once, edge-triggered, and `Poller.run` tells
whom it concerns; a hang-up arrives as an event of its own (EPOLLRDHUP), also behind
unread pipelined requests. So a connection is one task, and a timer a dict entry.
"""

import select
from typing import Protocol

import trio

EVENTS_MAX = 256  # A batch: others get their turn after at most this many wake-ups.
SWEEPS_PER_DEADLINE = 8  # A deadline is kept within an eighth of itself.

READABLE = select.EPOLLIN
BROKEN = select.EPOLLHUP | select.EPOLLERR
GONE = select.EPOLLRDHUP | BROKEN
_WATCHED = READABLE | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Sweepable(Protocol):
    """Something with a deadline of one kind at a time."""

    def expire(self, kind: str) -> None:
        """The deadline of this kind has passed."""
        ...


class Timers:
    """Deadlines of a few kinds, each of constant length: so a dict is sorted.

    Arming and disarming are one dict operation each; no heap, no cancel scope.
    """

    def __init__(self, **lengths_s: float) -> None:
        self._lengths_s = lengths_s
        self._armed: dict[str, dict[Sweepable, float]] = {k: {} for k in lengths_s}
        self.tick_s = min(lengths_s.values()) / SWEEPS_PER_DEADLINE

    def __repr__(self) -> str:
        counts = " ".join(f"{kind}={len(d)}" for kind, d in self._armed.items())
        return f"<Timers {counts}>"

    def kind(self, kind: str) -> dict[Sweepable, float]:
        """The armed of this kind, earliest first: store `now` to arm, pop to disarm."""
        return self._armed[kind]

    def sweep(self, now: float) -> None:
        """Expire what is due."""
        for kind, armed in self._armed.items():
            due = now - self._lengths_s[kind]
            expired: list[Sweepable] = []
            for target, since in armed.items():
                if since > due:
                    break
                expired.append(target)
            for target in expired:
                # An expiry may disarm others: each is looked at again.
                if armed.pop(target, None) is not None:
                    target.expire(kind)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await trio.sleep(self.tick_s)
            self.sweep(trio.current_time())


class Watched(Protocol):
    """A connection, as the poller sees it."""

    fd: int

    def on_events(self, events: int) -> None:
        """Take note of epoll's news. Must not block or raise."""
        ...


class Poller:
    """One epoll for all connections of a server."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._transports: dict[int, Watched] = {}

    def __repr__(self) -> str:
        return f"<Poller connections={len(self._transports)}>"

    def __len__(self) -> int:
        return len(self._transports)

    def add(self, transport: Watched) -> None:
        """Watch a connection for its whole life: one system call."""
        self._transports[transport.fd] = transport
        self._epoll.register(transport.fd, _WATCHED)

    def remove(self, transport: Watched) -> None:
        """Forget a connection that is about to be closed."""
        if self._transports.pop(transport.fd, None) is not None:
            self._epoll.unregister(transport.fd)

    async def run(self) -> None:
        """Wake whom the kernel has news for, for ever."""
        epoll, transports = self._epoll, self._transports
        epoll_fd = epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(epoll_fd)
            for fd, events in epoll.poll(0, EVENTS_MAX):
                transport = transports.get(fd)
                if transport is not None:
                    transport.on_events(events)

    def close(self) -> None:
        """Close the epoll; no connection may be left."""
        self._epoll.close()
