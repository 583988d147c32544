"""Brings a store's tables to what this version needs.

Owns: the order. `migrations/NNNN_name.sql` are applied once each, lowest first, each in
a transaction of its own together with the row that says so; a lock lets one of many
workers that start at once do it while the others wait. Numbers have gaps (each part of
the product has a range): a lower one that is missing is applied too, so files of
different ranges must not depend on each other except on lower numbers.

Never: goes back, or on with tables that it does not know: a file that was changed after
it was applied, or a number from a newer version, is `SchemaRefused`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Final

import attrs

from storage.sql.port import Database, DatabaseError, Query, Transaction
from storage.sql.words import migration_for_sqlite

LOCK: Final = 0x57A6ED00  # Of pg_advisory_xact_lock: any number that is ours alone.

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_BASE: Final = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS channel (
    name TEXT PRIMARY KEY,
    version BIGINT NOT NULL
);
"""


class SchemaRefused(DatabaseError):
    """The tables are not those of this version: which, and what to do."""


@attrs.frozen
class Migration:
    """One file."""

    number: int
    name: str
    text: str = attrs.field(repr=False)

    @property
    def sha256(self) -> str:
        """What it is known by once it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """The files of this version, lowest first."""
    found: list[Migration] = []
    for file in resources.files("storage.sql").joinpath("migrations").iterdir():
        name = _NAME.fullmatch(file.name)
        if name is not None:
            found.append(Migration(int(name[1]), name[2], file.read_text("utf-8")))
    found.sort(key=lambda one: one.number)
    numbers = [one.number for one in found]
    assert len(set(numbers)) == len(numbers), f"two migrations of one number: {numbers}"
    return tuple(found)


async def migrate(
    database: Database, migrations: Sequence[Migration] | None = None
) -> tuple[Migration, ...]:
    """Apply what is missing; what was applied. Raises SchemaRefused."""
    wanted = shipped() if migrations is None else tuple(migrations)
    sqlite = database.kind == "sqlite"

    def do(tx: Transaction, text: str) -> None:
        tx.script(migration_for_sqlite(text) if sqlite else text)

    def base(tx: Transaction) -> None:
        _lock(tx, sqlite=sqlite)
        do(tx, _BASE)

    def step(tx: Transaction) -> Migration | None:
        _lock(tx, sqlite=sqlite)
        missing = _missing(tx, wanted)
        if not missing:
            return None
        do(tx, missing[0].text)
        tx.run(
            "INSERT INTO schema_migration (number, name, sha256) VALUES (?, ?, ?)",
            missing[0].number,
            missing[0].name,
            missing[0].sha256,
        )
        return missing[0]

    if not await _has_base(database, sqlite=sqlite):
        await database.transact(base, isolation="read_committed")
    # The usual start: nothing to do, and no lock taken to find that out.
    applied: list[Migration] = []
    if not await database.view(lambda query: _missing(query, wanted)):
        return ()
    for _ in wanted:
        done = await database.transact(step, isolation="read_committed")
        if done is None:
            break
        applied.append(done)
    return tuple(applied)


async def missing(database: Database) -> tuple[Migration, ...]:
    """What a start would apply. Raises SchemaRefused."""
    if not await _has_base(database, sqlite=database.kind == "sqlite"):
        return shipped()
    return tuple(await database.view(lambda query: _missing(query, shipped())))


def _missing(query: Query, wanted: Sequence[Migration]) -> list[Migration]:
    """What is to be applied, in order. Raises SchemaRefused."""
    rows = query.rows("SELECT number, name, sha256 FROM schema_migration")
    there = {int(number): (str(name), str(digest)) for number, name, digest in rows}
    known = {one.number: one for one in wanted}
    for number, (name, digest) in sorted(there.items()):
        if number not in known:
            raise SchemaRefused(
                f"the database has the tables of a newer version (migration "
                f"{number:04} {name}); run that version, or restore a backup"
            )
        if known[number].sha256 != digest:
            raise SchemaRefused(
                f"migration {number:04} {name} is not the one that was applied; an "
                "applied file is never changed: add another"
            )
    return [one for one in wanted if one.number not in there]


def _lock(tx: Transaction, *, sqlite: bool) -> None:
    """One at a time; SQLite's writers are already."""
    if not sqlite:
        tx.run("SELECT pg_advisory_xact_lock(?)", LOCK)


async def _has_base(database: Database, *, sqlite: bool) -> bool:
    if sqlite:
        sql = "SELECT name FROM sqlite_schema WHERE name = 'channel'"
    else:
        sql = "SELECT 1 WHERE to_regclass('channel') IS NOT NULL"
    return bool(await database.read(sql))
