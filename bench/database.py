"""What the store costs: reads, writes, changes heard, on SQLite and on PostgreSQL.

    python -m bench.database [--rounds N]

PostgreSQL is a throw-away server of the system's packages (as in the tests), with fsync
off: its rows tell of hops and round trips, not of a disk. SQLite syncs every commit.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from actors.directory.messages import KeyTerms
from gateway.settings.config import Config
from gateway.settings.sites import SiteConfig
from gateway.sites import Sites
from storage.directory import SqlDirectory
from storage.sql.opening import open_database
from storage.sql.port import Database, Transaction
from tests.support_postgres import PostgresServer

WRITE = (
    "INSERT INTO channel (name, version) VALUES ('bench', 1) "
    "ON CONFLICT (name) DO UPDATE SET version = channel.version + 1"
)


async def timed_us(rounds: int, job: Callable[[], Awaitable[object]]) -> float:
    """The median."""
    took: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        await job()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


async def heard_ms(database: Database, other: Database, rounds: int) -> float:
    """From a commit elsewhere to the end of a subscriber's wait."""
    took: list[float] = []
    bell = await database.subscribe("bench")
    for _ in range(rounds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.wait)
            await other.transact(lambda tx: tx.notify("bench"))
            began = time.perf_counter()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


async def measure(name: str, url: str, folder: Path, rounds: int) -> None:
    """One row."""
    database = await open_database(url, folder)
    other = await open_database(url, folder)
    try:

        def write(tx: Transaction) -> int:
            return tx.run(WRITE)

        def batch(tx: Transaction) -> int:
            return sum(tx.run(WRITE) for _ in range(100))

        directory = SqlDirectory(database, time.time)
        read_us = await timed_us(rounds, lambda: database.read("SELECT 1"))
        write_us = await timed_us(rounds, lambda: database.transact(write))
        batch_us = await timed_us(rounds // 10, lambda: database.transact(batch))
        key_us = await timed_us(
            rounds // 10, lambda: directory.create_key("s", KeyTerms(), by="bench")
        )
        heard = await heard_ms(database, other, 20)
        print(
            f"| {name} | {read_us:.0f} | {write_us:.0f} | {batch_us / 100:.0f} | "
            f"{key_us / 1000:.2f} | {heard:.1f} |"
        )
    finally:
        await database.aclose()
        await other.aclose()


async def keys_us(folder: Path, keys: int) -> tuple[float, float]:
    """Finding one of many keys, and following one that is changed."""
    database = await open_database("", folder)
    try:
        directory = SqlDirectory(database, time.time)
        found = [
            (await directory.create_key(f"s{number // 100}", KeyTerms(), by="bench"))
            for number in range(keys)
        ]
        named = tuple(SiteConfig(name=f"s{n}") for n in range(keys // 100 + 1))
        sites = Sites(Config(sites=named, providers=(), models=()))
        sites.follow((await directory.changes()).keys)
        secret = found[-1].secret.encode()
        assert sites.find(secret) is not None
        began = time.perf_counter()
        for _ in range(10_000):
            sites.find(secret)
        find_us = (time.perf_counter() - began) / 10_000 * 1e6
        held = (await directory.changes()).keys[-1:]
        began = time.perf_counter()
        for _ in range(1000):
            sites.follow(held)
        return find_us, (time.perf_counter() - began) / 1000 * 1e6
    finally:
        await database.aclose()


async def run(rounds: int) -> None:
    """All of it."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
    print("| store | read µs | write µs | of 100 in one µs | new key ms | heard ms |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        await measure("SQLite", "", Path(folder), rounds)
    server = await trio.to_thread.run_sync(PostgresServer.start)
    try:
        with tempfile.TemporaryDirectory() as folder:
            await measure("PostgreSQL", server.database(), Path(folder), rounds)
    finally:
        server.stop()
    with tempfile.TemporaryDirectory() as folder:
        find, follow = await keys_us(Path(folder), 500)
        print(f"\nfind a key: {find:.2f} µs; follow a changed one: {follow:.1f} µs")


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    trio.run(run, parser.parse_args().rounds)


if __name__ == "__main__":
    main()
