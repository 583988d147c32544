"""What a SQL store can be asked: the port that SQLite and PostgreSQL implement.

Owns: `Database`, `Query`, `Transaction`, `Subscription` and the errors they raise.

    rows = await database.read("SELECT name FROM site WHERE tenant = ?", tenant)

    def work(tx: Transaction) -> int:
        changed = tx.run("UPDATE site SET suspended = 1 WHERE name = ?", name)
        tx.notify("directory")
        return changed

    changed = await database.transact(work)

Rules, the same over both:

- **One SQL.** `?` stands for an argument, never a value in the text. What both
  understand is enough: ON CONFLICT, RETURNING, CTEs, window functions, COALESCE. Times,
  ids and chance are arguments, never now() or random(). Numbers are integers; a truth
  is 0 or 1. `FOR UPDATE` (also SKIP LOCKED) may be written: SQLite has one writer and
  drops it. Where an argument's type cannot be told from its place: `CAST(? AS TEXT)`.
- **Work is a plain function.** It runs in a thread of the store, the whole transaction
  in one go; it must not touch trio, and may run again after a conflict: it has no
  effects but SQL.
- **A statement that fails ends its transaction** (PostgreSQL insists): write ON
  CONFLICT DO NOTHING and look at the count, and catch no `Duplicate` inside of work.
- **Cancelling is prompt**, ends the statement in the database too, and undoes what was
  not about to be committed. Whether a cancelled transaction was is unknown to who
  cancelled it; shield what must not be torn.
- **Nothing secret in errors**: they name the store, the kind of trouble and our own
  SQL, never an argument, a row or a password.

A `MockClock` that jumps does not see a store's threads: tests of what stands on it use
the real clock, or something in memory in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, Final, Literal, Protocol, TypeVar

T = TypeVar("T")

Value = int | float | str | bytes | None
Row = tuple[Any, ...]
Kind = Literal["sqlite", "postgresql"]

Isolation = Literal["serializable", "read_committed"]
"""How far apart transactions are kept.

`serializable`: as if one after the other; a loser runs again. `read_committed`: a
conditional UPDATE of a hot row waits for its turn instead (escrow, counters). SQLite is
always serializable.
"""

TRIES_MAX: Final = 12  # With the waits below about two seconds; then it is an outage.
WAIT_FIRST_S: Final = 0.002  # A transaction of ours takes a few milliseconds.
WAIT_CAP_S: Final = 0.5


class Abandoned(Exception):
    """Whoever asked has left, before the COMMIT. Nobody hears of it."""


class DatabaseError(Exception):
    """Base of what the store raises."""


class DatabaseUnavailable(DatabaseError):
    """It cannot be reached, is full, locked or too slow; it may be back later."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost during COMMIT: it may stand, or not. Never retried."""


class Duplicate(DatabaseError):
    """A row with this key is there already."""


class Dangling(DatabaseError):
    """A row names another that is not there, or is still named by one."""


class StatementFailed(DatabaseError):
    """The statement itself is wrong, or breaks a constraint of its table: our bug."""


class Query(Protocol):
    """Reads within one consistent view of the store."""

    def rows(self, sql: str, *args: Value) -> list[Row]:
        """Every row of the answer."""
        ...

    def row(self, sql: str, *args: Value) -> Row | None:
        """The first row; None where there is none."""
        ...


class Transaction(Query, Protocol):
    """Reads and writes that happen together or not at all."""

    def run(self, sql: str, *args: Value) -> int:
        """How many rows it changed."""
        ...

    def run_many(self, sql: str, batch: Iterable[Sequence[Value]]) -> int:
        """The same statement for many rows; how many it changed in all."""
        ...

    def script(self, text: str) -> None:
        """Several statements without arguments, as they stand: for migrations."""
        ...

    def notify(self, channel: str) -> None:
        """Wake every subscriber of the channel in every process, if this commits.

        For what changes rarely: it also counts a row up, which writers queue for.
        """
        ...


class Subscription(Protocol):
    """Hears of one channel, from when it was made."""

    async def wait(self) -> None:
        """Return when it was notified since the last return (or since the start).

        Many notifications may be one return. An outage of the store is waited out.
        """
        ...

    def close(self) -> None:
        """Hear no more."""
        ...


class Database(Protocol):
    """A store that is open."""

    @property
    def kind(self) -> Kind:
        """Which one; for what cannot be the same in both."""
        ...

    async def read(self, sql: str, *args: Value) -> list[Row]:
        """The rows of one SELECT. Raises DatabaseUnavailable."""
        ...

    async def view(self, work: Callable[[Query], T]) -> T:
        """Several SELECTs over one state of the store. Raises DatabaseUnavailable."""
        ...

    async def transact(
        self, work: Callable[[Transaction], T], *, isolation: Isolation = "serializable"
    ) -> T:
        """Do all of it, or nothing; what `work` raises undoes it and is raised here.

        Conflicts with others are retried, at most `TRIES_MAX` times.

        Raises:
            DatabaseUnavailable: it could not be done, and was not.
            CommitUnknown: it could not be learned whether it was done.
            Duplicate, Dangling: a constraint between rows forbids it.
        """
        ...

    async def subscribe(self, channel: str) -> Subscription:
        """Hear of `notify(channel)`, of this process or another."""
        ...

    async def aclose(self) -> None:
        """End its threads and connections. What runs is cancelled."""
        ...


def stay_if_wanted(*, gone: bool) -> None:
    """Before a COMMIT. Raises Abandoned."""
    if gone:
        raise Abandoned


def backoff_s(attempt: int, rng: Random) -> float:
    """How long the loser of a conflict waits; by chance, so that two part ways."""
    longest: float = min(WAIT_CAP_S, WAIT_FIRST_S * 2**attempt)
    return longest * (0.5 + rng.random() / 2)
