"""A file that is removed or replaced under an open database: no write is lost in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.sql.opening import open_database
from storage.sql.port import Database, DatabaseUnavailable
from storage.sql.sqlite import FILE


async def noted(database: Database, channel: str) -> None:
    await database.transact(lambda tx: tx.notify(channel))


async def test_a_removed_file_takes_no_writes_until_it_is_back(tmp_path: Path) -> None:
    database = await open_database("", tmp_path)
    try:
        file = tmp_path / FILE
        away = file.with_suffix(".away")
        file.rename(away)
        with pytest.raises(DatabaseUnavailable, match="was removed or replaced"):
            await noted(database, "lost")
        assert await database.read("SELECT 1") == [(1,)]

        away.rename(file)
        await noted(database, "kept")
    finally:
        await database.aclose()


async def test_another_file_of_its_name_is_not_taken_for_it(tmp_path: Path) -> None:
    database = await open_database("", tmp_path)
    try:
        file = tmp_path / FILE
        copy = file.with_suffix(".copy")
        copy.write_bytes(file.read_bytes())
        copy.replace(file)
        with pytest.raises(DatabaseUnavailable, match="restart"):
            await noted(database, "lost")
    finally:
        await database.aclose()
