"""What holds of the store, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from storage.sql.opening import open_database
from storage.sql.port import (
    Dangling,
    Database,
    DatabaseUnavailable,
    Duplicate,
    Isolation,
    Query,
    StatementFailed,
    Subscription,
    Transaction,
)
from storage.sql.words import migration_for_sqlite

TABLES = """
CREATE TABLE account (
    name TEXT COLLATE "C" PRIMARY KEY,
    balance BIGINT NOT NULL,
    note BYTEA
);
CREATE TABLE entry (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (name),
    amount BIGINT NOT NULL,
    weight DOUBLE PRECISION
);
"""
SLOW = (
    "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) "
    "SELECT COUNT(*) FROM n"
)


@pytest.fixture
async def bank(database: Database) -> AsyncIterator[Database]:
    """A store with two accounts."""
    text = migration_for_sqlite(TABLES) if database.kind == "sqlite" else TABLES

    def begin(tx: Transaction) -> None:
        tx.script(text)
        tx.run_many(
            "INSERT INTO account (name, balance) VALUES (?, ?)",
            [("a", 100), ("b", 0)],
        )

    await database.transact(begin)
    return database


async def balance(database: Database, name: str) -> int:
    rows = await database.read("SELECT balance FROM account WHERE name = ?", name)
    return int(rows[0][0])


async def test_values_come_back_as_they_went_in(bank: Database) -> None:
    """Integers of 64 bits, any text, bytes, nothing; and % is no sign."""
    text, big, raw = "🚪 100%s ' \" ? --", 2**63 - 1, bytes(range(256))

    def write(tx: Transaction) -> None:
        tx.run("INSERT INTO account VALUES (?, ?, ?)", text, big, raw)
        tx.run("INSERT INTO account VALUES (?, ?, ?)", "z%", -(2**63), None)

    await bank.transact(write)

    rows = await bank.read("SELECT * FROM account WHERE name LIKE '%\\%%' ESCAPE '\\'")
    assert sorted(rows) == sorted([(text, big, raw), ("z%", -(2**63), None)])


async def test_a_sum_is_an_integer_and_an_average_is_not(bank: Database) -> None:
    found = await bank.read(
        "SELECT SUM(balance), AVG(balance), COUNT(*), COALESCE(SUM(balance), 0) "
        "FROM account WHERE name <> ?",
        "?",
    )

    assert found == [(100, 50.0, 2, 100)]
    assert type(found[0][0]) is int


async def test_names_are_ordered_by_their_bytes(bank: Database) -> None:
    """As Python orders them, whatever the machine's language: cursors depend on it."""
    names = ["B", "a_", "a-", "A", "ä", "b1", "Z"]

    await bank.transact(
        lambda tx: tx.run_many(
            "INSERT INTO account VALUES (?, 0, NULL)", [(name,) for name in names]
        )
    )

    rows = await bank.read("SELECT name FROM account ORDER BY name")
    assert [row[0] for row in rows] == sorted([*names, "a", "b"])


async def test_counts_say_how_many_rows_changed(bank: Database) -> None:
    def write(tx: Transaction) -> list[int]:
        return [
            tx.run("UPDATE account SET balance = balance + 1"),
            tx.run("UPDATE account SET balance = 5 WHERE name = ?", "nobody"),
            tx.run("INSERT INTO account VALUES ('a', 0, NULL) ON CONFLICT DO NOTHING"),
            tx.run_many("DELETE FROM account WHERE name = ?", [("a",), ("b",), ("c",)]),
        ]

    assert await bank.transact(write) == [2, 0, 0, 2]


async def test_a_row_that_is_written_can_be_returned(bank: Database) -> None:
    rows = await bank.transact(
        lambda tx: tx.rows(
            "INSERT INTO entry (account, amount) VALUES (?, ?), (?, ?) "
            "RETURNING number, amount",
            "a", 7, "b", 8,
        )
    )  # fmt: skip

    assert rows == [(1, 7), (2, 8)]


async def test_what_work_raises_undoes_it(bank: Database) -> None:
    def work(tx: Transaction) -> None:
        tx.run("UPDATE account SET balance = 0")
        raise LookupError("no")

    with pytest.raises(LookupError):
        await bank.transact(work)

    assert await balance(bank, "a") == 100


@pytest.mark.parametrize(
    ("sql", "args", "error"),
    [
        ("INSERT INTO account VALUES (?, 1, NULL)", ("a",), Duplicate),
        ("INSERT INTO entry (account, amount) VALUES (?, 1)", ("secret",), Dangling),
        ("INSERT INTO account VALUES (?, NULL, NULL)", ("secret",), StatementFailed),
        ("INSERT INTO account VALUES ('x', ?, NULL)", ("secret",), StatementFailed),
        ("SELECT nothing FROM account WHERE name = ?", ("secret",), StatementFailed),
    ],
)
async def test_errors_are_the_same_in_both_and_tell_no_value(
    bank: Database, sql: str, args: tuple[str, ...], error: type[Exception]
) -> None:
    """Arguments are keys and names of customers; the statement is our own text."""
    with pytest.raises(error) as caught:
        await bank.transact(lambda tx: tx.run(sql, *args))

    assert sql in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)
    # It serves on.
    assert await balance(bank, "a") == 100


async def test_readers_do_not_write(bank: Database) -> None:
    def work(query: Query) -> None:
        query.rows("UPDATE account SET balance = 0 RETURNING name")

    with pytest.raises(StatementFailed):
        await bank.view(work)


