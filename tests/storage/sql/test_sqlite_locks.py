"""SQLite between processes: each with connections of its own to one file."""

from __future__ import annotations

import sys
from pathlib import Path

import apsw
import pytest
import trio

from storage.sql import sqlite
from storage.sql.opening import open_database
from storage.sql.port import Database, DatabaseUnavailable, Transaction

WRITERS = 4
WRITES = 25

# A process that counts up as fast as it may.
COUNTING = f"""
import sys, trio
from pathlib import Path
from storage.sql.opening import open_database
async def main():
    store = await open_database("", Path(sys.argv[1]))
    try:
        for _ in range({WRITES}):
            await store.transact(lambda tx: tx.notify("count"))
    finally:
        await store.aclose()
trio.run(main)
"""


async def test_writers_of_several_processes_lose_no_update(tmp_path: Path) -> None:
    store = await open_database("", tmp_path)
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(WRITERS):
                nursery.start_soon(
                    trio.run_process,
                    [sys.executable, "-c", COUNTING, str(tmp_path)],
                )
            for _ in range(WRITES):
                await store.transact(lambda tx: tx.notify("count"))
        rows = await store.read("SELECT version FROM channel WHERE name = 'count'")
    finally:
        await store.aclose()

    assert rows == [((WRITERS + 1) * WRITES,)]


async def test_a_file_that_stays_locked_is_an_outage_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers go on meanwhile: that is what WAL is for."""
    monkeypatch.setattr(sqlite, "TRIES_MAX", 2)
    store = await open_database("", tmp_path)
    shell = apsw.Connection(str(tmp_path / sqlite.FILE))
    try:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked by another process"):
            await store.transact(lambda tx: tx.notify("x"))
        assert await store.read("SELECT COUNT(*) FROM channel") == [(0,)]
        shell.execute("ROLLBACK")
        await store.transact(lambda tx: tx.notify("x"))
    finally:
        shell.close()
        await store.aclose()


async def test_waiting_for_a_lock_can_be_cancelled(tmp_path: Path) -> None:
    store = await open_database("", tmp_path)
    shell = apsw.Connection(str(tmp_path / sqlite.FILE))
    try:
        shell.execute("BEGIN IMMEDIATE")
        with trio.move_on_after(0.3) as scope:
            await store.transact(lambda tx: tx.notify("x"))
        assert scope.cancelled_caught
        shell.execute("ROLLBACK")
        assert await count(store) == 1
    finally:
        shell.close()
        await store.aclose()


async def count(store: Database) -> int:
    def work(tx: Transaction) -> int:
        tx.notify("x")
        return int(tx.rows("SELECT version FROM channel WHERE name = 'x'")[0][0])

    return await store.transact(work)
