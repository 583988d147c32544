"""Tapes in the shared store: the same rules in memory, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from actors.granter.ports import StoreUnavailable
from actors.tapes.memory import MemoryTapes
from actors.tapes.ports import Part, Save, Saved, TapeRow, TapeStore
from storage.sql.opening import open_database
from storage.sql.port import Database
from storage.tapes import SqlTapes
from tests.support_postgres import PostgresServer

NOW_MS = 1_800_000_000_000


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> str | None:
    """A database's URL; None for memory."""
    if request.param == "memory":
        return None
    if request.param == "sqlite":
        return ""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
async def store(where: str | None, tmp_path: Path) -> AsyncIterator[TapeStore]:
    if where is None:
        yield MemoryTapes()
        return
    database = await open_database(where, tmp_path)
    yield SqlTapes(database)
    await database.aclose()


def row(request_id: str, **changes: object) -> TapeRow:
    made = TapeRow(
        request_id=request_id,
        site="acme",
        name=f"name-{request_id}",
        digest=b"d",
        epoch=7,
        state="running",
        head=b"h",
        alive_ms=NOW_MS,
        expires_ms=NOW_MS + 600_000,
    )
    return msgspec.structs.replace(made, **changes)


async def test_of_all_that_claim_a_name_one_has_it(store: TapeStore) -> None:
    got: list[TapeRow | None] = []

    async def claim(place: int) -> None:
        got.append(await store.claim(row(f"r{place}", name="n"), NOW_MS - 20_000))

    async with trio.open_nursery() as nursery:
        for place in range(8):
            nursery.start_soon(claim, place)

    assert got.count(None) == 1
    assert len({one.request_id for one in got if one is not None}) == 1


async def test_what_was_saved_is_found_in_order(store: TapeStore) -> None:
    first = row("a")
    await store.save([Save(first, (Part(0, b"zero"), Part(3, b"three")))])
    done = row("a", state="complete", head=b"h2")
    await store.save([Save(done, (Part(9, b"nine"),)), Save(row("b"), ())])

    found, parts = await store.parts("a", 3)
    assert (found.state, found.head, found.name) == ("complete", b"h2", "name-a")
    assert [(part.number, part.sealed) for part in parts] == [
        (3, b"three"),
        (9, b"nine"),
    ]
    assert await store.find("acme", "a") == found
    assert await store.find(None, "a") == found
    assert await store.find("other", "a") is None
    assert await store.find("acme", "c") is None


async def test_a_part_that_is_written_twice_is_there_once(store: TapeStore) -> None:
    """A commit whose answer was lost is tried again."""
    for _ in range(2):
        await store.save([Save(row("a"), (Part(0, b"zero"),))])

    _, parts = await store.parts("a", 0)
    assert [part.number for part in parts] == [0]


async def test_a_writer_hears_that_it_should_stop(store: TapeStore) -> None:
    await store.save([Save(row("a"), ()), Save(row("b"), ())])
    await store.want_stop("b")

    saved = await store.save([Save(row("a"), ()), Save(row("b"), ())])
    assert saved == Saved(stops=frozenset({"b"}))


async def test_a_writer_hears_that_what_it_writes_is_not_its_own_any_more(
    store: TapeStore,
) -> None:
    """Another worker took it for dead: nothing of it is written, not even in part."""
    await store.claim(row("a", name="n"), NOW_MS - 20_000)
    late = NOW_MS + 60_000
    assert await store.claim(row("b", name="n", alive_ms=late), late - 20_000) is None

    more = (Part(0, b"zero"),)
    for there in (True, False):
        told = await store.save([Save(row("a", name="n"), more, there=there)])
        assert told == Saved(lost=frozenset({"a"}))
    assert await store.find(None, "a") is None
    assert (await store.find(None, "b")) is not None
    # An id of its own that was swept is told likewise, and can be written anew.
    swept = Save(row("c", name=""), more, there=True)
    assert (await store.save([swept])).lost == {"c"}
    assert (await store.save([Save(row("c", name=""), more)])).lost == frozenset()
    assert [part.number for part in (await store.parts("c", 0))[1]] == [0]


async def test_a_name_is_not_taken_from_a_writer_that_has_come_back(
    store: TapeStore,
) -> None:
    await store.claim(row("a", name="n"), NOW_MS - 20_000)
    late = NOW_MS + 60_000
    await store.save([Save(row("a", name="n", alive_ms=late), (), there=True)])

    found = await store.claim(row("b", name="n", alive_ms=late), late - 20_000)
    assert found is not None
    assert found.request_id == "a"


async def test_a_name_is_free_when_it_was_given_up_has_expired_or_its_writer_is_dead(
    store: TapeStore,
) -> None:
    stale_ms = NOW_MS - 20_000
    await store.claim(row("a", name="n"), stale_ms)
    await store.release("a")
    assert await store.claim(row("b", name="n"), stale_ms) is None

    later = row("c", name="n", alive_ms=NOW_MS + 600_001, expires_ms=NOW_MS + 900_000)
    assert await store.claim(later, stale_ms) is None

    after = row("d", name="n", alive_ms=NOW_MS + 630_000, expires_ms=NOW_MS + 900_000)
    assert await store.claim(after, NOW_MS + 610_000) is None

    await store.save([Save(after, (Part(0, b"a word"),))])
    last = row("e", name="n", alive_ms=NOW_MS + 700_000, expires_ms=NOW_MS + 900_000)
    found = await store.claim(last, NOW_MS + 680_000)
    assert found is not None
    assert found.request_id == "d"


async def test_what_has_expired_goes_and_the_oldest_lose_their_items(
    store: TapeStore,
) -> None:
    for place, expires in enumerate((1, 5, 6, 7)):
        state = "running" if place == 3 else "complete"
        one = row(f"r{place}", state=state, expires_ms=NOW_MS + expires)
        await store.save([Save(one, (Part(0, b"x" * 100),))])

    await store.sweep(NOW_MS + 2, 250)

    assert await store.find(None, "r0") is None
    states = [await store.parts(f"r{place}", 0) for place in (1, 2, 3)]
    assert [(found.state, len(parts)) for found, parts in states] == [
        ("gone", 0),
        ("complete", 1),
        ("running", 1),
    ]


async def test_a_store_that_cannot_be_reached_says_so(database: Database) -> None:
    store = SqlTapes(database)
    await database.aclose()

    with pytest.raises(StoreUnavailable):
        await store.find(None, "a")
    with pytest.raises(StoreUnavailable):
        await store.save([Save(row("a"), ())])
