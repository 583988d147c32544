"""Providers and models made, changed and taken away at the Console, with their keys."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Any

import trio
from trio.testing import MockClock

from actors.vault.delivery import info, seal
from tests.console.support_memory import (
    Guest,
    House,
    house,
    seen,
    text_of,
    version_in,
)

NEW = "/providers/+new"
CANARY = b"sk-upstream-canary-provider"
WANTED = {
    "name": "far",
    "kind": "openai-compatible",
    "base_url": "https://far.example/v1",
    "models": "one\ntwo",
    "once": "9c1f0c3a-7f0e-4a52-9d2c-0a1b2c3d4e5f",
}


async def settings_of(at: House, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (await at.desk.ask("GET", path)).json()["settings"]
    return found


async def sealed(who: Guest, provider: str, name: str = "default") -> str:
    """A key, as the page's own script seals it."""
    page = html.unescape(text_of(await who.get(NEW)))
    box = re.search(r'data-public-key="([^"]+)" data-tenant="([^"]+)"', page)
    assert box is not None
    bound = info(box[2], "default", provider, name)
    return base64.b64encode(seal(CANARY, base64.b64decode(box[1]), bound)).decode()


async def test_a_provider_is_made_with_its_key_in_the_vault(
    autojump_clock: MockClock,
) -> None:
    """The settings name the key; nothing holds it; it may go to that host alone."""
    async with house() as at:
        who = await at.person("ann", "admin")
        key = {"delivery": await sealed(who, "far", "main"), "key_name": "main"}

        answer = await who.post(NEW, {**WANTED, **key})

        assert answer.status == 303, seen(answer)
        assert answer.headers["location"] == "/console/providers/far?done=added"
        settings = await settings_of(at, "/providers/far")
        assert settings["key"] == "vault:main"
        assert settings["models"] == ["one", "two"]
        page = seen(await who.get("/providers/far"))
        assert "vault:main" in page
        assert "version 1, active" in page
        vault = text_of(await who.get("/vault"))
        assert "far.example" in vault
        for one in (page, vault, str(settings)):
            assert CANARY.decode() not in one


async def test_a_provider_whose_key_does_not_open_is_stored_and_says_so(
    autojump_clock: MockClock,
) -> None:
    """Sealed for another name: the form goes on as that provider's settings."""
    async with house() as at:
        who = await at.person("ann", "admin")
        key = {"delivery": await sealed(who, "another")}

        answer = await who.post(NEW, {**WANTED, **key})

        assert answer.status == 409
        assert "far is stored, but its key is not" in seen(answer)
        assert "/console/providers/far/settings" in text_of(answer)


async def test_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        who = await at.person("ann", "admin")
        typed = {
            **WANTED,
            "base_url": "http://far.example",
            "in_flight_max": "many",
            "price_model-0": "one",
            "input_usd_per_mtok-0": "cheap",
            "output_usd_per_mtok-0": "2",
        }

        answer = await who.post(NEW, typed)

        page = text_of(answer)
        assert answer.status == 422
        assert (await at.desk.ask("GET", "/providers/far")).status == 404
        assert 'value="many"' in page
        for name in ("in_flight_max", "input_usd_per_mtok-0"):
            field = re.search(rf'<input name="{name}"[^>]*>', page)
            assert field is not None
            assert 'aria-invalid="true"' in field[0], field[0]
        assert 'value="cheap"' in page
        # Settings of the whole are looked at once each is a value.
        plain = {k: v for k, v in typed.items() if "-0" not in k and k[:2] != "in"}
        answer = await who.post(NEW, plain)
        assert "would send keys and prompts unencrypted" in seen(answer)


async def test_a_provider_without_a_kind_or_a_name_is_asked_for_them(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        who = await at.person("ann", "admin")
        answer = await who.post(NEW, {**WANTED, "kind": "", "name": "a b"})
        assert answer.status == 422
        page = text_of(answer)
        assert 'id="f-name"' in page or 'id="f-kind"' in page


async def test_a_form_changes_its_own_fields_exactly_and_leaves_the_rest(
    autojump_clock: MockClock,
) -> None:
    """Prices are as they were typed; tiers that the form does not know stay."""
    async with house() as at:
        who = await at.person("ann", "admin")
        tiers = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}
        settings = {
            "kind": "openai-compatible",
            "base_url": "https://far.example/v1",
            "models": ["one", "two"],
            "prices": {"one": {**tiers, "above": {"200000": tiers}}, "two": tiers},
        }
        await at.desk.made("/providers", {"name": "far", "settings": settings})
        await trio.sleep(1)
        path = "/providers/far/settings"
        form = {
            **WANTED,
            "version": version_in(await who.get(path)),
            "price_model-0": "one",
            "input_usd_per_mtok-0": "0.15",
            "output_usd_per_mtok-0": "0.6",
            "deadlines.idle_s": "31",
        }

        assert (await who.post(path, form)).status == 303

        after = await settings_of(at, "/providers/far")
        assert after["prices"] == {
            "one": {
                "input_usd_per_mtok": 0.15,
                "output_usd_per_mtok": 0.6,
                "above": {"200000": tiers},
            }
        }
        assert after["deadlines"] == {"idle_s": 31}
        stale = await who.post(
            path, {**form, "once": "another-0123456789", "queue_max": "7"}
        )
        assert stale.status == 412
        assert "Somebody was quicker" in seen(stale)
        assert 'value="7"' in text_of(stale)


