"""Sites, keys, vault and settings at the Console: what their forms do, and to what."""

from __future__ import annotations

import base64
import html
import re

import pytest
import trio
from trio.testing import MockClock

from actors.vault.delivery import info, seal
from gateway.admin.principal import Principal
from tests.console.support_memory import (
    Guest,
    House,
    house,
    seen,
    text_of,
    version_in,
)
from tests.gateway.admin.support_admin import a_site
from tests.gateway.gateways import CHAT, chat

HOSTILE = "\"'><img src=x onerror=alert(1)>{{7*7}}<script>alert(1)</script>"
SHOP = "/sites/blog/settings"
# Every page that shows what such forms keep.
SHOWN = (
    "", "/sites", "/sites/blog", SHOP, "/sites/blog/keys", "/sites/blog/wordpress",
    "/tenants", "/caps", "/models", "/providers", "/vault",
    "/settings/tokens", "/settings/webhooks", "/settings/people",
    "/settings/configuration", "/requests",
)  # fmt: skip


async def settings_of(at: House, name: str = "blog") -> dict[str, object]:
    found: dict[str, object] = (await at.desk.ask("GET", f"/sites/{name}")).json()
    settings = found["settings"]
    assert isinstance(settings, dict)
    return settings


async def limits(who: Guest, version: str, **typed: str) -> int:
    answer = await who.post(f"{SHOP}/limits", {"version": version, **typed})
    return answer.status


async def test_a_sites_limits_are_saved_exactly_and_its_other_settings_stay(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "admin")
        version = version_in(await who.get(SHOP))

        assert (
            await limits(who, version, spend_usd_max="0.30", in_flight_max="4") == 303
        )

        settings = await settings_of(at)
        assert settings["spend_usd_max"] in {0.3, "0.30"}
        assert settings["in_flight_max"] == 4
        assert settings["pacing"] is False  # The box was not ticked.
        assert settings["tenant"] == "t1"


async def test_two_who_edit_at_once_are_told_and_lose_nothing_they_typed(
    autojump_clock: MockClock,
) -> None:
    """The second sees the first's value beneath their own, and can save again."""
    async with house() as at:
        await a_site(at.desk)
        ann = await at.person("ann", "admin")
        ben = await at.person("ben", "admin")
        version = version_in(await ben.get(SHOP))
        assert await limits(ann, version, spend_usd_max="5", pacing="yes") == 303

        late = await ben.post(
            f"{SHOP}/limits",
            {"version": version, "spend_usd_max": "9", "pacing": "yes"},
        )

        assert late.status == 412
        assert "Somebody was quicker" in seen(late)
        assert "user:ann" in seen(late)
        assert "is now: 5" in seen(late)
        assert 'name="spend_usd_max" value="9"' in text_of(late)
        assert (
            await limits(ben, version_in(late), spend_usd_max="9", pacing="yes") == 303
        )
        assert (await settings_of(at))["spend_usd_max"] == 9


async def test_what_cannot_be_is_told_beside_its_field(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "admin")
        version = version_in(await who.get(SHOP))

        answer = await who.post(
            f"{SHOP}/limits", {"version": version, "spend_usd_max": "a lot"}
        )

        assert answer.status == 422
        assert 'value="a lot"' in text_of(answer)
        assert 'aria-describedby="f-spend_usd_max"' in text_of(answer)


async def test_a_key_is_shown_once_and_opens_the_gateway(
    autojump_clock: MockClock,
) -> None:
    """Repeating the form, as a reload does, makes no second one."""
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "admin")
        form = {"label": "shop", "once": "1f0c3a52-7f0e-4a52-9d2c-0a1b2c3d4e5f"}

        made = await who.post("/sites/blog/keys", form)
        again = await who.post("/sites/blog/keys", form)

        found = re.search(r"sk-stagedoor-[A-Za-z0-9_-]{30,}", text_of(made))
        assert found is not None
        assert found[0] in text_of(again)
        assert found[0] not in text_of(await who.get("/sites/blog/keys"))
        keys = (await at.desk.ask("GET", "/sites/blog/keys")).json()["items"]
        assert len(keys) == 1
        await trio.sleep(1)
        await at.desk.called(found[0])
        page = f"/sites/blog/keys/{keys[0]['id']}"
        assert found[0] not in text_of(await who.get(page))
        rotated = await who.post(f"{page}/rotate", {"overlap_s": "0"})
        fresh = re.search(r"sk-stagedoor-[A-Za-z0-9_-]{30,}", text_of(rotated))
        assert fresh is not None
        assert fresh[0] != found[0]
        assert (await who.post(f"{page}/revoke")).status == 303
        assert "revoked" in seen(await who.get("/sites/blog/keys"))


