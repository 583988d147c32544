"""A form that is sent again: by a double click, a reload, or changed, after Back."""

from __future__ import annotations

import re

from trio.testing import MockClock

from tests.console.support_memory import house, seen, text_of, version_in
from tests.gateway.admin.support_admin import a_site

SHOP = "/sites/blog/settings"


async def test_a_form_that_was_sent_and_changed_after_back_says_so_and_can_be_sent(
    autojump_clock: MockClock,
) -> None:
    """In words for people, with what was typed and what is stored; a fresh token."""
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "admin")
        page = await who.get(SHOP)
        once = re.search(r'name="once" value="([^"]+)"', text_of(page))
        assert once is not None
        form = {"version": version_in(page), "once": once[1], "spend_usd_max": "20"}
        assert (await who.post(f"{SHOP}/limits", form)).status == 303

        again = await who.post(f"{SHOP}/limits", {**form, "spend_usd_max": "30"})

        assert again.status == 422
        assert "This form was sent before, with something else in it." in seen(again)
        assert "Idempotency" not in text_of(again)
        assert 'name="spend_usd_max" value="30"' in text_of(again)
        assert "is now: 20" in seen(again)
        fresh = re.search(r'name="once" value="([^"]+)"', text_of(again))
        assert fresh is not None
        assert fresh[1] != once[1]
        sent = {
            "version": version_in(again), "once": fresh[1], "spend_usd_max": "30"
        }  # fmt: skip
        assert (await who.post(f"{SHOP}/limits", sent)).status == 303
        settings = (await at.desk.ask("GET", "/sites/blog")).json()["settings"]
        assert settings["spend_usd_max"] == 30


async def test_a_form_without_fields_leads_back_to_its_page(
    autojump_clock: MockClock,
) -> None:
    """A pause with another reason, from a page that was left open."""
    async with house() as at:
        who = await at.person("ann", "admin")
        form = {"once": "0123456789abcdef0123", "reason": "one"}
        assert (await who.post("/providers/main/pause", form)).status == 303

        here = {"referer": "http://stagedoor.test/console/providers/main"}
        again = await who.post(
            "/providers/main/pause", {**form, "reason": "two"}, headers=here
        )

        assert again.status == 422
        assert "This form was sent before" in seen(again)
        assert 'href="/console/providers/main"' in text_of(again)


async def test_the_same_form_twice_happens_once(autojump_clock: MockClock) -> None:
    async with house() as at:
        who = await at.person("ann", "admin")
        form = {"once": "0123456789abcdef0123", "name": "month", "spend_usd_max": "5"}
        for _ in range(2):
            assert (await who.post("/caps", form)).status == 303
        found = (await at.desk.ask("GET", "/caps")).json()["items"]
        assert [one["name"] for one in found].count("month") == 1
