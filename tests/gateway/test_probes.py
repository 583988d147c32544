"""Health probes: idle deployments are asked how they are, and nobody else is."""

from __future__ import annotations

import msgspec
import trio
from trio.testing import MockClock

from actors.auditor.messages import RequestRecord
from gateway.embed import Embedded, embedded
from gateway.embed_providers import FakeProvider, Refuses, Says
from gateway.settings import checks
from gateway.settings.config import Config
from tests.gateway.gateways import CHAT, KEY, chat, config, provider
from tests.gateway.test_mirror import changed
from tests.gateway.test_requests import ENV, assert_nothing_held

IDLE_S = 60.0


def probed(site: str = "acme") -> Config:
    """One deployment that is asked after a minute."""
    return config([provider("main", probe_idle_s=IDLE_S, probe_site=site)])


async def probes_of(gateway: Embedded) -> list[RequestRecord]:
    await trio.testing.wait_all_tasks_blocked()
    return [one for one in await gateway.records() if one.aside == "probe"]


async def test_an_idle_deployment_is_asked_recorded_and_paid(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("OK")])
    async with embedded(probed(), {"main": main}, environ=ENV) as gateway:
        await gateway.post(CHAT, chat(), key=KEY)
        await trio.sleep(IDLE_S / 2)
        assert await probes_of(gateway) == []
        await trio.sleep(IDLE_S)

        [probe] = await probes_of(gateway)
        assert (probe.site, probe.outcome, probe.feature) == ("acme", "ok", "probe")
        assert probe.cost_nanousd > 0
        assert msgspec.json.decode(main.requests[1])["max_tokens"] == 16
        metrics = (await gateway.request("GET", "/metrics")).body.decode()
        assert 'stagedoor_asides_total{kind="probe",outcome="ok"} 1.0' in metrics
        await assert_nothing_held(gateway)


async def test_a_deployment_that_serves_clients_is_never_asked(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider()
    async with embedded(probed(), {"main": main}, environ=ENV) as gateway:
        for _ in range(10):
            await gateway.post(CHAT, chat(), key=KEY)
            await trio.sleep(IDLE_S * 0.6)

        assert await probes_of(gateway) == []


async def test_probes_find_out_that_a_provider_works_again(
    autojump_clock: MockClock,
) -> None:
    """Three failures trip it; no client has to be the one that tries it."""
    main = FakeProvider([*[Refuses()] * 5, Says("OK")])
    async with embedded(probed(), {"main": main}, environ=ENV) as gateway:
        for _ in range(3):
            await gateway.post(CHAT, chat(), key=KEY)
        await trio.sleep(60.0)

        assert [one.outcome for one in await probes_of(gateway)][-1] == "ok"
        vitals = (await gateway.gateway.gate.vitals())["main"]
        assert not isinstance(vitals, str)
        assert vitals.state == "closed"
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status == 200


async def test_they_are_off_unless_asked_for_and_follow_a_reload(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider()
    plain = config()
    async with embedded(plain, {"main": main}, environ=ENV) as gateway:
        await trio.sleep(IDLE_S * 10)
        assert main.requests == []
        await gateway.gateway.reload(probed())
        await trio.sleep(IDLE_S * 2)
        assert len(main.requests) >= 1
        await gateway.gateway.reload(plain)
        before = len(main.requests)
        await trio.sleep(IDLE_S * 10)
        assert len(main.requests) == before


def test_somebody_has_to_pay_for_them() -> None:
    made = changed(probed("nobody"))

    found = list(checks.problems(made, lambda _: "providers[0]", {}))

    assert [where for where, _ in found] == ["providers[0].probe_site"]
