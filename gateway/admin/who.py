"""Whom the audit log means: from its hashes of people to their names, and back.

The log names nobody (actors/auditor/veiling.py). Whoever may read it here is told who
is meant, as long as that person is known and the epoch's pepper is kept; the log's own
bytes, and a copy of it elsewhere, do not say.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from actors.auditor.privacy import epoch_of
from actors.auditor.reading import Entry
from actors.auditor.veiling import PERSON
from gateway.admin.office import Office


def named(office: Office, actor: str) -> tuple[str, ...]:
    """As whom the log may name a person; none for an actor that is no person."""
    veil = office.gate.veil
    if veil is None or not actor.startswith(PERSON):
        return ()
    name = actor[len(PERSON) :]
    return (actor, *veil.names_of(name, _epochs(office)))


async def with_persons(office: Office, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, with the names of those whom their actors mean."""
    veil, people = office.gate.veil, office.books.people
    if (
        veil is None
        or people is None
        or not any(one.actor.startswith(PERSON) for one in entries)
    ):
        return tuple(entries)
    epochs = _epochs(office)
    meant = {
        name: person.name
        for person in await people.everybody()
        for name in veil.names_of(person.name, epochs)
    }
    return tuple(
        replace(one, person=meant[one.actor]) if one.actor in meant else one
        for one in entries
    )


def _epochs(office: Office) -> range:
    epoch = epoch_of(office.now_ms())
    oldest = epoch - office.gate.config.vault.pepper_epochs
    return range(max(0, oldest), epoch + 1)
