"""The pool's policy: who gets a connection, who waits, what is closed."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.provider.pool import Full, Grant, Pool, PoolLimits, Ticket

LIMITS = PoolLimits(connections_max=3, idle_max=2, idle_s_max=10, waiters_max=2)


def leased(pool: Pool[str], *connections: str) -> None:
    """Lease a slot for each, as if they had been dialled."""
    for _ in connections:
        grant = pool.take()
        assert isinstance(grant, Grant)


def test_the_warmest_connection_is_reused_first() -> None:
    """So that the others can age out after a burst."""
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a", "b")
    pool.give_back("a", 1)
    pool.give_back("b", 2)

    grant = pool.take()

    assert isinstance(grant, Grant)
    assert grant.connection == "b"


def test_a_burst_leaves_no_more_than_the_idle_bound() -> None:
    """The coldest is closed."""
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a", "b", "c")

    closed = [pool.give_back(name, 1).close for name in ("a", "b", "c")]

    assert closed == [None, None, "a"]


def test_without_idle_connections_allowed_each_is_closed() -> None:
    pool: Pool[str] = Pool(PoolLimits(idle_max=0))
    leased(pool, "a")

    assert pool.give_back("a", 1).close == "a"


def test_the_line_is_first_in_first_out_and_bounded() -> None:
    """Who cannot be served in order is refused at once, not parked."""
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a", "b", "c")
    first, second = pool.take(), pool.take()

    assert pool.take() == Full(leased=3, waiting=2)
    assert pool.give_back("a", 1).wake is first
    assert pool.give_back(None, 1).wake is second
    assert isinstance(first, Ticket)
    assert isinstance(second, Ticket)
    assert first.grant is not None
    assert first.grant.connection == "a"
    assert second.grant is not None
    assert second.grant.connection is None, "the connection died: dial"


def test_a_waiter_that_leaves_makes_room() -> None:
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a", "b", "c")
    first, second = pool.take(), pool.take()
    assert isinstance(first, Ticket)

    pool.withdraw(first, 1)

    assert pool.waiting == 1
    assert pool.give_back("a", 1).wake is second


def test_a_waiter_that_leaves_with_its_grant_passes_it_on() -> None:
    """Cancelled between being granted and waking: the slot must not be lost."""
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a", "b", "c")
    first, second = pool.take(), pool.take()
    assert isinstance(first, Ticket)
    pool.give_back("a", 1)

    assert pool.withdraw(first, 1).wake is second


def test_old_idle_connections_expire() -> None:
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a", "b")
    pool.give_back("a", 1)
    pool.give_back("b", 5)

    assert pool.expire(10.9) == []
    assert pool.expire(11) == ["a"]
    assert pool.idle == 1


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="connections_max >= 1"):
        PoolLimits(connections_max=0)


def test_the_repr_tells_an_operator_where_the_slots_are() -> None:
    pool: Pool[str] = Pool(LIMITS)
    leased(pool, "a")

    assert repr(pool) == "<Pool leased=1/3 idle=0 waiting=0/2>"


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Whatever happens in whatever order, slots are neither lost nor shared."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: Pool[int] = Pool(LIMITS)
        self.now_s = 0.0
        self.dialled = 0
        self.held: list[int | None] = []
        self.line: list[Ticket[int]] = []
        self.closed: set[int] = set()

    def _hold(self, connection: int | None) -> None:
        if connection is None:
            self.dialled += 1
            connection = self.dialled
        assert connection not in self.held, "two holders of one connection"
        assert connection not in self.closed, "a closed connection was handed out"
        self.held.append(connection)

    @rule()
    def take(self) -> None:
        match self.pool.take():
            case Ticket() as ticket:
                self.line.append(ticket)
            case Full():
                assert len(self.line) == LIMITS.waiters_max
            case grant:
                assert not self.line, "somebody overtook the line"
                self._hold(grant.connection)

    @precondition(lambda self: self.held)
    @rule(reusable=st.booleans(), which=st.integers(0, 9))
    def give_back(self, reusable: bool, which: int) -> None:
        connection = self.held.pop(which % len(self.held))
        if not reusable:
            assert connection is not None
            self.closed.add(connection)
        settled = self.pool.give_back(connection if reusable else None, self.now_s)
        self._obey(settled.wake, settled.close)

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 9))
    def withdraw(self, which: int) -> None:
        ticket = self.line.pop(which % len(self.line))
        settled = self.pool.withdraw(ticket, self.now_s)
        self._obey(settled.wake, settled.close)

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.closed.update(self.pool.expire(self.now_s))

    @rule()
    def hang_ups_are_found(self) -> None:
        self.closed.update(self.pool.prune(lambda connection: connection % 2 == 0))

    def _obey(self, wake: Ticket[int] | None, close: int | None) -> None:
        if close is not None:
            self.closed.add(close)
        if wake is not None:
            assert wake is self.line.pop(0), "the line is not first in, first out"
            assert wake.grant is not None
            self._hold(wake.grant.connection)

    @invariant()
    def bounds_hold(self) -> None:
        pool = self.pool
        assert pool.leased == len(self.held) <= LIMITS.connections_max
        assert pool.idle <= LIMITS.idle_max
        assert pool.waiting == len(self.line) <= LIMITS.waiters_max
        if pool.waiting:
            assert pool.leased == LIMITS.connections_max, "waiting beside a free slot"


TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
TestAnyOrderOfEvents.settings = settings(max_examples=60, stateful_step_count=40)
