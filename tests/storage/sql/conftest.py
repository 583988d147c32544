"""The same tests over both databases: ask for `database`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.sql.opening import open_database
from storage.sql.port import Database
from tests.support_postgres import PostgresServer, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Of an empty PostgreSQL database, or empty for SQLite in `tmp_path`."""
    if request.param == "sqlite":
        return ""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Open, with every table."""
    opened = await open_database(database_url, tmp_path)
    try:
        yield opened
    finally:
        await opened.aclose()
