"""The link that the first owner of a gateway is sent by.

Until somebody has accepted it, each start makes a new one and the earlier ones end.
"""

from __future__ import annotations

import secrets
from typing import Final

from actors.people import Invitation, NameTaken, PeopleBook, Person
from gateway.console.links import LINK_MS, SECRET_BYTES, digest_of, link_of

FIRST: Final = "owner"
ID_BYTES: Final = 8


def new_id() -> str:
    """A person's id."""
    return f"p_{secrets.token_hex(ID_BYTES)}"


async def invite(people: PeopleBook, person_id: str, now_ms: int) -> str:
    """A link for somebody; earlier ones end."""
    secret = secrets.token_bytes(SECRET_BYTES)
    await people.invite(Invitation(digest_of(secret), person_id, now_ms + LINK_MS))
    return link_of(secret)


async def first_link(people: PeopleBook, now_ms: int) -> str | None:
    """The set-up link, as long as nobody has used one."""
    everybody = await people.everybody()
    if not everybody:
        owner = Person(new_id(), FIRST, "owner", None, now_ms, "first start")
        try:
            await people.add(owner)
        except NameTaken:
            return None  # Another worker was first, and tells.
        return await invite(people, owner.id, now_ms)
    only = everybody[0]
    if len(everybody) == 1 and not only.password and only.seen_ms is None:
        return await invite(people, only.id, now_ms)
    return None
