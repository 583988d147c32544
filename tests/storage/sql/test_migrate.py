"""The order of migrations, over both databases."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from storage.sql.migrate import Migration, SchemaRefused, migrate, shipped
from storage.sql.opening import open_database
from storage.sql.port import (
    Database,
    DatabaseUnavailable,
    StatementFailed,
    Transaction,
)
from storage.sql.postgres import open_postgres
from storage.sql.postgres_link import PostgresUrl
from storage.sql.sqlite import FILE, open_sqlite
from storage.sql.words import for_postgres, for_sqlite, migration_for_sqlite

ONE = Migration(1, "one", "CREATE TABLE one (\n    x BIGINT\n);\n")
TWO = Migration(2, "two", "ALTER TABLE one ADD COLUMN y TEXT;\n")
FIVE = Migration(5, "five", "CREATE TABLE five (\n    x BIGINT\n);\n")


@pytest.fixture
async def bare(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A store without tables."""
    if database_url:
        store: Database = await open_postgres(database_url)
    else:
        store = await open_sqlite(tmp_path / FILE)
    try:
        yield store
    finally:
        await store.aclose()


async def test_what_is_missing_is_applied_once_in_order(bare: Database) -> None:
    assert await migrate(bare, [ONE]) == (ONE,)
    assert await migrate(bare, [ONE, TWO, FIVE]) == (TWO, FIVE)
    assert await migrate(bare, [ONE, TWO, FIVE]) == ()


async def test_a_lower_number_that_came_later_is_applied_too(bare: Database) -> None:
    """Each part of the product has a range of numbers, and grows by itself."""
    await migrate(bare, [ONE, FIVE])

    assert await migrate(bare, [ONE, TWO, FIVE]) == (TWO,)


async def test_a_file_that_was_changed_is_refused(bare: Database) -> None:
    await migrate(bare, [ONE])

    with pytest.raises(SchemaRefused, match="0001 one is not the one that was applied"):
        await migrate(bare, [attrs.evolve(ONE, text="CREATE TABLE other (x BIGINT);")])


async def test_the_tables_of_a_newer_version_are_refused(bare: Database) -> None:
    """An old worker that wrote on would break what the new one relies on."""
    await migrate(bare, [ONE, TWO])

    with pytest.raises(SchemaRefused, match=r"newer version.*0002 two.*restore"):
        await migrate(bare, [ONE])


async def test_one_that_fails_leaves_nothing_behind(bare: Database) -> None:
    """Half a migration would be refused by every later start."""
    broken = Migration(
        2, "two", "CREATE TABLE two (\n    x BIGINT\n);\nSELECT nothing;"
    )

    with pytest.raises(StatementFailed):
        await migrate(bare, [ONE, broken])

    assert await migrate(
        bare, [ONE, attrs.evolve(TWO, text=ONE.text.replace("one", "two"))]
    )
    assert await bare.read("SELECT * FROM two") == []


async def test_many_workers_that_start_at_once_migrate_once(
    database_url: str, tmp_path: Path
) -> None:
    """Each with connections of its own, as processes have."""
    stores: list[Database] = []

    async def worker() -> None:
        stores.append(await open_database(database_url, tmp_path))

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(worker)
        rows = await stores[0].read("SELECT number FROM schema_migration ORDER BY 1")
        assert rows == [(one.number,) for one in shipped()]
    finally:
        for store in stores:
            await store.aclose()


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_sqlites_files_are_ours_alone(tmp_path: Path) -> None:
    store = await open_database("", tmp_path)
    try:
        await store.transact(lambda tx: tx.notify("x"))
        open_modes = _modes(tmp_path)
    finally:
        await store.aclose()

    assert open_modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
    assert _modes(tmp_path) == {FILE: 0o600}


async def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).touch(mode=0o644)

    with pytest.raises(DatabaseUnavailable, match="chmod 600"):
        await open_database("", tmp_path)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all" * 100)
    (tmp_path / FILE).chmod(0o600)

    with pytest.raises(DatabaseUnavailable, match="NOTADB"):
        await open_database("", tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/x",
        "postgresql://me:hunter2@127.0.0.1:1/x?nonsense=1",
    ],
)
async def test_a_database_that_is_not_there_is_named_without_its_password(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await open_database(url, tmp_path)

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__}"
    assert "hunter2" not in shown


def test_a_database_elsewhere_is_encrypted_unless_told_otherwise() -> None:
    """The keys' digests and everybody's spending go over this line."""
    modes = {
        url: PostgresUrl.of(url).parts.get("sslmode")
        for url in (
            "postgresql://db.example/x",
            "postgresql://127.0.0.1,db.example/x",
            "postgresql://db.example/x?sslmode=disable",
            "postgresql://localhost/x",
            "postgresql:///x?host=/run/postgresql",
        )
    }

    assert list(modes.values()) == ["require", "require", "disable", None, None]


def test_signs_within_literals_are_left_alone() -> None:
    sql = """SELECT '?', "a?", 'it''s ?', x % 2 FROM t WHERE y = ? -- why?"""

    assert for_postgres(sql) == (
        """SELECT '?', "a?", 'it''s ?', x %% 2 FROM t WHERE y = %s -- why?"""
    )
    assert for_sqlite("SELECT 'x FOR UPDATE' FROM t FOR UPDATE SKIP LOCKED") == (
        "SELECT 'x FOR UPDATE' FROM t"
    )


def test_every_shipped_migration_has_strict_tables_in_sqlite() -> None:
    """A number in a column of text would be a bug that only one database shows."""
    for one in shipped():
        text = migration_for_sqlite(one.text)
        assert text.count("CREATE TABLE") == text.count(") STRICT;"), one.name


async def test_sums_of_before_know_the_model_that_answered_after_the_migration(
    bare: Database,
) -> None:
    """Narrow rows are made anew from those that have all dimensions; times stay."""
    routes = next(one for one in shipped() if one.name == "routes")
    await migrate(bare, [one for one in shipped() if one.number < routes.number])

    def fill(tx: Transaction) -> None:
        for grain, upstream, key in (
            (3600, "small", "k1"), (3600, "small", "k2"), (3600, "large", "k1"),
            (-3600, "", ""), (60, "small", "k1"),
        ):  # fmt: skip
            tx.run(
                "INSERT INTO usage_sum VALUES (?, 0, 't', 's', 'e', ?, 'm', 'p', ?, "
                "'', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
                grain,
                key,
                upstream,
            )
        tx.run(
            "INSERT INTO usage_latency VALUES (3600, 0, 't', 's', 'm', 'p', 1, 9, 4)"
        )

    await bare.transact(fill)
    assert routes in await migrate(bare, shipped())

    rows = await bare.read(
        "SELECT upstream_model, env, key_id, requests, cost_nanousd FROM usage_sum "
        "WHERE grain_s = -3600 ORDER BY upstream_model"
    )
    assert rows == [("large", "", "", 1, 1), ("small", "", "", 2, 2)]
    times = await bare.read("SELECT upstream_model, slot, requests FROM usage_latency")
    assert times == [("", 9, 4)]
