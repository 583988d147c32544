"""Who administers the gateway at the Console is in the audit log, and not by name."""

from __future__ import annotations

from trio.testing import MockClock

from actors.auditor.entries import read
from actors.auditor.messages import Flush
from storage.audit_memory import MemoryLogStore, entries_of
from tests.console.support_memory import OWN, PASSWORD, House, house
from tests.gateway.admin.support_admin import a_site
from tests.support_canary import traces

ANN = "ann.canary+bird@agency-of-canaries.example"
BEN = "ben-of-the-canaries"
PEOPLE = {"an e-mail": ANN.encode(), "a name": BEN.encode()}


async def log_of(at: House) -> list[bytes]:
    gate = at.desk.gateway.gateway.gate
    await gate.auditor.ask(Flush())
    book = gate.book
    assert book is not None
    assert isinstance(book.store, MemoryLogStore)
    return [*entries_of(book, book.store), *book.log.pending]


async def test_no_entry_that_a_person_leaves_holds_their_name(
    autojump_clock: MockClock,
) -> None:
    """Logins right and wrong, invitations, sites, the playground, an export."""
    async with house() as at:
        await at.desk.gateway.gateway.keep_peppers()
        await a_site(at.desk)
        ann = await at.person(ANN, "owner")
        ben = await at.person(BEN, "viewer")
        for name in (ANN, BEN, "nobody@agency-of-canaries.example"):
            for password in (PASSWORD, "wrong"):
                form = {"name": name, "password": password}
                await at.ask("POST", "/login", form, OWN)
        cy = {"name": "cy@agency-of-canaries.example", "role": "viewer"}
        invited = await ann.post("/settings/people", {**cy, "once": "a" * 22})
        assert invited.status in {200, 201}, invited.body
        await ann.post("/sites/shop/limits", {"version": "1", "spend_usd_max": "9"})
        await ann.post("/audit/verify", {"once": "x"})
        await ben.get("/audit")
        await ann.post("/logout")
        leaves = await log_of(at)
        acts = {str(read(leaf)["act"]) for leaf in leaves}
        actors = {str(read(leaf).get("actor", "")) for leaf in leaves}

    assert {"console.login", "person.invite"} <= acts
    assert any(one.startswith("user:e") for one in actors)
    marked = {**PEOPLE, "the domain": b"agency-of-canaries"}
    assert traces(b"\n".join(leaves), marked) == set()


async def test_whoever_reads_the_log_here_is_told_who_is_meant(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await at.desk.gateway.gateway.keep_peppers()
        await at.person(ANN, "owner")
        form = {"name": ANN, "password": PASSWORD}
        assert (await at.ask("POST", "/login", form, OWN)).status == 303
        gate = at.desk.gateway.gateway.gate
        assert gate.veil is not None
        actor = gate.actor_of(f"user:{ANN}")
        assert actor.startswith("user:e")
        assert gate.actor_of("token:ci") == "token:ci"
        assert any(read(leaf).get("actor") == actor for leaf in await log_of(at))
