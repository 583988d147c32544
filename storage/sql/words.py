"""One SQL text for two databases. Pure.

Statements are written with `?` for arguments, migrations in PostgreSQL's words for
types; here is what is said otherwise to each. Literals and quoted names are left alone.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

STATEMENTS_CACHED: Final = 1024  # There are a few hundred in all; texts are constants.

_QUOTED: Final = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*"
_ARGUMENTS: Final = re.compile(rf"({_QUOTED})|\?|%")
_LOCKS: Final = re.compile(
    rf"({_QUOTED})|\s+FOR\s+(?:UPDATE|SHARE)(?:\s+SKIP\s+LOCKED|\s+NOWAIT)?",
    re.IGNORECASE,
)

# PostgreSQL's word, and SQLite's. BIGINT must come after the key that it is part of.
SQLITE_WORDS: Final = (
    ("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "INTEGER PRIMARY KEY"),
    ("DOUBLE PRECISION", "REAL"),
    ("BIGINT", "INTEGER"),
    ("BYTEA", "BLOB"),
    ('COLLATE "C"', "COLLATE BINARY"),
)
_END_OF_TABLE: Final = re.compile(r"^\);", re.MULTILINE)


@lru_cache(STATEMENTS_CACHED)
def for_postgres(sql: str) -> str:
    """With `%s` for arguments, and `%` doubled where it is itself."""

    def said(found: re.Match[str]) -> str:
        if found[1]:
            return found[1].replace("%", "%%")
        return "%s" if found[0] == "?" else "%%"

    return _ARGUMENTS.sub(said, sql)


@lru_cache(STATEMENTS_CACHED)
def for_sqlite(sql: str) -> str:
    """Without row locks: the one writer has the whole file."""
    return _LOCKS.sub(lambda found: found[1] or "", sql)


def migration_for_sqlite(text: str) -> str:
    """With SQLite's names of types; every table is STRICT, so that types are kept."""
    for theirs, ours in SQLITE_WORDS:
        text = text.replace(theirs, ours)
    return _END_OF_TABLE.sub(") STRICT;", text)
