"""Grants in the shared store: claimed once, by whichever worker is first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actors.granter.ports import GrantRow, StoreUnavailable
from storage.grants import SqlGrants
from storage.sql.opening import open_database
from storage.sql.port import Database

NOW_S = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW_S

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def row(name: str, *, site: str = "acme", size: int = 4, ttl_s: float = 60) -> GrantRow:
    return GrantRow(name, site, NOW_S + ttl_s, b"x" * size)


@pytest.fixture
async def two(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Database, ...]]:
    """The same store, as two workers have it."""
    opened = [await open_database(database_url, tmp_path) for _ in range(2)]
    yield tuple(opened)
    for one in opened:
        await one.aclose()


async def test_of_all_workers_one_gets_it(
    two: tuple[Database, ...], clock: Clock
) -> None:
    workers = [SqlGrants(database, clock) for database in two]
    assert await workers[0].put(row("a"))
    got: list[object] = []

    async def claim(worker: SqlGrants) -> None:
        got.append(await worker.claim("a"))

    async with trio.open_nursery() as nursery:
        for worker in workers * 6:
            nursery.start_soon(claim, worker)

    assert sorted(map(str, got)) == ["b'xxxx'"] + ["used"] * 11
    assert await workers[1].claim("b") == "unknown"


async def test_it_is_gone_when_it_has_expired(database: Database, clock: Clock) -> None:
    grants = SqlGrants(database, clock)
    await grants.put(row("a"))
    await grants.put(row("b", ttl_s=120))
    clock.now += 61

    assert await grants.claim("a") == "unknown"
    await grants.put(row("c", ttl_s=200))
    left = await database.read("SELECT request_id FROM stream_grant ORDER BY 1")
    assert [one[0] for one in left] == ["b", "c"]


async def test_no_site_and_not_all_together_take_more_than_their_bound(
    database: Database, clock: Clock
) -> None:
    grants = SqlGrants(database, clock, waiting_max=8, bytes_max=400)

    assert await grants.put(row("a1"))
    assert await grants.put(row("a2"))
    assert not await grants.put(row("a3"))
    assert not await grants.put(row("b1", site="b", size=101))
    for place in range(6):
        assert await grants.put(row(f"s{place}", site=f"s{place // 2}", size=50))
    assert not await grants.put(row("full", site="more"))


async def test_a_used_one_gives_its_bytes_back(
    database: Database, clock: Clock
) -> None:
    grants = SqlGrants(database, clock, waiting_max=40, bytes_max=400)
    assert await grants.put(row("a", size=90))
    assert not await grants.put(row("b", size=90))

    await grants.claim("a")

    assert await grants.put(row("b", size=90))


async def test_a_store_that_cannot_be_reached_says_so(
    database: Database, clock: Clock
) -> None:
    grants = SqlGrants(database, clock)
    await database.aclose()

    with pytest.raises(StoreUnavailable):
        await grants.put(row("a"))
    with pytest.raises(StoreUnavailable):
        await grants.claim("a")
