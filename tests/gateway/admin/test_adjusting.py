"""What operators do to what was spent: refunds, charges, caps begun anew."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from actors.auditor.entries import read
from gateway.admin.principal import Principal
from storage.audit_memory import MemoryLogStore, entries_of
from tests.gateway.admin.support_admin import Desk, desk

TENANT = Principal("token:t1", "owner", frozenset({"t1"}))
DOLLAR = 1_000_000_000


async def a_capped_site(at: Desk) -> None:
    await at.made("/tenants", {"name": "t1", "settings": {}})
    settings = {"tenant": "t1", "spend_usd_max": 5}
    await at.made("/sites", {"name": "blog", "settings": settings})
    await trio.sleep(1)  # Then it is in force.


async def spent(at: Desk) -> int:
    [cap] = (await at.ask("GET", "/sites/blog/spending")).json()["caps"]
    told: int = cap["spent_nanousd"]
    return told


async def adjust(at: Desk, nanousd: int, **more: Any) -> Any:
    body = {"nanousd": nanousd, "reason": "invoice 7", **more}
    return await at.ask("POST", "/sites/blog/adjustments", body)


async def test_a_charge_and_a_refund_count_at_once_and_are_in_the_log(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_capped_site(at)
        assert (await adjust(at, 3 * DOLLAR)).json() == {
            "site": "blog",
            "nanousd": 3 * DOLLAR,
        }
        assert await spent(at) == 3 * DOLLAR
        assert (await adjust(at, -DOLLAR)).status == 200
        assert await spent(at) == 2 * DOLLAR
        assert (await adjust(at, 0)).status == 422
        book = at.gateway.gateway.gate.book
        assert book is not None
        assert isinstance(book.store, MemoryLogStore)
        entries = [read(leaf) for leaf in entries_of(book, book.store)]
        told = [
            (one["name"], one["nanousd"], one["reason"])
            for one in entries
            if one["act"] == "cap.adjust"
        ]
        assert told == [
            ("blog", 3 * DOLLAR, "invoice 7"),
            ("blog", -DOLLAR, "invoice 7"),
        ]


async def test_a_cap_begins_anew(autojump_clock: MockClock) -> None:
    async with desk() as at:
        await a_capped_site(at)
        await adjust(at, 3 * DOLLAR)
        begun = await at.ask("POST", "/caps/blog:spend/reset", {"reason": "new deal"})
        assert (begun.status, begun.json()["sums"]) == (200, 1)
        assert await spent(at) == 0
        gone = await at.ask("POST", "/caps/nope/reset", {"reason": "x"})
        assert gone.status == 404


async def test_no_tenant_gives_money_back_to_itself(autojump_clock: MockClock) -> None:
    async with desk() as at:
        await a_capped_site(at)
        body = {"nanousd": -DOLLAR, "reason": "please"}
        told = await at.ask("POST", "/sites/blog/adjustments", body, who=TENANT)
        assert told.status in {403, 404}
        body = {"reason": "please"}
        told = await at.ask("POST", "/caps/blog:spend/reset", body, who=TENANT)
        assert told.status in {403, 404}
        assert await spent(at) == 0
