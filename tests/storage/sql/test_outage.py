"""A PostgreSQL that dies, and comes back: what is said, what is lost, what goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from storage.sql.migrate import migrate
from storage.sql.port import CommitUnknown, Database, DatabaseUnavailable, Transaction
from storage.sql.postgres import open_postgres
from tests.support_postgres import PostgresServer, binaries

HEARD_S = 20.0  # A restart takes one on an idle machine.


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """One of its own: it is killed, and others must not notice."""
    if binaries() is None:
        request.getfixturevalue("postgres_server")  # It says why not.
    made = PostgresServer.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
async def database(server: PostgresServer) -> AsyncIterator[Database]:
    if not server.is_up:
        server.up()  # The test before failed halfway.
    opened = await open_postgres(server.database())
    try:
        await migrate(opened, [])
        yield opened
    finally:
        await opened.aclose()


def note(tx: Transaction) -> int:
    return tx.run(
        "INSERT INTO channel (name, version) VALUES ('note', 1) ON CONFLICT (name) "
        "DO UPDATE SET version = channel.version + 1"
    )


async def test_while_it_is_down_every_call_says_so_at_once_and_then_goes_on(
    server: PostgresServer, database: Database
) -> None:
    """Its idle connections died with it, and are replaced without an error."""
    await database.transact(note)
    server.kill()
    with trio.fail_after(HEARD_S):
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await database.read("SELECT 1")
            with pytest.raises(DatabaseUnavailable):
                await database.transact(note)
    server.up()

    await database.transact(note)
    assert await database.read("SELECT version FROM channel") == [(2,)]


async def test_a_restart_between_two_calls_is_noticed_by_nobody(
    server: PostgresServer, database: Database
) -> None:
    """As at an update: four idle connections die, none is used."""
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(database.read, "SELECT pg_sleep(0.05)")
    server.down()
    server.up()

    assert await database.transact(note) == 1


async def test_a_transaction_that_its_end_did_not_reach_was_not_done(
    server: PostgresServer, database: Database
) -> None:
    def work(tx: Transaction) -> None:
        note(tx)
        server.kill()
        tx.rows("SELECT 1")

    with pytest.raises(DatabaseUnavailable) as caught:
        await database.transact(work)
    server.up()

    assert not isinstance(caught.value, CommitUnknown)
    assert await database.read("SELECT version FROM channel") == []


async def test_a_connection_that_is_lost_during_commit_leaves_it_open(
    server: PostgresServer, database: Database
) -> None:
    """Whoever asked for it must look, with a key of its own, before it tries again."""

    def work(tx: Transaction) -> None:
        note(tx)
        server.kill()

    with pytest.raises(CommitUnknown):
        await database.transact(work)
    server.up()


async def test_who_listens_hears_what_happened_while_it_was_away(
    server: PostgresServer, database: Database
) -> None:
    bell = await database.subscribe("mine")
    heard = trio.Event()

    async def listen() -> None:
        await bell.wait()
        heard.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked(0.2)
        server.kill()
        server.up()
        url = database.url.parts["dbname"]  # type: ignore[attr-defined]
        other = await open_postgres(server.url(url))
        try:
            await other.transact(lambda tx: tx.notify("mine"))
        finally:
            await other.aclose()
        with trio.fail_after(HEARD_S):
            await heard.wait()