async def test_a_preview_tells_where_the_last_requests_would_go(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await a_site(at.desk)
        key = await at.desk.made("/sites/blog/keys", {"terms": {}})
        await trio.sleep(1)
        await at.desk.called(key["secret"])
        who = await at.person("ann", "admin")

        part = await who.post("/sites/blog/preview/access", {"models_denied": "*"})

        assert part.status == 200
        assert "The last 1 requests" in seen(part)
        assert "1 more would be refused" in seen(part)
        assert "models_denied" not in await settings_of(at)


async def test_the_pages_of_a_site_tell_its_caps_and_their_outlook(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "admin", ("t1",))
        version = version_in(await who.get(SHOP))
        assert await limits(who, version, spend_usd_max="31", pacing="yes") == 303
        await trio.sleep(1)

        page = seen(await who.get("/sites/blog"))

        assert "of $31.00 this month" in page
        assert "Even pace" in page


async def test_a_cap_that_is_used_up_is_seen_on_the_sites_pages(
    autojump_clock: MockClock,
) -> None:
    """With the step of its ladder that is in force, at the next look."""
    async with house() as at:
        await a_site(at.desk)
        ladder = [{"name": "thrifty", "from_percent": 50, "prefer_cheap": True}]
        patch = {"settings": {"spend_usd_max": 0.0008, "ladder": ladder}}
        await at.desk.ask("PATCH", "/sites/blog", patch, headers={"if-match": "*"})
        key = await at.desk.made("/sites/blog/keys", {"terms": {}})
        await trio.sleep(1)
        who = await at.person("ann", "viewer", ("t1",))
        assert "Its ladder is in force" not in seen(await who.get("/sites/blog"))
        body = {**chat(), "max_tokens": 20}
        answer = await at.desk.gateway.post(CHAT, body, key=key["secret"])
        while answer.status == 200:
            answer = await at.desk.gateway.post(CHAT, body, key=key["secret"])
            await trio.sleep(1)

        page = await who.get("/sites/blog")

        assert answer.status == 429, answer.body
        assert "Its ladder is in force" in seen(page)
        assert "thrifty" in seen(await who.get("/sites"))


async def test_wordpress_gets_a_key_and_its_pages_may_read(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "admin")
        address = {"address": "https://WWW.example.org/blog/"}

        answer = await who.post("/sites/blog/wordpress", address)

        assert answer.status == 201
        assert "sk-stagedoor-" in text_of(answer)
        origins = (await settings_of(at))["allowed_origins"]
        assert origins == ["https://www.example.org"]


async def test_a_provider_key_comes_in_sealed_and_is_shown_nowhere(
    autojump_clock: MockClock,
) -> None:
    """As the browser's script seals it; a delivery for another name does not open."""
    async with house() as at:
        who = await at.person("ann", "owner")
        form = html.unescape(text_of(await who.get("/vault/add")))
        key = re.search(r'data-public-key="([^"]+)" data-tenant="([^"]+)"', form)
        assert key is not None
        public = base64.b64decode(key[1])

        def sealed(name: str) -> dict[str, str]:
            bound = info(key[2], "default", "main", name)
            delivery = seal(b"sk-upstream-canary-7", public, bound)
            return {"delivery": base64.b64encode(delivery).decode()}

        wanted = {"provider": "main", "name": "default", "hosts": "main.example"}
        wrong = await who.post("/vault/add", {**wanted, **sealed("another")})
        assert wrong.status == 409
        assert "does not open" in seen(wrong)
        assert (
            await who.post("/vault/add", {**wanted, **sealed("default")})
        ).status == 303
        page = seen(await who.get("/vault"))
        assert "main.example" in page
        assert "canary" not in page
        assert (await who.post("/vault/revoke", wanted)).status == 303
        assert "revoked" in seen(await who.get("/vault"))


async def test_a_token_hands_over_no_provider_key(autojump_clock: MockClock) -> None:
    """Even an owner's: programs sign their requests."""
    async with house() as at:
        token = Principal("token:root", "owner")
        for method, path in (("GET", "/secrets"), ("GET", "/secrets/delivery-key")):
            reply = await at.desk.ask(method, path, who=token)
            assert reply.status == 403
            assert "not by tokens" in reply.json()["detail"]


async def test_a_configuration_goes_out_and_comes_in_after_a_look(
    autojump_clock: MockClock,
) -> None:
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "owner")
        path = "/settings/configuration"
        exported = text_of(await who.get(f"{path}/export"))
        changed = exported.replace('"tenant": "t1"', '"tenant": "t1", "buffered": true')

        look = await who.post(f"{path}/diff", {"text": changed})

        assert "This would be done" in seen(look)
        assert "buffered" in seen(look)
        assert "buffered" not in await settings_of(at)
        done = await who.post(f"{path}/import", {"text": changed})
        assert "This was done" in seen(done)
        assert (await settings_of(at))["buffered"] is True
        assert "no JSON" in seen(await who.post(f"{path}/diff", {"text": "{"}))


