"""PostgreSQL: one database for many machines.

Owns: a pool of connections, each used by one thread at a time (psycopg releases the
interpreter while it waits). A connection is opened when one is wanted and none is idle,
so an outage is an error at once and its end is noticed by the next call. Cancelling
sends PostgreSQL a cancel request and waits for the thread. Implements `Database`.

Never: shows a URL, a password, an argument or a row; `PostgresUrl.place` is what is
said of where it is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

import psycopg
import trio

from storage.sql.bells import COUNT_UP, READ_VERSION, Bell, Bells
from storage.sql.port import (
    TRIES_MAX,
    CommitUnknown,
    Dangling,
    DatabaseUnavailable,
    Duplicate,
    Isolation,
    Kind,
    Query,
    Row,
    StatementFailed,
    Transaction,
    Value,
    backoff_s,
    stay_if_wanted,
)
from storage.sql.postgres_link import (
    NOTIFY,
    Connection,
    Ear,
    PostgresUrl,
    connect,
    literal,
)
from storage.sql.words import for_postgres

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

CONNECTIONS_MAX: Final = 8  # Of one process; PostgreSQL allows 100 in all by default.
CANCEL_S: Final = 5.0  # For the cancel request; then the thread is left to its timeout.
IDLE_S: Final = 300.0  # Below the cuts of common firewalls; one more is 3 ms.
POLL_S: Final = 5.0  # Only for what NOTIFY lost: it crosses connections that hang.

_BEGIN: Final = {
    "serializable": "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
    "read_committed": "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    "view": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}
_AGAIN: Final = frozenset({"40001", "40P01"})  # Lost a race, or a deadlock.
_BETWEEN_ROWS: Final = {"23505": Duplicate, "23503": Dangling}
# Connection, race, resources, lock, cancelled or shut down, system, its own bug.
_OUTAGE: Final = ("08", "40", "53", "55", "57", "58", "XX")
# After these in answer to COMMIT nobody knows; no code at all is a lost connection.
_UNKNOWN: Final = ("", "08", "40003", "57P", "58", "XX")


class _Work:
    """The statements of one transaction; see Transaction. Used in a thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.rung: set[str] = set()

    def rows(self, sql: str, *args: Value) -> list[Row]:
        with _said_plainly(sql):
            cursor = self._connection.execute(literal(for_postgres(sql)), args)
            return cursor.fetchall()

    def row(self, sql: str, *args: Value) -> Row | None:
        found = self.rows(sql, *args)
        return found[0] if found else None

    def run(self, sql: str, *args: Value) -> int:
        with _said_plainly(sql):
            return self._connection.execute(literal(for_postgres(sql)), args).rowcount

    def run_many(self, sql: str, batch: Iterable[Sequence[Value]]) -> int:
        with _said_plainly(sql), self._connection.cursor() as cursor:
            cursor.executemany(literal(for_postgres(sql)), batch)
            return max(cursor.rowcount, 0)

    def script(self, text: str) -> None:
        with _said_plainly(text):
            self._connection.execute(literal(text))

    def notify(self, channel: str) -> None:
        self.run(COUNT_UP, channel)
        self.run("SELECT pg_notify(?, ?)", NOTIFY, channel)
        self.rung.add(channel)


class _Call:
    """One job in a thread, and how it is cancelled from outside of it."""

    def __init__(self) -> None:
        self.ended = trio.Event()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._cancelled = False

    def takes(self, connection: Connection | None) -> None:
        """The thread has this connection now, or none any more."""
        with self._lock:
            self._connection = connection
            if self._cancelled and connection is not None:
                raise DatabaseUnavailable("cancelled")

    @property
    def gone(self) -> bool:
        """Whether whoever asked has left."""
        return self._cancelled

    def cancel(self) -> None:
        """End what its connection does. The lock keeps it from being another's."""
        with self._lock:
            self._cancelled = True
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=CANCEL_S)


Job = Callable[[Connection, _Call], T]


