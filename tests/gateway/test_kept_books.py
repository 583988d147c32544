"""What operators see of the audit log and the vault: entries and figures."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from actors.auditor.messages import AuditUnavailable
from gateway.admin_events import ENTRIES_MAX, PATHS_AN_ENTRY, reloaded
from gateway.embed import Embedded, embedded
from gateway.embed_providers import FakeProvider, Says
from gateway.settings.changes import Change, Diff
from tests.gateway.gateways import CHAT, KEY, chat, config, provider


def acts(gateway: Embedded) -> bytes:
    """All that the log's segment holds, as bytes."""
    book = gateway.gateway.gate.book
    assert book is not None
    store: Any = book.store
    return bytes(store.segment)


async def figures(gateway: Embedded) -> dict[str, float]:
    answer = await gateway.request("GET", "/metrics")
    assert answer.status == 200
    lines = answer.body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


async def test_a_reload_is_in_the_log_by_its_paths_and_without_values(
    autojump_clock: MockClock,
) -> None:
    old, new = config(), config(spend_max_nanousd=77_123_000_000)
    async with embedded(old, {"main": FakeProvider()}) as gateway:
        await gateway.gateway.reload(new)
        log = acts(gateway)
    assert b"config.reload" in log
    assert b"cap.change" in log
    assert b"sites.acme.spend" in log
    assert b"77123" not in log


async def test_a_reload_that_cannot_be_recorded_does_not_happen(
    autojump_clock: MockClock,
) -> None:
    old = config()
    async with embedded(old, {"main": FakeProvider()}) as gateway:
        book = gateway.gateway.gate.book
        assert book is not None
        book.disowned = "a witness has seen another history"
        with pytest.raises(AuditUnavailable):
            await gateway.gateway.reload(config(spend_max_nanousd=1))
        assert gateway.gateway.config is old


def test_a_reload_of_very_many_settings_is_some_entries() -> None:
    changes = tuple(Change(f"caps.c{n}.{'x' * 300}", 1, 2) for n in range(1000))
    events = reloaded(Diff(changes, ()))
    assert len(events) == 2 * ENTRIES_MAX
    assert all(len(event.detail) <= PATHS_AN_ENTRY + 2 for event in events)
    assert reloaded(Diff((), ())) == ()


async def test_the_scrape_tells_of_log_and_vault(autojump_clock: MockClock) -> None:
    env = {"PROVIDER_KEY": "sk-x"}
    main = FakeProvider([Says()])
    async with embedded(config(), {"main": main}, environ=env) as gateway:
        assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
        await gateway.records()
        told = await figures(gateway)
    assert told["stagedoor_audit_entries_total"] >= 1
    assert told["stagedoor_audit_disowned"] == 0
    assert told["stagedoor_vault_leases_granted_total"] == 1
    assert told["stagedoor_vault_leases_refused_total"] == 0
    assert told["stagedoor_vault_leases"] == 0


async def test_a_lease_that_is_refused_is_counted(autojump_clock: MockClock) -> None:
    made = config([provider("main", key_env="", key="vault:default")])
    async with embedded(made, {"main": FakeProvider()}) as gateway:
        assert (await gateway.post(CHAT, chat(), key=KEY)).status >= 500
        assert (await figures(gateway))["stagedoor_vault_leases_refused_total"] >= 1
