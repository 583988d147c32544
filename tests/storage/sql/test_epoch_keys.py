"""Keys by epoch: one for all workers, sealed in the database, gone when old."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actors.granter.ports import StoreUnavailable
from actors.vault.safe import Safe
from gateway.embed import memory_safe
from storage.epoch_keys import SqlEpochKeys
from storage.sql.opening import open_database
from storage.sql.port import Database


def keys(database: Database, safe: Safe) -> SqlEpochKeys:
    return SqlEpochKeys(database, safe, tenant="acme", environment="prod")


def safe() -> Safe:
    return memory_safe(wall=lambda: 1_800_000_000.0)


@pytest.fixture
async def two(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Database, ...]]:
    """The same store, as two workers have it."""
    opened = [await open_database(database_url, tmp_path) for _ in range(2)]
    yield tuple(opened)
    for one in opened:
        await one.aclose()


async def test_all_workers_get_the_same_key(two: tuple[Database, ...]) -> None:
    shared = safe()
    made: list[bytes] = []

    async def make(database: Database) -> None:
        made.append(await keys(database, shared).make(20_000))

    async with trio.open_nursery() as nursery:
        for database in two * 3:
            nursery.start_soon(make, database)

    assert len(set(made)) == 1
    assert len(made[0]) == 32
    assert await keys(two[1], shared).find(20_000) == made[0]
    rows = await two[0].read("SELECT epoch, kms, blob FROM epoch_key")
    assert [(row[0], row[1]) for row in rows] == [(20_000, "local")]
    assert made[0] not in bytes(rows[0][2])


async def test_a_new_epochs_key_destroys_those_that_are_over(
    database: Database,
) -> None:
    found = keys(database, safe())
    made = [await found.make(epoch) for epoch in (10, 11, 12, 13)]

    assert len(set(made)) == 4
    assert await found.find(10) is None
    assert await found.find(11) == made[1]
    assert await found.find(14) is None


async def test_a_key_is_its_own_epochs(database: Database) -> None:
    """Nobody passes one epoch's key off as another's."""
    found = keys(database, safe())
    await found.make(10)
    await database.transact(lambda tx: tx.run("UPDATE epoch_key SET epoch = 11"))

    assert await found.find(11) is None


async def test_where_the_kms_is_another_a_new_key_is_made(database: Database) -> None:
    first = await keys(database, safe()).make(10)

    second = await keys(database, safe()).make(10)

    assert second != first


async def test_what_cannot_be_reached_says_so(database: Database) -> None:
    found = keys(database, safe())
    await found.make(10)
    await database.transact(lambda tx: tx.run("UPDATE epoch_key SET kms = 'aws:x'"))
    with pytest.raises(StoreUnavailable):
        await found.find(10)
    await database.aclose()

    with pytest.raises(StoreUnavailable):
        await found.make(10)
