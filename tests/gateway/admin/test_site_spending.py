"""What a site has spent of the caps that hold it, as its own people may know it."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from gateway.admin.principal import OPERATOR, Principal
from tests.gateway.admin.support_admin import Desk, a_site, desk

TENANT = Principal("user:ann", "viewer", frozenset({"t1"}))


async def spending(at: Desk, who: Principal = OPERATOR) -> dict[str, Any]:
    reply = await at.ask("GET", "/sites/blog/spending", who=who)
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json()
    return found


async def test_every_cap_that_holds_a_site_is_told_also_an_unused_one(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        caps = {
            "all": {"spend_usd_max": 100, "per": "all"},
            "of-others": {"spend_usd_max": 1, "sites": ["acme"]},
        }
        for name, settings in caps.items():
            await at.made("/caps", {"name": name, "settings": settings})
        patch = {"settings": {"spend_usd_max": 2}}
        await at.ask("PATCH", "/sites/blog", patch, headers={"if-match": "*"})
        await trio.sleep(1)

        found = await spending(at)

        assert [one["name"] for one in found["caps"]] == ["spend", "all"]
        own = found["caps"][0]
        assert own["spend_nanousd_max"] == 2_000_000_000
        assert own["spent_nanousd"] == 0
        assert own["plan_nanousd"] > 0


async def test_money_that_a_request_cost_is_in_every_cap_that_holds_it(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        await a_site(at)
        cap = {"spend_usd_max": 100, "per": "all"}
        await at.made("/caps", {"name": "all", "settings": cap})
        patch = {"settings": {"spend_usd_max": 2}}
        await at.ask("PATCH", "/sites/blog", patch, headers={"if-match": "*"})
        key = await at.made("/sites/blog/keys", {"terms": {}})
        await trio.sleep(1)
        await at.called(key["secret"])

        found = await spending(at)

        spent = {one["name"]: one["spent_nanousd"] for one in found["caps"]}
        assert spent["spend"] == spent["all"] > 0
        listed = (await at.ask("GET", "/site-spending")).json()["items"]
        assert found in listed


async def test_of_a_shared_cap_a_tenant_learns_the_name_and_no_sum(
    autojump_clock: MockClock,
) -> None:
    """What others spend is not theirs to know."""
    async with desk() as at:
        await a_site(at)
        cap = {"spend_usd_max": 100, "per": "all"}
        await at.made("/caps", {"name": "all", "settings": cap})
        await trio.sleep(1)

        (shared,) = (await spending(at, TENANT))["caps"]

        assert shared["name"] == "all"
        assert shared["shared"] is True
        for name in ("spend_nanousd_max", "spent_nanousd", "held_nanousd",
                     "plan_nanousd", "forecast_nanousd", "runs_out_ms"):  # fmt: skip
            assert shared[name] is None, name
