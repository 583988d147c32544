"""People at the Console, in the database. Implements `PeopleBook`."""

from __future__ import annotations

from typing import Final

import msgspec

from actors.people import (
    Changed,
    Invitation,
    LastOwner,
    NameTaken,
    Passkey,
    Person,
    Session,
)
from storage.sql.port import Database, Duplicate, Row, Transaction
from storage.sql.records import told

_PERSON: Final = (
    "person.id, person.name, role, tenants, created_ms, created_by, password, "
    "disabled_ms, person.seen_ms, version"
)
_SESSION: Final = "digest, person, opened_ms, person_session.seen_ms, sure_ms, agent"
_PASSKEY: Final = "id, person, name, public_key, sign_count, created_ms, used_ms"
SESSIONS_SHOWN_MAX: Final = 100
PASSKEYS_MAX: Final = 20  # More is nobody's; each is offered to the browser at a login.


class SqlPeople:
    """See PeopleBook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"<SqlPeople {self._database!r}>"

    # -- people ------------------------------------------------------------------

    async def count(self) -> int:
        """See PeopleBook."""
        with told():
            rows = await self._database.read("SELECT count(*) FROM person")
        return int(rows[0][0])

    async def find(self, name: str) -> Person | None:
        """See PeopleBook."""
        return await self._one("name = ?", name)

    async def get(self, person_id: str) -> Person | None:
        """See PeopleBook."""
        return await self._one("id = ?", person_id)

    async def everybody(self) -> list[Person]:
        """See PeopleBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_PERSON} FROM person ORDER BY name"
            )
        return [_person(row) for row in rows]

    async def add(self, person: Person) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                "INSERT INTO person (id, name, role, tenants, created_ms, created_by, "
                "password, disabled_ms, seen_ms, version) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                person.id,
                person.name,
                person.role,
                _tenants(person),
                person.created_ms,
                person.created_by,
                person.password,
                person.disabled_ms,
                person.seen_ms,
                person.version,
            )

        try:
            with told():
                await self._database.transact(work)
        except Duplicate:
            raise NameTaken(f"somebody is called {person.name} already") from None

    async def change(self, person: Person) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            changed = tx.run(
                "UPDATE person SET name = ?, role = ?, tenants = ?, password = ?, "
                "disabled_ms = ?, version = version + 1 WHERE id = ? AND version = ?",
                person.name,
                person.role,
                _tenants(person),
                person.password,
                person.disabled_ms,
                person.id,
                person.version,
            )
            if not changed:
                raise Changed("it was changed by somebody else; look again")
            _keep_an_owner(tx)
            if person.disabled_ms is not None:
                tx.run("DELETE FROM person_session WHERE person = ?", person.id)
                tx.run("DELETE FROM person_invitation WHERE person = ?", person.id)

        try:
            with told():
                await self._database.transact(work)
        except Duplicate:
            raise NameTaken(f"somebody is called {person.name} already") from None

    async def remove(self, person_id: str) -> bool:
        """See PeopleBook."""

        def work(tx: Transaction) -> bool:
            if not tx.run("DELETE FROM person WHERE id = ?", person_id):
                return False
            _keep_an_owner(tx)
            return True

        with told():
            return await self._database.transact(work)

    # -- invitations -------------------------------------------------------------

    async def invite(self, invitation: Invitation) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM person_invitation WHERE person = ?", invitation.person)
            tx.run(
                "INSERT INTO person_invitation (digest, person, until_ms) "
                "VALUES (?, ?, ?)",
                invitation.digest,
                invitation.person,
                invitation.until_ms,
            )

        with told():
            await self._database.transact(work)

    async def accept(self, digest: bytes, now_ms: int) -> str | None:
        """See PeopleBook."""

        def work(tx: Transaction) -> str | None:
            row = tx.row(
                "DELETE FROM person_invitation WHERE digest = ? AND until_ms > ? "
                "RETURNING person",
                digest,
                now_ms,
            )
            return None if row is None else str(row[0])

        with told():
            return await self._database.transact(work)

    # -- sessions ----------------------------------------------------------------

    async def open(self, session: Session) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                "INSERT INTO person_session "
                "(digest, person, opened_ms, seen_ms, sure_ms, agent) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                session.digest,
                session.person,
                session.opened_ms,
                session.seen_ms,
                session.sure_ms,
                session.agent,
            )
            tx.run(
                "UPDATE person SET seen_ms = ? WHERE id = ?",
                session.opened_ms,
                session.person,
            )

        with told():
            await self._database.transact(work)

    async def session(self, digest: bytes) -> tuple[Session, Person] | None:
        """See PeopleBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_SESSION}, {_PERSON} FROM person_session "
                "JOIN person ON person.id = person_session.person WHERE digest = ?",
                digest,
            )
        if not rows:
            return None
        return Session(*rows[0][:6]), _person(rows[0][6:])

    async def seen(self, digest: bytes, now_ms: int, sure_ms: int | None) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                "UPDATE person_session SET seen_ms = ?, "
                "sure_ms = COALESCE(CAST(? AS BIGINT), sure_ms) WHERE digest = ?",
                now_ms,
                sure_ms,
                digest,
            )

        with told():
            await self._database.transact(work)

    async def close(self, digest: bytes) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM person_session WHERE digest = ?", digest)

        with told():
            await self._database.transact(work)

    async def sessions(self, person_id: str) -> list[Session]:
        """See PeopleBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_SESSION} FROM person_session WHERE person = ? "
                "ORDER BY seen_ms DESC LIMIT ?",
                person_id,
                SESSIONS_SHOWN_MAX,
            )
        return [Session(*row) for row in rows]

    async def close_others(self, person_id: str, but: bytes) -> int:
        """See PeopleBook."""

        def work(tx: Transaction) -> int:
            return tx.run(
                "DELETE FROM person_session WHERE person = ? AND digest <> ?",
                person_id,
                but,
            )

        with told():
            return await self._database.transact(work)

    async def sweep(self, opened_before_ms: int, seen_before_ms: int) -> int:
        """See PeopleBook."""

        def work(tx: Transaction) -> int:
            tx.run("DELETE FROM person_invitation WHERE until_ms < ?", seen_before_ms)
            return tx.run(
                "DELETE FROM person_session WHERE opened_ms < ? OR seen_ms < ?",
                opened_before_ms,
                seen_before_ms,
            )

        with told():
            return await self._database.transact(work)

    # -- passkeys ----------------------------------------------------------------

    async def add_passkey(self, passkey: Passkey) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                f"INSERT INTO person_passkey ({_PASSKEY}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                passkey.id,
                passkey.person,
                passkey.name,
                passkey.public_key,
                passkey.sign_count,
                passkey.created_ms,
                passkey.used_ms,
            )

        try:
            with told():
                await self._database.transact(work)
        except Duplicate:
            raise NameTaken("this passkey is known already") from None

    async def passkeys(self, person_id: str) -> list[Passkey]:
        """See PeopleBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_PASSKEY} FROM person_passkey WHERE person = ? "
                "ORDER BY name, id LIMIT ?",
                person_id,
                PASSKEYS_MAX,
            )
        return [_passkey(row) for row in rows]

    async def passkey(self, credential: bytes) -> Passkey | None:
        """See PeopleBook."""
        with told():
            rows = await self._database.read(
                f"SELECT {_PASSKEY} FROM person_passkey WHERE id = ?", credential
            )
        return _passkey(rows[0]) if rows else None

    async def passkey_used(self, credential: bytes, count: int, now_ms: int) -> None:
        """See PeopleBook."""

        def work(tx: Transaction) -> None:
            tx.run(
                "UPDATE person_passkey SET sign_count = ?, used_ms = ? WHERE id = ?",
                count,
                now_ms,
                credential,
            )

        with told():
            await self._database.transact(work)

    async def remove_passkey(self, person_id: str, credential: bytes) -> bool:
        """See PeopleBook."""

        def work(tx: Transaction) -> bool:
            sql = "DELETE FROM person_passkey WHERE person = ? AND id = ?"
            return tx.run(sql, person_id, credential) == 1

        with told():
            return await self._database.transact(work)

    async def _one(self, where: str, value: str) -> Person | None:
        with told():
            rows = await self._database.read(
                f"SELECT {_PERSON} FROM person WHERE {where}", value
            )
        return _person(rows[0]) if rows else None


def _keep_an_owner(tx: Transaction) -> None:
    row = tx.row(
        "SELECT count(*) FROM person WHERE role = 'owner' AND tenants IS NULL "
        "AND disabled_ms IS NULL"
    )
    if row is None or row[0] < 1:
        raise LastOwner("the last owner of the gateway stays; make another one first")


def _tenants(person: Person) -> str | None:
    if person.tenants is None:
        return None
    return msgspec.json.encode(person.tenants).decode()


def _person(row: Row) -> Person:
    tenants = None if row[3] is None else msgspec.json.decode(row[3], type=list[str])
    return Person(
        row[0],
        row[1],
        row[2],
        None if tenants is None else tuple(tenants),
        *row[4:],
    )


def _passkey(row: Row) -> Passkey:
    return Passkey(bytes(row[0]), row[1], row[2], bytes(row[3]), *row[4:])
