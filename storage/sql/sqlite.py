"""SQLite: one file in the state folder, for all workers of one machine.

Owns: one connection that writes, a few that read, each in a thread of its own
(`apsw.aio`), so that a transaction is one hop and cancelling one interrupts it. WAL:
readers see the last commit while a writer writes. Every commit is on disk before it is
acknowledged (`synchronous=FULL`). Other processes' locks are waited for between tries,
not inside of one: the thread stays free and cancelling stays prompt. Implements
`Database`.

Never on a network's file system: its locks and shared memory do not hold there. Never
opened in this process with another SQLite (Python's own `sqlite3`): POSIX locks are a
process's, so the two would not see each other's.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import apsw
import apsw.aio
import trio

from storage.sql.bells import COUNT_UP, READ_VERSION, Bell, Bells
from storage.sql.port import (
    TRIES_MAX,
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
from storage.sql.words import for_sqlite

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")
Gone = Callable[[], bool]
"""Whether whoever asked has left; asked before a COMMIT."""

FILE: Final = "stagedoor.sqlite3"
READERS: Final = 2  # The Console beside a snapshot; a third would wait for the disk.
BUSY_MS: Final = 100  # In the thread; beyond it the loop waits, with jitter.
POLL_S: Final = 0.25  # A look is one hop, 0.1 ms: 0.04 % of a core, a quarter's delay.
WAL_BYTES_MAX: Final = 64 * 2**20  # What a burst leaves behind is cut to this.

_PRAGMAS: Final = f"""
PRAGMA busy_timeout = {BUSY_MS};
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA journal_size_limit = {WAL_BYTES_MAX};
"""


_FOR_READERS: Final = f"{_PRAGMAS}PRAGMA query_only = ON;"


class _Work:
    """The statements of one transaction; see Transaction. Used in a thread."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.rung: set[str] = set()

    def rows(self, sql: str, *args: Value) -> list[Row]:
        with _said_plainly(sql):
            return list(self._connection.execute(for_sqlite(sql), args))

    def row(self, sql: str, *args: Value) -> Row | None:
        found = self.rows(sql, *args)
        return found[0] if found else None

    def run(self, sql: str, *args: Value) -> int:
        with _said_plainly(sql):
            self._connection.execute(for_sqlite(sql), args)
        return self._connection.changes()

    def run_many(self, sql: str, batch: Iterable[Sequence[Value]]) -> int:
        before = self._connection.total_changes()
        with _said_plainly(sql):
            self._connection.executemany(for_sqlite(sql), batch)
        return self._connection.total_changes() - before

    def script(self, text: str) -> None:
        with _said_plainly(text):
            _script(self._connection, text)

    def notify(self, channel: str) -> None:
        self.run(COUNT_UP, channel)
        self.rung.add(channel)


class _Lane:
    """One connection in its thread: `run` gets there, `here` is it once there."""

    def __init__(self, connection: apsw.AsyncConnection) -> None:
        self._connection = connection
        # The same object: its methods are plain ones in its own thread.
        self.here = cast("apsw.Connection", connection)

    async def run(self, job: Callable[[Gone], T]) -> T:
        gone = threading.Event()
        try:
            result: T = await self._connection.async_run(job, gone.is_set)
        except trio.TooSlowError:
            # The asker's own deadline, seen by the thread first: it is cancelled here.
            await trio.lowlevel.checkpoint()
            raise DatabaseUnavailable("the asker's deadline has passed") from None
        except trio.Cancelled:
            gone.set()
            raise
        return result

    async def aclose(self) -> None:
        await self._connection.aclose()