@pytest.mark.parametrize("form", [
    ("/sites", {"name": HOSTILE, "tenant": HOSTILE}),
    ("/sites/blog/keys", {"label": HOSTILE, "models": HOSTILE, "origins": HOSTILE}),
    (f"{SHOP}/limits", {"spend_usd_max": HOSTILE, "spend_time_zone": HOSTILE}),
    (f"{SHOP}/access", {"models": HOSTILE, "allowed_origins": HOSTILE}),
    (f"{SHOP}/routing", {"routing.regions": HOSTILE, "routing.prefer": HOSTILE}),
    (f"{SHOP}/ladder", {"name-0": HOSTILE, "from_percent-0": HOSTILE}),
    ("/sites/blog/wordpress", {"address": HOSTILE}),
    ("/tenants", {"name": "x", "title": HOSTILE, "environments": HOSTILE}),
    ("/caps", {"name": HOSTILE, "spend_usd_max": HOSTILE, "sites": HOSTILE}),
    ("/models", {"name": "x", "route": HOSTILE, "aliases": HOSTILE}),
    ("/providers/+new", {"name": HOSTILE, "kind": HOSTILE, "base_url": HOSTILE,
                         "models": HOSTILE, "price_model-0": HOSTILE,
                         "input_usd_per_mtok-0": HOSTILE, "key_name": HOSTILE}),
    ("/settings/tokens", {"name": HOSTILE, "role": HOSTILE, "tenants": HOSTILE}),
    ("/settings/webhooks", {"url": f"https://h.example/{HOSTILE}", "label": HOSTILE}),
    ("/settings/configuration/diff", {"text": HOSTILE}),
    ("/settings/people", {"name": HOSTILE, "role": HOSTILE}),
    ("/vault/add", {"provider": HOSTILE, "name": HOSTILE, "delivery": "AA=="}),
    ("/login", {"name": HOSTILE, "password": HOSTILE, "next": HOSTILE}),
    ("/welcome", {"name": HOSTILE, "password": HOSTILE, "link": HOSTILE}),
])  # fmt: skip
async def test_hostile_text_stays_text(
    autojump_clock: MockClock, form: tuple[str, dict[str, str]]
) -> None:
    """In what a form says back, and on every page that shows what was kept of it."""
    path, typed = form
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "owner")
        answer = await who.post(path, {"version": '"v*"', **typed})
        assert answer.status < 500
        pages = [answer, *[await who.get(shown) for shown in SHOWN]]
        for page in pages:
            assert page.status < 500
            source = text_of(page)
            assert "<img" not in source.replace('<img src="/console/static', "")
            assert "<script>" not in source
            assert "{{" not in source.replace("{{7*7}}", "")


@pytest.mark.parametrize("path", [
    "/login?next={}&done={}", "/?span={}&site={}&model={}", "/requests?site={}&id={}",
    "/vault/add?provider={}&name={}&hosts={}", "/sites/{}", "/sites/blog/keys/{}",
    "/settings/webhooks/{}", "/providers/{}", "/models/{}",
    "/providers/{}/settings", "/{}", "/sites?done={}",
])  # fmt: skip
async def test_what_an_address_says_is_never_markup(
    autojump_clock: MockClock, path: str
) -> None:
    async with house() as at:
        await a_site(at.desk)
        who = await at.person("ann", "owner")
        quoted = "%22%27%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"

        for ask in (who.get, lambda where: at.ask("GET", where)):
            answer = await ask(path.replace("{}", quoted))
            assert answer.status < 500
            source = text_of(answer).replace('<img src="/console/static', "")
            assert "<img" not in source