class PostgresDatabase:
    """A database that was reached once."""

    def __init__(self, url: PostgresUrl, connections_max: int, rng: Random) -> None:
        self.url = url
        self._limiter = trio.CapacityLimiter(connections_max)
        self._idle: deque[tuple[float, Connection]] = deque()
        self._token = trio.lowlevel.current_trio_token()
        self._rng = rng
        self._bells = Bells(self._version, POLL_S)
        self._ear: Ear | None = None
        self._closed = False

    def __repr__(self) -> str:
        used = self._limiter.borrowed_tokens
        return f"<PostgresDatabase {self.url} used={used} idle={len(self._idle)}>"

    @property
    def kind(self) -> Kind:
        """See Database."""
        return "postgresql"

    async def read(self, sql: str, *args: Value) -> list[Row]:
        """See Database."""
        # One statement is one view by itself: no BEGIN, no COMMIT.
        return await self._trying(lambda c, _: _Work(c).rows(sql, *args))

    async def view(self, work: Callable[[Query], T]) -> T:
        """See Database."""
        return (
            await self._trying(lambda c, call: _transaction(c, "view", work, call))
        )[0]

    async def transact(
        self, work: Callable[[Transaction], T], *, isolation: Isolation = "serializable"
    ) -> T:
        """See Database."""
        result, rung = await self._trying(
            lambda c, call: _transaction(c, isolation, work, call)
        )
        for channel in rung:
            self._bells.ring(channel)
        return result

    async def subscribe(self, channel: str) -> Bell:
        """See Database."""
        if self._ear is None:
            self._ear = Ear(self.url, self._token, self._bells)
        return await self._bells.subscribe(channel)

    async def aclose(self) -> None:
        """See Database."""
        self._closed = True
        with trio.CancelScope(shield=True):
            if self._ear is not None:
                await trio.to_thread.run_sync(self._ear.close)
            while self._idle:
                await trio.to_thread.run_sync(self._idle.pop()[1].close)

    async def _version(self, channel: str) -> int:
        found = await self.read(READ_VERSION, channel)
        return int(found[0][0]) if found else 0

    async def _trying(self, job: Job[T]) -> T:
        """Run a job over a connection; again when it lost to another."""
        for attempt in range(TRIES_MAX):
            if self._closed:
                raise DatabaseUnavailable(f"{self.url} was closed")
            if attempt:
                await trio.sleep(backoff_s(attempt, self._rng))
            try:
                return await self._threaded(job)
            except _Stale:
                # It was idle and its server has gone: so have all that were idle.
                # A new one says whether another server is there.
                while self._idle:
                    self._close(self._idle.pop()[1])
            except psycopg.Error as error:
                if (error.sqlstate or "") not in _AGAIN:
                    raise _unavailable(self.url, error) from None
        raise DatabaseUnavailable(
            f"{self.url}: {TRIES_MAX} tries lost to other transactions in a row"
        )

    async def _threaded(self, job: Job[T]) -> T:
        call = _Call()

        def run() -> T:
            try:
                return self._with_connection(call, job)
            finally:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(call.ended.set)

        try:
            return await trio.to_thread.run_sync(
                run, abandon_on_cancel=True, limiter=self._limiter
            )
        except trio.Cancelled:
            with trio.CancelScope(shield=True), trio.move_on_after(CANCEL_S):
                await trio.to_thread.run_sync(call.cancel, abandon_on_cancel=True)
                await call.ended.wait()
            raise

    def _with_connection(self, call: _Call, job: Job[T]) -> T:
        """In a thread."""
        connection, fresh = self._take()
        try:
            call.takes(connection)
            try:
                return job(connection, call)
            finally:
                call.takes(None)
        except psycopg.OperationalError:
            if connection.closed and not fresh:
                raise _Stale from None
            raise
        finally:
            self._give_back(connection)

    def _take(self) -> tuple[Connection, bool]:
        oldest = time.monotonic() - IDLE_S
        while True:
            try:
                since, connection = self._idle.pop()
            except IndexError:
                return connect(self.url), True
            if since >= oldest and not connection.closed:
                return connection, False
            self._close(connection)

    def _give_back(self, connection: Connection) -> None:
        status = connection.info.transaction_status
        if self._closed or status != psycopg.pq.TransactionStatus.IDLE:
            self._close(connection)
        else:
            self._idle.append((time.monotonic(), connection))

    @staticmethod
    def _close(connection: Connection) -> None:
        with suppress(psycopg.Error):
            connection.close()


async def open_postgres(
    url: str, connections_max: int = CONNECTIONS_MAX, rng: Random | None = None
) -> PostgresDatabase:
    """Reach the database once. Raises DatabaseUnavailable."""
    database = PostgresDatabase(
        PostgresUrl.of(url),
        connections_max,
        rng or Random(),  # noqa: S311 - jitter, not secrets
    )
    await database.read("SELECT 1")
    return database


def _transaction(
    connection: Connection, how: str, work: Callable[[_Work], T], call: _Call
) -> tuple[T, set[str]]:
    """In a thread: all of it, or nothing."""
    connection.execute(literal(_BEGIN[how]))
    doing = _Work(connection)
    try:
        result = work(doing)
        stay_if_wanted(gone=call.gone)
    except BaseException:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if not state or state.startswith(_UNKNOWN[1:]):
            why = "the connection was lost during COMMIT; it may stand or not"
            raise CommitUnknown(why) from None
        raise
    return result, doing.rung


@contextmanager
def _said_plainly(sql: str) -> Generator[None]:
    """Raise what the port promises, without the values that psycopg's texts hold."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if not state or state.startswith(_OUTAGE):
            raise  # Judged where the connection is known.
        kind = _BETWEEN_ROWS.get(state, StatementFailed)
        raise kind(f"{type(error).__name__} ({state}): {sql}") from None


def _unavailable(url: PostgresUrl, error: psycopg.Error) -> DatabaseUnavailable:
    state = error.sqlstate or ""
    if not state and not isinstance(error, psycopg.OperationalError):
        return DatabaseUnavailable(f"{url}: {type(error).__name__}")
    if state:
        return DatabaseUnavailable(f"{url}: {type(error).__name__} ({state})")
    # libpq's own words about connecting: host, port and user, never the password.
    first = (str(error).splitlines() or [""])[0]
    return DatabaseUnavailable(f"{url}: {first}")


class _Stale(Exception):
    """An idle connection turned out to be dead."""
