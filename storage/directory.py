"""The directory over SQL: objects, keys, generations. Implements `Directory`.

Owns: the tables of migration 0001. A write is one serializable transaction: it checks
what was expected, lets the judge look at all objects as they would be, counts the
channel `directory` up, and gives that number to what it wrote.
Never: keeps or logs a secret; it has passed by when `create_key` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from secrets import token_bytes
from typing import Final, TypeVar

import msgspec

from actors.directory.messages import (
    PAGE_MAX,
    Changes,
    Declared,
    DirectoryDown,
    Document,
    KeyFacts,
    KeyTerms,
    Kind,
    NewKey,
    Page,
    TooMany,
    Unfit,
    Unknown,
)
from actors.directory.policy import (
    OVERLAP_S_MAX,
    SECRETS_MAX,
    digest,
    ends_ms,
    is_live,
    new_id,
    new_secret,
)
from actors.directory.ports import Judge
from storage.directory_rows import (
    CHANNEL,
    DECLARED,
    DOCUMENTS,
    GENERATIONS_KEPT,
    KEY,
    KEYS,
    all_declared,
    check_version,
    declared_of,
    find_declared,
    forget,
    generation_of,
    held,
    held_since,
    key_of,
    next_generation,
)
from storage.sql.port import (
    Database,
    DatabaseUnavailable,
    Query,
    Subscription,
    Transaction,
)

T = TypeVar("T")

DOCUMENT_BYTES_MAX: Final = 64 * 1024  # A route of a thousand candidates fits.
OBJECTS_MAX: Final = 100_000  # In memory of every process, at about 3 KB each.
KEYS_A_SITE_MAX: Final = 1000  # Revoked ones too, until their site is removed.
ID_TRIES_MAX: Final = 10  # Each is taken with a chance of one in millions.

_encode: Final = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def allow_all(objects: object) -> tuple[str, ...]:
    """A judge for who knows no configuration."""
    del objects
    return ()


class SqlDirectory:
    """See Directory."""

    def __init__(
        self,
        database: Database,
        wall: Callable[[], float],
        judge: Judge = allow_all,
        chance: Callable[[int], bytes] = token_bytes,
    ) -> None:
        self.judge = judge
        self._database = database
        self._wall = wall
        self._chance = chance

    def __repr__(self) -> str:
        return f"<SqlDirectory {self._database!r}>"

    # -- objects -----------------------------------------------------------------

    async def list_declared(
        self,
        kind: Kind,
        *,
        tenant: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[Declared]:
        """See Directory."""
        limit = _page(limit)
        where, args = "kind = ? AND name > ?", [kind, after]
        if tenant is not None:
            where, args = f"{where} AND tenant = ?", [*args, tenant]
        rows = await self._view(
            lambda query: query.rows(
                f"{DECLARED} WHERE {where} ORDER BY name LIMIT ?", *args, limit + 1
            )
        )
        found = tuple(map(declared_of, rows[:limit]))
        return Page(found, found[-1].name if len(rows) > limit else "")

    async def declared(self, kind: Kind, name: str) -> Declared:
        """See Directory."""
        found = await self._view(lambda query: find_declared(query, kind, name))
        if found is None:
            raise Unknown(kind, name)
        return found

    async def declare(
        self,
        kind: Kind,
        name: str,
        document: Document,
        *,
        by: str,
        expected: int | None = None,
    ) -> Declared:
        """See Directory."""
        text = _encode(document).decode()
        if len(text) > DOCUMENT_BYTES_MAX:
            raise TooMany(f"{kind} {name!r} has more than {DOCUMENT_BYTES_MAX} bytes")
        now_ms = self._now_ms()

        def work(tx: Transaction) -> Declared:
            old = find_declared(tx, kind, name)
            check_version(kind, name, old.version if old else 0, expected)
            version = next_generation(tx)
            made = Declared(
                kind,
                name,
                _tenant_of(kind, name, document),
                DOCUMENTS.decode(text),
                version,
                old.created_ms if old else now_ms,
                now_ms,
                by,
            )
            others = [
                one for one in all_declared(tx) if (one.kind, one.name) != (kind, name)
            ]
            if len(others) >= OBJECTS_MAX:
                raise TooMany(f"there are {OBJECTS_MAX} objects already")
            self._judge([*others, made])
            tx.run("DELETE FROM declared WHERE kind = ? AND name = ?", kind, name)
            tx.run(
                "INSERT INTO declared (kind, name, tenant, document, version, "
                "created_ms, updated_ms, updated_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(kind, name, made.tenant, text, version),
                *(made.created_ms, made.updated_ms, by),
            )
            tx.run("DELETE FROM directory_gone WHERE kind = ? AND name = ?", kind, name)
            return made

        return await self._transact(work)

    async def remove(
        self, kind: Kind, name: str, *, by: str, expected: int | None = None
    ) -> None:
        """See Directory."""
        del by  # The audit log has it.

        def work(tx: Transaction) -> None:
            old = find_declared(tx, kind, name)
            if old is None:
                raise Unknown(kind, name)
            check_version(kind, name, old.version, expected)
            self._judge([one for one in all_declared(tx) if one != old])
            version = next_generation(tx)
            tx.run("DELETE FROM declared WHERE kind = ? AND name = ?", kind, name)
            forget(tx, kind, name, version)
            if kind == "site":
                for (key_id,) in tx.rows(
                    "DELETE FROM site_key WHERE site = ? RETURNING id", name
                ):
                    forget(tx, KEY, key_id, version)

        await self._transact(work)

    # -- keys ----------------------------------------------------------------------

    async def list_keys(
        self, *, site: str | None = None, after: str = "", limit: int = 100
    ) -> Page[KeyFacts]:
        """See Directory."""
        limit = _page(limit)
        where, args = "id > ?", [after]
        if site is not None:
            where, args = f"{where} AND site = ?", [*args, site]

        def look(query: Query) -> Page[KeyFacts]:
            rows = query.rows(
                f"{KEYS} WHERE {where} ORDER BY id LIMIT ?", *args, limit + 1
            )
            found = tuple(held(query, row).facts for row in rows[:limit])
            return Page(found, found[-1].id if len(rows) > limit else "")

        return await self._view(look)

    async def key(self, key_id: str) -> KeyFacts:
        """See Directory."""
        return await self._view(lambda query: key_of(query, key_id).facts)

    async def create_key(self, site: str, terms: KeyTerms, *, by: str) -> NewKey:
        """See Directory."""
        now_ms = self._now_ms()

        def work(tx: Transaction) -> NewKey:
            (count,) = tx.rows("SELECT COUNT(*) FROM site_key WHERE site = ?", site)[0]
            if count >= KEYS_A_SITE_MAX:
                raise TooMany(
                    f"site {site!r} has {KEYS_A_SITE_MAX} keys; remove the site, or "
                    "rotate a key instead of making another"
                )
            version = next_generation(tx)
            for _ in range(ID_TRIES_MAX):
                key_id = new_id(self._chance(8))
                if tx.run(
                    "INSERT INTO site_key (id, site, terms, revoked_ms, version, "
                    "created_ms, created_by, updated_ms, updated_by) "
                    "VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    *(key_id, site, _encode(terms).decode(), version),
                    *(now_ms, by, now_ms, by),
                ):
                    return self._add_secret(tx, key_id, now_ms)
            raise TooMany("no free id for a key was found by chance")

        return await self._transact(work)

    async def change_key(
        self, key_id: str, terms: KeyTerms, *, by: str, expected: int | None = None
    ) -> KeyFacts:
        """See Directory."""
        now_ms = self._now_ms()

        def work(tx: Transaction) -> KeyFacts:
            old = key_of(tx, key_id).facts
            check_version(KEY, old.id, old.version, expected)
            tx.run(
                "UPDATE site_key SET terms = ?, version = ?, updated_ms = ?, "
                "updated_by = ? WHERE id = ?",
                *(_encode(terms).decode(), next_generation(tx), now_ms, by, old.id),
            )
            return key_of(tx, old.id).facts

        return await self._transact(work)

    async def rotate_key(self, key_id: str, *, overlap_s: int, by: str) -> NewKey:
        """See Directory."""
        now_ms, overlap_s = self._now_ms(), max(0, min(overlap_s, OVERLAP_S_MAX))

        def work(tx: Transaction) -> NewKey:
            old = key_of(tx, key_id)
            if old.facts.revoked_ms is not None:
                raise Unknown("live key", old.facts.id)
            live = 0
            for secret, expires_ms in old.digests:
                end_ms = ends_ms(expires_ms, now_ms, overlap_s)
                live += is_live(end_ms, now_ms)
                tx.run(
                    "UPDATE key_secret SET expires_ms = ? WHERE digest = ?",
                    end_ms,
                    secret,
                )
            if live >= SECRETS_MAX:
                raise TooMany(
                    f"key {old.facts.id} has {live} secrets in use; rotate without an "
                    "overlap to end them, or wait"
                )
            tx.run(
                "DELETE FROM key_secret WHERE key_id = ? AND expires_ms <= ?",
                old.facts.id,
                now_ms,
            )
            tx.run(
                "UPDATE site_key SET version = ?, updated_ms = ?, updated_by = ? "
                "WHERE id = ?",
                *(next_generation(tx), now_ms, by, old.facts.id),
            )
            return self._add_secret(tx, old.facts.id, now_ms)

        return await self._transact(work)

    async def revoke_key(self, key_id: str, *, by: str) -> KeyFacts:
        """See Directory."""
        now_ms = self._now_ms()

        def work(tx: Transaction) -> KeyFacts:
            old = key_of(tx, key_id).facts
            if old.revoked_ms is not None:
                return old
            # Its digests go too: nothing that is restored or forgotten revives it.
            tx.run("DELETE FROM key_secret WHERE key_id = ?", old.id)
            tx.run(
                "UPDATE site_key SET revoked_ms = ?, version = ?, updated_ms = ?, "
                "updated_by = ? WHERE id = ?",
                *(now_ms, next_generation(tx), now_ms, by, old.id),
            )
            return key_of(tx, old.id).facts

        return await self._transact(work)

    # -- for every process -----------------------------------------------------------

    async def changes(self, since: int = 0) -> Changes:
        """See Directory."""

        def look(query: Query) -> Changes:
            generation = generation_of(query)
            whole = not generation - GENERATIONS_KEPT < since <= generation
            start = -1 if whole else since
            return Changes(
                generation,
                tuple(
                    map(declared_of, query.rows(f"{DECLARED} WHERE version > ?", start))
                ),
                held_since(query, start),
                ()
                if whole
                else tuple(
                    query.rows(
                        "SELECT kind, name FROM directory_gone WHERE version > ?", start
                    )
                ),
                whole,
            )

        return await self._view(look)

    async def subscribe(self) -> Subscription:
        """See Directory."""
        with _down():
            return await self._database.subscribe(CHANNEL)

    async def _view(self, work: Callable[[Query], T]) -> T:
        with _down():
            return await self._database.view(work)

    async def _transact(self, work: Callable[[Transaction], T]) -> T:
        with _down():
            return await self._database.transact(work)

    def _add_secret(self, tx: Transaction, key_id: str, now_ms: int) -> NewKey:
        secret = new_secret(key_id, self._chance(32))
        tx.run(
            "INSERT INTO key_secret (digest, key_id, created_ms, expires_ms) "
            "VALUES (?, ?, ?, NULL)",
            *(digest(secret), key_id, now_ms),
        )
        return NewKey(key_of(tx, key_id).facts, secret)

    def _judge(self, objects: list[Declared]) -> None:
        if problems := self.judge(objects):
            raise Unfit(problems)

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


@contextmanager
def _down() -> Generator[None]:
    """What the port calls an outage of the store."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise DirectoryDown(str(error)) from None


def _page(limit: int) -> int:
    return max(1, min(limit, PAGE_MAX))


def _tenant_of(kind: Kind, name: str, document: Document) -> str:
    return name if kind == "tenant" else str(document.get("tenant", ""))