class SqliteDatabase:
    """An open file."""

    def __init__(self, path: Path, lanes: Sequence[_Lane], rng: Random) -> None:
        self.path = path
        self._writer, *self._idle = lanes
        self._all = tuple(lanes)
        self._turn = trio.Lock()
        self._reading = trio.Semaphore(len(self._idle))
        self._rng = rng
        self._bells = Bells(self._version, POLL_S)
        self._closed = False
        self._file = _identity(path)

    def __repr__(self) -> str:
        return f"<SqliteDatabase {self.path}>"

    @property
    def kind(self) -> Kind:
        """See Database."""
        return "sqlite"

    async def read(self, sql: str, *args: Value) -> list[Row]:
        """See Database."""
        return await self.view(lambda query: query.rows(sql, *args))

    async def view(self, work: Callable[[Query], T]) -> T:
        """See Database."""
        async with self._reading:
            reader = self._idle.pop()
            try:
                return await self._trying(
                    reader, lambda _: transaction(reader.here, "BEGIN", work)[0]
                )
            finally:
                self._idle.append(reader)

    async def transact(
        self, work: Callable[[Transaction], T], *, isolation: Isolation = "serializable"
    ) -> T:
        """See Database."""
        del isolation  # There is one writer at a time.
        async with self._turn:
            result, rung = await self._trying(
                self._writer, lambda gone: self._write(work, gone)
            )
        for channel in rung:
            self._bells.ring(channel)
        return result

    def _write(
        self, work: Callable[[Transaction], T], gone: Gone
    ) -> tuple[T, set[str]]:
        # SQLite itself goes on in a file that has no name any more, and a start would
        # find none of it: keys that were revoked, and money that was spent, come back.
        if _identity(self.path) != self._file:
            raise DatabaseUnavailable(
                f"{self.path} was removed or replaced while it was open; put it back, "
                "or restart to go on with what is there now"
            )
        return transaction(self._writer.here, "BEGIN IMMEDIATE", work, gone)

    async def subscribe(self, channel: str) -> Bell:
        """See Database."""
        return await self._bells.subscribe(channel)

    async def aclose(self) -> None:
        """See Database."""
        self._closed = True
        with trio.CancelScope(shield=True):
            # The writer last: whoever closes last folds the WAL into the file.
            for lane in reversed(self._all):
                await lane.aclose()

    async def script(self, text: str) -> None:
        """Statements without arguments, outside of a transaction of ours."""
        async with self._turn:
            await self._trying(self._writer, lambda _: _script(self._writer.here, text))

    async def _version(self, channel: str) -> int:
        found = await self.read(READ_VERSION, channel)
        return int(found[0][0]) if found else 0

    async def _trying(self, lane: _Lane, job: Callable[[Gone], T]) -> T:
        """Run a job in the connection's thread; again while the file is locked."""
        for attempt in range(TRIES_MAX):
            if self._closed:
                raise DatabaseUnavailable(f"{self.path} was closed")
            if attempt:
                await trio.sleep(backoff_s(attempt, self._rng))
            try:
                return await lane.run(job)
            except (apsw.BusyError, apsw.LockedError):
                continue
            except apsw.Error as error:
                raise _unavailable(self.path, error) from None
        raise DatabaseUnavailable(
            f"{self.path} stays locked by another process; look for one that holds a "
            "transaction open"
        )


async def open_sqlite(path: Path, rng: Random | None = None) -> SqliteDatabase:
    """Open the file, or begin it with mode 0600. Raises DatabaseUnavailable."""
    await trio.to_thread.run_sync(_prepare, path)
    opened: list[_Lane] = []
    try:
        for _ in range(1 + READERS):
            opened.append(await _connect(path))  # noqa: PERF401 - closed one by one
        database = SqliteDatabase(
            path,
            opened,
            rng or Random(),  # noqa: S311 - jitter, not secrets
        )
        await database.script(_PRAGMAS)
        for reader in opened[1:]:
            await reader.run(lambda _, to=reader: _script(to.here, _FOR_READERS))  # type: ignore[misc]
    except BaseException as error:
        with trio.CancelScope(shield=True):
            for lane in opened:
                await lane.aclose()
        if isinstance(error, apsw.Error):
            raise _unavailable(path, error) from None
        raise
    return database


async def _connect(path: Path) -> _Lane:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
    before = apsw.async_controller.set(cast("Any", apsw.aio.Trio))
    try:
        return _Lane(await apsw.Connection.as_async(str(path), flags=flags))
    finally:
        apsw.async_controller.reset(before)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None for none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare(path: Path) -> None:
    """Make the file ours alone before SQLite does; its WAL and index take its mode."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path, flags, 0o600)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise DatabaseUnavailable(
            f"{path} cannot be opened: {why}; it must be this user's to write"
        ) from None
    if not stat.S_ISREG(found.st_mode):
        raise DatabaseUnavailable(f"{path} is no file")
    if found.st_uid != os.geteuid():
        raise DatabaseUnavailable(f"{path} belongs to user {found.st_uid}, not to us")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise DatabaseUnavailable(
            f"{path} is open to others (mode {mode:04o}); chmod 600 it"
        )


def _script(connection: apsw.Connection, text: str) -> None:
    for _ in connection.execute(text):
        pass


def transaction(
    connection: apsw.Connection,
    begin: str,
    work: Callable[[_Work], T],
    gone: Gone = lambda: False,
) -> tuple[T, set[str]]:
    """In the connection's thread: all of it, or nothing."""
    connection.execute(begin)
    doing = _Work(connection)
    try:
        result = work(doing)
        stay_if_wanted(gone=gone())
        with _said_plainly("COMMIT"):
            connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result, doing.rung


_BETWEEN_ROWS: Final = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: Duplicate,
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: Duplicate,
    apsw.SQLITE_CONSTRAINT_ROWID: Duplicate,
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: Dangling,
}


@contextmanager
def _said_plainly(sql: str) -> Generator[None]:
    """Raise what the port promises, without the values."""
    try:
        yield
    except apsw.ConstraintError as error:
        kind = _BETWEEN_ROWS.get(getattr(error, "extendedresult", 0), StatementFailed)
        raise kind(f"{_name(error)}: {sql}") from None
    except (
        apsw.SQLError,
        apsw.BindingsError,
        apsw.MismatchError,
        apsw.RangeError,
        apsw.TooBigError,
        apsw.ReadOnlyError,
    ) as error:
        raise StatementFailed(f"{_name(error)}: {error}: {sql}") from None


def _unavailable(path: Path, error: apsw.Error) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"{path}: {_name(error)}")


def _name(error: apsw.Error) -> str:
    code = getattr(error, "extendedresult", 0)
    known = apsw.mapping_extended_result_codes | apsw.mapping_result_codes
    return str(known.get(code, type(error).__name__))
