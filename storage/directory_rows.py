"""The rows of the directory: how they are read, and how generations are counted.

Owns: what a row of `declared`, `site_key` and `key_secret` means. See directory.py.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from actors.directory.messages import (
    KINDS,
    Declared,
    Exists,
    HeldKey,
    KeyFacts,
    KeyTerms,
    Outdated,
    SecretFacts,
    Unknown,
)
from actors.directory.policy import id_of
from storage.sql.port import Query, Row, Transaction

CHANNEL: Final = "directory"
GENERATIONS_KEPT: Final = 100_000  # Who was away for longer reads everything anew.
KEY: Final = "key"  # Its kind among what is gone.

DOCUMENTS: Final = msgspec.json.Decoder(dict, float_hook=Decimal)
TERMS: Final = msgspec.json.Decoder(KeyTerms)

DECLARED: Final = (
    "SELECT kind, name, tenant, document, version, created_ms, updated_ms, updated_by "
    "FROM declared"
)
KEYS: Final = (
    "SELECT id, site, terms, revoked_ms, version, created_ms, created_by, updated_ms, "
    "updated_by FROM site_key"
)


def generation_of(query: Query) -> int:
    """How often it was changed."""
    row = query.row("SELECT version FROM channel WHERE name = ?", CHANNEL)
    return int(row[0]) if row is not None else 0


def next_generation(tx: Transaction) -> int:
    """The generation that this transaction makes."""
    tx.notify(CHANNEL)
    version = generation_of(tx)
    if version % 1000 == 0:
        old = version - GENERATIONS_KEPT
        tx.run("DELETE FROM directory_gone WHERE version <= ?", old)
    return version


def forget(tx: Transaction, kind: str, name: str, version: int) -> None:
    """Let those who follow know that something is gone."""
    tx.run(
        "INSERT INTO directory_gone (kind, name, version) VALUES (?, ?, ?) "
        "ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version",
        *(kind, name, version),
    )


def find_declared(query: Query, kind: str, name: str) -> Declared | None:
    """One object."""
    row = query.row(f"{DECLARED} WHERE kind = ? AND name = ?", kind, name)
    return declared_of(row) if row is not None else None


def all_declared(query: Query) -> list[Declared]:
    """All of them."""
    return list(map(declared_of, query.rows(DECLARED)))


def declared_of(row: Row) -> Declared:
    """An object from its row."""
    kind, name, tenant, document, *rest = row
    assert kind in KINDS
    return Declared(kind, name, tenant, DOCUMENTS.decode(document), *rest)


def key_of(query: Query, key_id: str) -> HeldKey:
    """Raises Unknown."""
    wanted = id_of(key_id)
    row = query.row(f"{KEYS} WHERE id = ?", wanted)
    if row is None:
        raise Unknown(KEY, wanted)
    return held(query, row)


def held(query: Query, row: Row) -> HeldKey:
    """A key with its secrets, from its row."""
    secrets = query.rows(
        "SELECT digest, created_ms, expires_ms FROM key_secret WHERE key_id = ? "
        "ORDER BY created_ms, digest",
        row[0],
    )
    return _with_secrets(row, secrets)


def held_since(query: Query, start: int) -> tuple[HeldKey, ...]:
    """Keys that were changed, with all their secrets: two queries however many."""
    secrets: dict[str, list[Row]] = {}
    for key_id, *secret in query.rows(
        "SELECT key_id, digest, s.created_ms, expires_ms FROM key_secret s "
        "JOIN site_key k ON k.id = s.key_id WHERE k.version > ? "
        "ORDER BY s.created_ms, digest",
        start,
    ):
        secrets.setdefault(key_id, []).append(tuple(secret))
    return tuple(
        _with_secrets(row, secrets.get(row[0], []))
        for row in query.rows(f"{KEYS} WHERE version > ?", start)
    )


def _with_secrets(row: Row, secrets: list[Row]) -> HeldKey:
    key_id, site, terms, revoked_ms, version, *rest = row
    facts = KeyFacts(
        key_id,
        site,
        TERMS.decode(terms),
        tuple(SecretFacts(created, expires) for _, created, expires in secrets),
        revoked_ms,
        version,
        *rest,
    )
    return HeldKey(facts, tuple((d, expires) for d, _, expires in secrets))


def check_version(kind: str, name: str, version: int, expected: int | None) -> None:
    """Raises Exists, Unknown, Outdated: it is not as its writer thought."""
    if expected is None or expected == version:
        return
    if expected == 0:
        raise Exists(kind, name, version)
    if version == 0:
        raise Unknown(kind, name)
    raise Outdated(kind, name, version)