async def test_a_view_is_of_one_moment(bank: Database) -> None:
    """What others commit while it looks does not show in it."""
    looked, changed = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def look(query: Query) -> tuple[int, int]:
        first = query.rows("SELECT SUM(balance) FROM account")[0][0]
        trio.from_thread.run_sync(looked.set, trio_token=token)
        trio.from_thread.run(changed.wait, trio_token=token)
        return first, query.rows("SELECT SUM(balance) FROM account")[0][0]

    async with trio.open_nursery() as nursery:

        async def change() -> None:
            await looked.wait()
            await bank.transact(lambda tx: tx.run("UPDATE account SET balance = 1"))
            changed.set()

        nursery.start_soon(change)
        assert await bank.view(look) == (100, 100)

    assert await balance(bank, "a") == 1


@pytest.mark.parametrize("isolation", ["serializable", "read_committed"])
async def test_transactions_side_by_side_lose_no_update(
    bank: Database, isolation: Isolation
) -> None:
    """Twenty tasks move money between two rows; none is made or lost."""

    def move(tx: Transaction) -> bool:
        taken = tx.run(
            "UPDATE account SET balance = balance - 7 WHERE name = 'a' AND balance >= 7"
        )
        if taken:
            tx.run("UPDATE account SET balance = balance + 7 WHERE name = 'b'")
        return bool(taken)

    moved: list[bool] = []

    async def mover() -> None:
        moved.append(await bank.transact(move, isolation=isolation))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(mover)

    assert sum(moved) == 100 // 7
    assert (await balance(bank, "a"), await balance(bank, "b")) == (2, 98)


async def test_a_serializable_pair_that_reads_what_the_other_writes_runs_one_by_one(
    bank: Database,
) -> None:
    """The write skew that weaker isolation lets through: both see 100, both take 60."""

    def take(name: str) -> Callable[[Transaction], bool]:
        def work(tx: Transaction) -> bool:
            total = tx.rows("SELECT SUM(balance) FROM account")[0][0]
            if total < 60:
                return False
            tx.run("UPDATE account SET balance = balance - 60 WHERE name = ?", name)
            return True

        return work

    taken: list[bool] = []

    async def taker(name: str) -> None:
        taken.append(await bank.transact(take(name)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker, "a")
        nursery.start_soon(taker, "b")

    assert sorted(taken) == [False, True]


async def test_cancelling_ends_the_statement_and_the_store_serves_on(
    bank: Database,
) -> None:
    """An abandoned dashboard must not keep the database busy for minutes."""
    with trio.move_on_after(0.2) as scope:
        await bank.read(SLOW, 2**40)

    assert scope.cancelled_caught
    with trio.fail_after(10):
        assert await balance(bank, "a") == 100


async def test_a_cancelled_transaction_holds_nothing_back(bank: Database) -> None:
    def work(tx: Transaction) -> None:
        tx.run("UPDATE account SET balance = 0")
        tx.rows(SLOW, 2**40)

    with trio.move_on_after(0.2) as scope:
        await bank.transact(work)

    assert scope.cancelled_caught
    with trio.fail_after(10):
        done = await bank.transact(
            lambda tx: tx.run("UPDATE account SET balance = balance + 1")
        )
    assert done == 2
    assert await balance(bank, "a") == 101


async def test_a_change_wakes_its_subscribers_and_no_others(bank: Database) -> None:
    mine, other = await bank.subscribe("mine"), await bank.subscribe("other")
    woken: list[str] = []
    async with trio.open_nursery() as nursery:

        async def hear(name: str, bell: Subscription, heard: trio.Event) -> None:
            await bell.wait()
            woken.append(name)
            heard.set()

        heard = trio.Event()
        nursery.start_soon(hear, "mine", mine, heard)
        nursery.start_soon(hear, "other", other, trio.Event())
        await bank.transact(lambda tx: tx.notify("mine"))
        with trio.fail_after(10):
            await heard.wait()
        assert woken == ["mine"]
        await bank.transact(lambda tx: tx.notify("other"))
    assert woken == ["mine", "other"]


async def test_a_change_that_is_undone_wakes_nobody(bank: Database) -> None:
    bell = await bank.subscribe("mine")

    def work(tx: Transaction) -> None:
        tx.notify("mine")
        raise LookupError

    with pytest.raises(LookupError):
        await bank.transact(work)

    with trio.move_on_after(0.4) as scope:
        await bell.wait()
    assert scope.cancelled_caught


async def test_a_change_before_the_wait_is_heard(bank: Database) -> None:
    """Who subscribes, reads, and then waits misses nothing in between."""
    bell = await bank.subscribe("mine")

    await bank.transact(lambda tx: tx.notify("mine"))

    with trio.fail_after(10):
        await bell.wait()


async def test_another_process_is_heard_within_a_second(
    bank: Database, database_url: str, tmp_path: Path
) -> None:
    """A second store object shares nothing with the first but the database."""
    bell = await bank.subscribe("mine")
    other = await open_database(database_url, tmp_path)
    try:
        async with trio.open_nursery() as nursery:

            async def hear() -> None:
                with trio.fail_after(1):
                    await bell.wait()

            nursery.start_soon(hear)
            await other.transact(lambda tx: tx.notify("mine"))
    finally:
        await other.aclose()


async def test_a_store_that_was_closed_says_so(
    database_url: str, tmp_path: Path
) -> None:
    store = await open_database(database_url, tmp_path)
    await store.aclose()

    with pytest.raises(DatabaseUnavailable, match="closed"):
        await store.read("SELECT 1")
