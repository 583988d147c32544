"""Reloads while requests are under way: they finish as they began, nothing crashes."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.ledger.messages import ReportAccounts, SiteAccount
from gateway.embed import Answer, Embedded, embedded
from gateway.embed_providers import FakeProvider, Refuses, Says
from gateway.http.request import Request
from gateway.settings.config import Config
from gateway.settings.keys import SiteKey
from gateway.settings.sites import SiteConfig
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}


def without_acme(made: Config) -> Config:
    """The same for somebody else."""
    other = SiteConfig(name="other", keys=(SiteKey.of("sk-other-dev-0002"),))
    return attrs.evolve(made, sites=(other,))  # type: ignore[misc]


def restarted(gateway: Embedded) -> list[str]:
    """Whoever is in a second life."""
    nodes = gateway.gateway.tree.system.snapshot().walk()
    return [node.id for node in nodes if node.restarts]


async def acme(gateway: Embedded) -> SiteAccount:
    """Its money."""
    found = await gateway.gateway.tree.ledger.ask(ReportAccounts())
    return next(account for account in found if account.site == "acme")


async def test_requests_of_a_site_that_was_removed_end_wherever_they_are(
    autojump_clock: MockClock,
) -> None:
    """One streams, six wait for its permit; nobody may crash, and nothing be held."""
    made = config([provider("main", in_flight_max=1, queue_max=10)])
    main = FakeProvider([Says("one two three", delta_s=0.2), Says("ok")])
    answers: list[Answer] = []
    async with embedded(made, {"main": main}, environ=ENV) as gateway:

        async def one() -> None:
            answers.append(await gateway.post(CHAT, chat(), key=KEY))

        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(one)
            await trio.sleep(0.1)
            await gateway.gateway.reload(without_acme(made))
        assert [answer.status for answer in answers] == [403] * 7
        assert all(b"site_suspended" in answer.body for answer in answers)
        assert restarted(gateway) == []
        assert not [
            one
            for one in gateway.gateway.tree.system.snapshot().walk()
            if one.id.startswith("streams/")
        ]
        refused = await gateway.post(CHAT, chat(), key=KEY)
        assert refused.status == 401


async def test_a_body_that_is_complete_after_its_site_was_removed_is_refused(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key was good when it began; nobody may crash over a site that is gone."""
    read = Request.read

    async def read_slowly(self: Request) -> bytes:
        await trio.sleep(1)
        return await read(self)

    monkeypatch.setattr(Request, "read", read_slowly)
    made = config()
    answers: list[Answer] = []
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:

        async def one() -> None:
            answers.append(await gateway.post(CHAT, chat(), key=KEY))

        async with trio.open_nursery() as nursery:
            for _ in range(6):  # More than a supervisor would forgive.
                nursery.start_soon(one)
            await trio.sleep(0.5)
            await gateway.gateway.reload(without_acme(made))
        assert [answer.status for answer in answers] == [401] * 6
        assert restarted(gateway) == []


async def test_reloads_at_once_take_turns(autojump_clock: MockClock) -> None:
    """A saved file and a SIGHUP come together as a rule."""
    made = config([provider("a"), provider("b")])
    moved = provider("a", base_url="https://other.example/v1")
    after = config([moved, provider("c")])
    fakes = {name: FakeProvider() for name in "abc"}
    async with embedded(made, fakes, environ=ENV) as gateway:
        async with trio.open_nursery() as nursery:
            for wanted in (after, after, made, after, made, made, after):
                nursery.start_soon(gateway.gateway.reload, wanted)
        nodes = gateway.gateway.tree.system.snapshot().walk()
        names = {node.id for node in nodes if node.id.startswith("providers/")}
        configured = gateway.gateway.config.providers  # Of whoever was last.
        assert names == {f"providers/{one.name}" for one in configured}
        assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200


async def test_a_site_that_comes_back_has_not_got_its_money_again(
    autojump_clock: MockClock,
) -> None:
    made = config(spend_max_nanousd=10_000_000)
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:
        await gateway.post(CHAT, chat(max_tokens=5), key=KEY)
        before = await acme(gateway)
        await gateway.gateway.reload(without_acme(made))
        sites = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert [site.site for site in sites] == ["other"]
        await gateway.gateway.reload(made)
        assert before.spent_nanousd > 0
        assert await acme(gateway) == before


async def test_a_provider_that_is_out_of_use_comes_back_as_the_reload_has_it(
    autojump_clock: MockClock,
) -> None:
    """Mending its address is what operators do then. The old pool is closed."""
    broken = config([provider("a", base_url="https://typo.example/v1")])
    old, new = FakeProvider([Refuses()]), FakeProvider()
    fakes = {"a": old}
    async with embedded(broken, fakes, environ=ENV) as gateway:
        for _ in range(2):
            await gateway.post(CHAT, chat(), key=KEY)
        assert gateway.gateway.tree.provider("a").state == "down"  # type: ignore[union-attr]
        fakes["a"] = new
        await gateway.gateway.reload(config([provider("a")]))
        await gateway.gateway.sweep()
        before = old.closed  # A call may still be about to be sent.
        await trio.sleep(20)
        await gateway.gateway.sweep()
        assert (before, old.closed) == (False, True)
        assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200


async def test_a_removed_providers_calls_go_on_and_its_pool_is_closed(
    autojump_clock: MockClock,
) -> None:
    a, b = FakeProvider([Says("one two three", delta_s=3)]), FakeProvider()
    made = config([provider("a"), provider("b")])
    async with embedded(made, {"a": a, "b": b}, environ=ENV) as gateway:
        async with gateway.open("POST", CHAT, chat(), key=KEY) as call:
            await call.head()
            await gateway.gateway.reload(config([provider("b")]))
            await trio.sleep(5)
            await gateway.gateway.sweep()
            answer = await call.read()
            assert b"[DONE]" in answer.body
        assert a.closed
        assert a.open == 0
