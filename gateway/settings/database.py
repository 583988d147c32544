"""The settings of the database: which one, and how much of it.

Owns: `[database]` and `DatabaseUrl`. Never: does I/O, or shows a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from gateway.settings import values
from gateway.settings.definition import config, setting
from gateway.settings.errors import Unfit

_FORM: Final = "postgresql://USER:PASSWORD@HOST/DATABASE"


@attrs.frozen(repr=False)
class DatabaseUrl:
    """Where PostgreSQL is, with the password; prints without it. Empty for SQLite."""

    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        if not self.text:
            return "sqlite"
        parts = urlsplit(self.text)
        return f"postgresql://{parts.hostname or ''}{parts.path}"

    def __repr__(self) -> str:
        return f"DatabaseUrl({self})"


def _read_url(value: object) -> DatabaseUrl:
    if not isinstance(value, str):
        raise Unfit(f"is not a string; write {_FORM}", hidden=True)
    if not value:
        return DatabaseUrl()
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        raise Unfit(f"is not a URL; write {_FORM}", hidden=True) from None
    if scheme not in ("postgresql", "postgres") or re.search(r"[\x00-\x20]", value):
        raise Unfit(f"is no URL of PostgreSQL; write {_FORM}", hidden=True)
    return DatabaseUrl(value)


DATABASE_URL: Final = values.Reader("URL of PostgreSQL", _read_url)


@config
class DatabaseConfig:
    """Where sites, keys, money and records are kept."""

    url: DatabaseUrl = setting(
        DATABASE_URL,
        default=DatabaseUrl(),
        default_doc="SQLite in state_dir",
        reload="restart",
        secret=True,
        doc="A PostgreSQL that many machines share, as "
        f"`{_FORM}` with libpq's parameters after `?`. To another machine it is "
        "encrypted unless `sslmode` says otherwise; `sslmode=verify-full` also checks "
        "who answers. The password may be in libpq's PGPASSFILE instead. Needs "
        "`stagedoor[postgres]`.",
    )
    file: Path | None = setting(
        values.PATH,
        default=None,
        default_doc="stagedoor.sqlite3 in state_dir",
        reload="restart",
        doc="SQLite's file, where there is no url: on a disk of this machine, never on "
        "a network's. It is made with mode 0600.",
    )
    connections_max: int = setting(
        values.integer(1, 200),
        default=8,  # PostgreSQL allows 100 in all by default; one more listens.
        reload="restart",
        doc="The most connections of one process to PostgreSQL.",
    )
