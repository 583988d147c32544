"""Who gets which connection of one origin. Pure: no trio, no clock, no sockets.

Owns the count of leased slots, the idle connections and the line of waiters of one
(scheme, host, port). It decides and names what to close; the transport does the
closing, dialling and waking. A slot is leased from `take` to `give_back`, whether or
not a connection fills it, so that dials in progress count against the bound too.

Never talks to anybody, never blocks.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, final

import attrs
from msgspec import Struct

C = TypeVar("C")


@attrs.frozen
class PoolLimits:
    """The bounds of one origin's pool, each with its reason."""

    connections_max: int = 256  # One file descriptor and one upstream stream each.
    idle_max: int = 128  # A burst comes again; dials would cost it round trips.
    idle_s_max: float = 55.0  # Below the 60 s after which common proxies hang up.
    age_s_max: float = 900.0  # So that a changed DNS answer is followed in minutes.
    waiters_max: int = 1024  # Beyond, the wait outlasts any client's patience.

    def __attrs_post_init__(self) -> None:
        if self.connections_max < 1 or self.idle_max < 0 or self.waiters_max < 0:
            message = (
                "a pool needs connections_max >= 1, idle_max >= 0 and waiters_max >= 0,"
                f" got {self.connections_max}, {self.idle_max}, {self.waiters_max}"
            )
            raise ValueError(message)


class Grant(Struct, Generic[C], frozen=True, eq=False):
    """A leased slot; `connection` is None when the holder has to dial."""

    connection: C | None


@final
class Ticket(Generic[C]):
    """A place in the line; `grant` is filled when the slot is ours."""

    __slots__ = ("grant",)

    def __init__(self) -> None:
        self.grant: Grant[C] | None = None

    def __repr__(self) -> str:
        return f"<Ticket {'granted' if self.grant else 'waiting'}>"


class Full(Struct, frozen=True):
    """The line is as long as it may be: refuse at once."""

    leased: int
    waiting: int


class Settled(Struct, Generic[C], frozen=True, eq=False):
    """What the transport has to do after a slot came back."""

    wake: Ticket[C] | None
    close: C | None


NOTHING_TO_DO: Final = Settled[Any](wake=None, close=None)


class Pool(Generic[C]):
    """The slots, idle connections and waiters of one origin."""

    __slots__ = ("_idle", "_line", "_shut", "abrupt", "leased", "limits")

    def __init__(self, limits: PoolLimits) -> None:
        self.limits: Final = limits
        self.leased = 0
        self.abrupt = False  # Its peer has hung up on a connection it had just used.
        self._shut = False
        # Oldest first: the end is reused (warm, and the rest may age out), the front
        # expires.
        self._idle: deque[tuple[C, float]] = deque()
        self._line: deque[Ticket[C]] = deque()

    @property
    def idle(self) -> int:
        """How many connections wait for their next request."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._line)

    @property
    def unused(self) -> bool:
        """Whether nobody holds or waits for a slot (idle connections may exist)."""
        return self.leased == 0 and not self._line

    def take(self) -> Grant[C] | Ticket[C] | Full:
        """Lease a slot: the warmest idle connection, else a dial, else a place."""
        if self._idle:
            self.leased += 1
            return Grant(self._idle.pop()[0])
        if self.leased < self.limits.connections_max:
            self.leased += 1
            return Grant(None)
        if len(self._line) >= self.limits.waiters_max:
            return Full(leased=self.leased, waiting=len(self._line))
        ticket: Ticket[C] = Ticket()
        self._line.append(ticket)
        return ticket

    def another(self) -> C | None:
        """Swap a connection found dead for the next idle one, under the same lease."""
        assert self.leased > 0
        return self._idle.pop()[0] if self._idle else None

    def give_back(self, connection: C | None, now_s: float) -> Settled[C]:
        """End a lease; `connection` is None when it was closed or never made."""
        assert self.leased > 0, "a slot was given back twice"
        if self._line:
            # The slot changes hands without being free in between: strict FIFO.
            ticket = self._line.popleft()
            ticket.grant = Grant(connection)
            return Settled(wake=ticket, close=None)
        self.leased -= 1
        if connection is None:
            return Settled(wake=None, close=None)
        if self._shut:
            return Settled(wake=None, close=connection)
        self._idle.append((connection, now_s))
        # One came in, so at most one is too many: the coldest leaves.
        if len(self._idle) > self.limits.idle_max:
            return Settled(wake=None, close=self._idle.popleft()[0])
        return NOTHING_TO_DO

    def withdraw(self, ticket: Ticket[C], now_s: float) -> Settled[C]:
        """A waiter left. If it had just been granted, the slot moves on."""
        if ticket.grant is None:
            self._line.remove(ticket)
            return Settled(wake=None, close=None)
        return self.give_back(ticket.grant.connection, now_s)

    def expire(self, now_s: float) -> list[C]:
        """Take out the connections that idled too long; the caller closes them."""
        oldest_s = now_s - self.limits.idle_s_max
        expired: list[C] = []
        idle = self._idle
        while idle and idle[0][1] <= oldest_s:
            expired.append(idle.popleft()[0])
        return expired

    def shut(self) -> list[Ticket[C]]:
        """Keep nothing from now on; the caller wakes those who waited in vain."""
        self._shut = True
        dismissed = list(self._line)
        self._line.clear()
        return dismissed

    def prune(self, is_dead: Callable[[C], bool]) -> list[C]:
        """Take out the idle connections found dead; the caller closes them."""
        alive: deque[tuple[C, float]] = deque()
        dead: list[C] = []
        for connection, since_s in self._idle:
            if is_dead(connection):
                dead.append(connection)
            else:
                alive.append((connection, since_s))
        self._idle = alive
        return dead

    def drain(self) -> list[C]:
        """Take out every idle connection; the caller closes them."""
        drained = [connection for connection, _ in self._idle]
        self._idle.clear()
        return drained

    def __repr__(self) -> str:
        return (
            f"<Pool leased={self.leased}/{self.limits.connections_max}"
            f" idle={self.idle} waiting={self.waiting}/{self.limits.waiters_max}>"
        )
