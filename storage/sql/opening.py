"""Opens the database that the settings name, with its tables up to date."""

from __future__ import annotations

from pathlib import Path

from storage.sql.migrate import migrate
from storage.sql.port import Database, DatabaseUnavailable
from storage.sql.sqlite import FILE, open_sqlite


async def open_database(
    url: str,
    state_dir: Path,
    connections_max: int | None = None,
    *,
    file: Path | None = None,
) -> Database:
    """PostgreSQL where there is a URL, else the file, by default in the state folder.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        SchemaRefused: its tables are not for this version.
    """
    database = await (
        open_postgres(url, connections_max)
        if url
        else open_sqlite(file or state_dir / FILE)
    )
    try:
        await migrate(database)
    except BaseException:
        await database.aclose()
        raise
    return database


async def open_postgres(url: str, connections_max: int | None = None) -> Database:
    """PostgreSQL as it is, no table made. Raises DatabaseUnavailable."""
    try:
        # An extra of the package, and 15 MB that SQLite's users do without.
        from storage.sql import postgres  # noqa: PLC0415
    except ImportError:
        raise DatabaseUnavailable(
            "PostgreSQL needs psycopg; install stagedoor[postgres]"
        ) from None
    return await postgres.open_postgres(
        url, connections_max or postgres.CONNECTIONS_MAX
    )
