"""A tenant's own key at the Console: renewed, or destroyed by an owner who means it."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actors.auditor.entries import read
from storage.audit_memory import MemoryLogStore, entries_of
from tests.console.support_memory import House, house, seen
from tests.console.test_providers_made import NEW, WANTED, sealed

HOME = {"tenant": "default", "environment": "default"}


async def stored(at: House) -> None:
    """A provider whose key is in the vault."""
    who = await at.person("ben", "admin")
    key = {"delivery": await sealed(who, "far")}
    assert (await who.post(NEW, {**WANTED, **key})).status == 303


def acts(at: House) -> list[tuple[object, object]]:
    """What the audit log holds: each act, and who did it."""
    book = at.desk.gateway.gateway.gate.book
    assert book is not None
    assert isinstance(book.store, MemoryLogStore)
    entries = [read(leaf) for leaf in entries_of(book, book.store)]
    return [(one["act"], one["actor"]) for one in entries]


async def test_secrets_are_sealed_under_a_new_key_and_stay_in_use(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await stored(at)
        who = await at.person("ann", "admin")
        assert "version 1" in seen(await who.get("/vault"))

        answer = await who.post("/vault/rewrap", HOME)

        assert answer.status == 303, seen(answer)
        page = seen(await who.get("/vault"))
        assert "version 2" in page
        assert "active" in page


async def test_a_tenants_key_is_destroyed_only_by_an_owner_who_types_its_name(
    autojump_clock: MockClock,
) -> None:
    """What is lost is told before; afterwards nothing of it opens."""
    async with house() as at:
        await stored(at)
        admin = await at.person("ann", "admin")
        owner = await at.person("eve", "owner")
        typed = {**HOME, "confirm": "default/default"}
        assert "Destroy…" not in seen(await admin.get("/vault"))
        assert (await admin.post("/vault/shred", typed)).status == 403
        path = "/vault/shred?tenant=default&environment=default"
        assert "far / default" in " ".join(seen(await owner.get(path)).split())

        for wrong in ("", "default", "default/prod", "DEFAULT/DEFAULT"):
            answer = await owner.post("/vault/shred", {**HOME, "confirm": wrong})
            assert answer.status == 422, wrong
            assert "far / default" in " ".join(seen(answer).split())
        assert "destroyed" not in seen(await owner.get("/vault"))

        answer = await owner.post("/vault/shred", typed)

        assert answer.status == 303, seen(answer)
        assert "destroyed" in seen(await owner.get("/vault"))
        tried = await owner.post("/providers/far/test", {"model": "one"})
        assert "It did not answer well" in seen(tried)


@pytest.mark.parametrize("act", ["secret.rewrap", "secret.shred"])
async def test_what_is_done_to_a_tenants_key_is_in_the_audit_log_before_it_is_done(
    autojump_clock: MockClock, act: str
) -> None:
    """With who did it, and where."""
    async with house() as at:
        await stored(at)
        owner = await at.person("eve", "owner")
        path = act.replace("secret.", "/vault/")
        form = {**HOME, "confirm": "default/default"}
        eve = at.desk.gateway.gateway.gate.actor_of("user:eve")

        assert (await owner.post(path, form)).status == 303

        done = acts(at)
        own = {"secret.rewrap": "kek.rotate", "secret.shred": "kek.shred"}[act]
        assert (act, eve) in done
        assert (own, eve) in done
        assert done.index((act, eve)) < done.index((own, eve))
