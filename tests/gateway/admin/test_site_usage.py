"""What a site learns of its own spending, with its own key."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from gateway.settings.config import Config
from gateway.settings.definition import evolve
from gateway.settings.keys import SiteKey
from gateway.settings.money import CapConfig
from gateway.settings.sites import SiteConfig
from tests.gateway.admin.support_admin import Desk, desk
from tests.gateway.gateways import KEY, config

OTHER = "sk-other-dev-0001"


def made() -> Config:
    """Two sites, a cap of each, and one over both."""
    given = config(spend_max_nanousd=5_000_000_000)
    other = SiteConfig(name="other", keys=(SiteKey.of(OTHER),))
    shared = CapConfig(name="shared", spend_max_nanousd=10**10, per="all")
    return evolve(given, sites=(*given.sites, other), caps=(shared,))


async def spent(at: Desk, key: str, feature: str) -> None:
    answer = await at.gateway.request(
        "POST", "/v1/chat/completions",
        {"model": "fast", "messages": [{"role": "user", "content": "hi"}]},
        key=key, headers={"x-stagedoor-feature": feature},
    )  # fmt: skip
    assert answer.status == 200, answer.body
    await at.gateway.archived()


async def test_a_site_sees_its_spend_against_its_cap_and_by_feature(
    autojump_clock: MockClock,
) -> None:
    async with desk(made()) as at:
        await spent(at, KEY, "summary")
        await spent(at, KEY, "chat")
        await spent(at, OTHER, "secret-plan")
        answer = await at.gateway.request("GET", "/v1/usage", key=KEY)
        told = answer.json()

        assert answer.status == 200
        assert told["cap"]["max_usd"] == "5"
        assert told["cap"]["spent_nanousd"] == told["total"]["cost_nanousd"] > 0
        assert told["total"]["requests"] == 2
        assert sorted(one["feature"] for one in told["features"]) == [
            "chat", "summary",
        ]  # fmt: skip
        assert told["cap"]["resets_at"] is not None
        # What others spend, and for what, is none of its business.
        assert [cap["name"] for cap in told["caps"]] == ["acme:spend"]
        assert b"secret-plan" not in answer.body
        assert b"shared" not in answer.body


async def test_what_is_asked_wrongly_is_refused_in_the_clients_words(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        for query in (
            "?since=x",
            "?site=other",
            "?since=9&until=5",
            "?until=9" + 14 * "9",
        ):
            answer = await at.gateway.request("GET", f"/v1/usage{query}", key=KEY)
            assert answer.status == 400, query
            assert answer.json()["error"]["type"] == "invalid_request_error"
        assert (await at.gateway.request("GET", "/v1/usage")).status == 401


async def test_a_key_needs_the_scope(autojump_clock: MockClock) -> None:
    async with desk() as at:
        for scopes, status in ((["inference"], 403), (["usage"], 200), ([], 200)):
            new = await at.made("/sites/acme/keys", {"terms": {"scopes": scopes}})
            await trio.sleep(1)
            answer = await at.gateway.request("GET", "/v1/usage", key=new["secret"])
            assert answer.status == status, scopes


async def test_a_feature_is_a_name(autojump_clock: MockClock) -> None:
    """It is shown to operators and sums are kept by it: no text, no tricks."""
    async with desk() as at:
        for feature in ("a b", "<script>", "x" * 65, "=cmd"):
            answer = await at.gateway.request(
                "POST", "/v1/chat/completions",
                {"model": "fast", "messages": [{"role": "user", "content": "hi"}]},
                key=KEY, headers={"x-stagedoor-feature": feature},
            )  # fmt: skip
            assert answer.status == 400
            assert answer.json()["error"]["param"] == "x-stagedoor-feature"
