"""People who use the Console: who they are, how they prove it, and their sessions.

Values and a port; there is no actor, for nothing of it has a life of its own. Passwords
are Argon2id's own text, sessions and invitations are known by a digest: nothing that is
stored lets anybody in. Every method raises `actors.archivist.ports.Unavailable` where
the database is gone.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from actors.adminbooks import Role
from runtime import DomainError


class Person(Struct, frozen=True):
    """Somebody who may log in. `name` is what they log in with, in lower case."""

    id: str
    name: str
    role: Role
    tenants: tuple[str, ...] | None  # None: all of them, and the gateway itself.
    created_ms: int
    created_by: str
    password: str = ""  # Empty: no password, only passkeys or another house's login.
    disabled_ms: int | None = None
    seen_ms: int | None = None
    version: int = 1

    def __repr__(self) -> str:
        """Without the password's hash."""
        return f"<Person {self.name} {self.role}>"


class Passkey(Struct, frozen=True):
    """A WebAuthn credential (https://www.w3.org/TR/webauthn-3/)."""

    id: bytes
    person: str
    name: str
    public_key: bytes
    sign_count: int
    created_ms: int
    used_ms: int | None = None


class Session(Struct, frozen=True):
    """A browser that is logged in. `sure_ms` is when its person last proved it."""

    digest: bytes
    person: str
    opened_ms: int
    seen_ms: int
    sure_ms: int
    agent: str = ""

    def __repr__(self) -> str:
        """Whose."""
        return f"<Session of {self.person}>"


class Invitation(Struct, frozen=True):
    """A link that works once: sets the password of a person, who may be new."""

    digest: bytes
    person: str
    until_ms: int


class NameTaken(DomainError):
    """Somebody logs in with this name already."""


class Changed(DomainError):
    """Somebody else changed it meanwhile."""


class LastOwner(DomainError):
    """Without this person nobody could manage the gateway."""


class PeopleBook(Protocol):
    """Where people are kept. Shared by all workers and machines of a gateway."""

    async def count(self) -> int:
        """How many there are; 0 means that nobody has set the Console up."""
        ...

    async def find(self, name: str) -> Person | None:
        """By the name they log in with."""
        ...

    async def get(self, person_id: str) -> Person | None:
        """By id."""
        ...

    async def everybody(self) -> list[Person]:
        """All, by name."""
        ...

    async def add(self, person: Person) -> None:
        """A new one. Raises NameTaken."""
        ...

    async def change(self, person: Person) -> None:
        """Name, role, tenants, password, or whether it is disabled.

        The sessions of one that is disabled end. Raises Changed, LastOwner, NameTaken.
        """
        ...

    async def remove(self, person_id: str) -> bool:
        """With their passkeys and sessions. Raises LastOwner."""
        ...

    async def invite(self, invitation: Invitation) -> None:
        """Earlier links of this person stop working."""
        ...

    async def accept(self, digest: bytes, now_ms: int) -> str | None:
        """Use a link up: whose it was, None where it works no more."""
        ...

    async def open(self, session: Session) -> None:
        """Somebody logged in."""
        ...

    async def session(self, digest: bytes) -> tuple[Session, Person] | None:
        """Whose session this is."""
        ...

    async def seen(self, digest: bytes, now_ms: int, sure_ms: int | None) -> None:
        """It was used; `sure_ms` where its person proved it again."""
        ...

    async def close(self, digest: bytes) -> None:
        """They logged out."""
        ...

    async def sessions(self, person_id: str) -> list[Session]:
        """Where somebody is logged in, the latest first."""
        ...

    async def close_others(self, person_id: str, but: bytes) -> int:
        """Log somebody out everywhere else; how many sessions that were."""
        ...

    async def sweep(self, opened_before_ms: int, seen_before_ms: int) -> int:
        """Forget sessions and links that have lapsed."""
        ...

    async def add_passkey(self, passkey: Passkey) -> None:
        """A new one. Raises NameTaken."""
        ...

    async def passkeys(self, person_id: str) -> list[Passkey]:
        """Somebody's, by name."""
        ...

    async def passkey(self, credential: bytes) -> Passkey | None:
        """By its own id."""
        ...

    async def passkey_used(self, credential: bytes, count: int, now_ms: int) -> None:
        """Note its counter."""
        ...

    async def remove_passkey(self, person_id: str, credential: bytes) -> bool:
        """It opens nothing from now on."""
        ...