async def test_a_provider_is_asked_at_once_and_its_page_tells_how_it_went(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        who = await at.person("ann", "admin")
        form = {**WANTED, "kind": "simulated", "base_url": "", "then": "ask"}

        answer = await who.post(NEW, form)

        assert answer.status == 200, seen(answer)
        assert "It answered in" in seen(answer), seen(answer)


async def test_a_provider_that_a_model_names_stays_until_it_does_not(
    autojump_clock: MockClock,
) -> None:
    """Made, routed to, refused to go, taken out of the route, gone."""
    async with house() as at:
        who = await at.person("ann", "admin")
        await who.post(NEW, WANTED)
        model = {"name": "mine", "route": "far/one\nfar/two", "aliases": "my/own"}
        assert (await who.post("/models", model)).status == 303
        assert "far" in seen(await who.get("/models"))
        path = "/providers/far"
        page = seen(await who.get(path))
        assert "mine" in page
        form = {"version": version_in(await who.get(f"{path}/settings"))}

        kept = await who.post(f"{path}/remove", form)

        assert kept.status == 409
        assert "provider far is needed by" in seen(kept)
        assert "models.mine.route[1]" in seen(kept)
        version = version_in(await who.get("/models/mine"))
        assert (
            await who.post("/models/mine/remove", {"version": version})
        ).status == 303
        assert (await who.post(f"{path}/remove", form)).status == 303
        assert (await at.desk.ask("GET", path)).status == 404


async def test_a_models_route_is_saved_and_tells_what_is_wrong_with_it(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        who = await at.person("ann", "admin")
        await who.post(NEW, WANTED)
        wrong = await who.post("/models", {"name": "mine", "route": "far/three"})
        assert wrong.status == 422
        assert 'id="f-route"' in text_of(wrong)
        assert (
            await who.post("/models", {"name": "a/b", "route": "far/one"})
        ).status == 303
        page = await who.get("/models/a%2Fb")
        assert "What serves it now" in seen(page)
        form = {
            "version": version_in(page),
            "route": "far/two",
            "canary": "5% far/one",
            "routing.prefer": "cheapest",
            "hedge": "yes",
        }
        assert (await who.post("/models/a%2Fb", form)).status == 303
        assert await settings_of(at, "/models/a%2Fb") == {
            "route": ["far/two"],
            "canary": ["5% far/one"],
            "routing": {"prefer": "cheapest"},
            "hedge": True,
        }


async def test_a_form_of_a_provider_asks_for_the_password_before_it_is_filled_in(
    autojump_clock: MockClock,
) -> None:
    """With ten minutes to fill it in."""
    async with house() as at:
        who = await at.person("ann", "admin")
        assert (await who.get(NEW)).status == 200
        await trio.sleep(6 * 60)
        answer = await who.get(NEW)
        assert answer.status == 303
        assert "/console/confirm" in answer.headers["location"]


async def test_the_overview_narrows_to_a_route(autojump_clock: MockClock) -> None:
    """A deployment; its totals, its times and what it was asked for."""
    async with house() as at:
        who = await at.person("ann", "admin")
        await at.desk.called()
        await trio.sleep(1)
        page = text_of(await who.get("/"))
        route = re.search(r"route=(main/[^\"]+)", page)
        assert route is not None

        def figures(source: str) -> dict[str, Any]:
            found = re.search(r'id="figures">(.*?)</script>', source, re.DOTALL)
            assert found is not None
            told: dict[str, Any] = json.loads(found[1])
            return told

        own = figures(text_of(await who.get(f"/?route={route[1]}")))
        assert own["now"]["requests"] == 1
        assert own["now"]["total_p95_ms"] is not None
        assert own["then"]["requests"] == 0
        other = figures(text_of(await who.get("/?route=main/another")))
        assert other["now"]["requests"] == 0
        assert other["now"]["total_p95_ms"] is None
