"""People in records: keyed hashes for the sites that ask for them, for no other."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.auditor.messages import RequestRecord
from actors.auditor.privacy import EPOCH_DAYS, epoch_of
from actors.vault.messages import Shred
from actors.vault.peppers import PEPPER
from actors.vault.ports import SecretRow
from gateway.embed import EPOCH_S, Embedded, embedded, memory_safe
from gateway.embed_providers import FakeProvider
from gateway.people import client_address
from gateway.settings.admin import AdminConfig
from gateway.settings.console import ConsoleConfig
from gateway.settings.definition import evolve
from storage.vault_files import VaultMemory
from tests.gateway.gateways import CHAT, KEY, chat, config

EPOCH = epoch_of(int(EPOCH_S * 1000))
ENVIRON = {"PROVIDER_KEY": "k"}


async def record_of(gateway: Embedded, user: str | None) -> RequestRecord:
    body: dict[str, Any] = chat()
    if user is not None:
        body["user"] = user
    assert (await gateway.post(CHAT, body, key=KEY)).status == 200
    return (await gateway.records())[-1]


async def test_a_site_that_asks_can_tell_its_users_apart(
    autojump_clock: MockClock,
) -> None:
    made = config(pseudonyms=("user", "ip"))
    async with embedded(made, {"main": FakeProvider()}, environ=ENVIRON) as gateway:
        ann = await record_of(gateway, "Ann@acme.test")
        again = await record_of(gateway, "ann@ACME.test ")
        bob = await record_of(gateway, "bob")
        nobody = await record_of(gateway, None)

    assert ann.user.startswith(f"e{EPOCH}:")
    assert ann.user == again.user != bob.user
    assert nobody.user == ""
    assert b"acme.test" not in b"".join(gateway.journal.lines).lower()


async def test_a_site_that_does_not_ask_gets_no_names(
    autojump_clock: MockClock,
) -> None:
    """And where nobody administers either, no pepper is made."""
    store = VaultMemory()
    unattended = evolve(
        config(), console=ConsoleConfig(enabled=False), admin=AdminConfig(api=False)
    )
    async with embedded(
        unattended, {"main": FakeProvider()}, environ=ENVIRON,
        safe=memory_safe(wall=lambda: EPOCH_S + trio.current_time(), store=store),
    ) as gateway:  # fmt: skip
        found = await record_of(gateway, "ann@acme.test")
    assert (found.user, found.ip) == ("", "")
    assert not store.rows


async def test_shredding_a_tenant_ends_its_peoples_names(
    autojump_clock: MockClock,
) -> None:
    made = config(pseudonyms=("user",))
    async with embedded(made, {"main": FakeProvider()}, environ=ENVIRON) as gateway:
        assert (await record_of(gateway, "ann")).user
        home = gateway.gateway.config.home_of(gateway.gateway.config.sites[0])
        await gateway.gateway.tree.vault.ask(Shred(*home, "operator:control"))
        assert (await record_of(gateway, "ann")).user == ""


async def test_a_pepper_ends_with_its_time(autojump_clock: MockClock) -> None:
    """Then nobody can tell any more whom a record means."""
    store = VaultMemory()
    made = config(pseudonyms=("user",))
    async with embedded(
        made, {"main": FakeProvider()}, environ=ENVIRON,
        safe=memory_safe(wall=lambda: EPOCH_S + trio.current_time(), store=store),
    ) as gateway:  # fmt: skip
        first = await record_of(gateway, "ann")
        later_s = EPOCH_DAYS * 86_400.0
        autojump_clock.jump(later_s)
        await gateway.gateway.sweep()
        second = await record_of(gateway, "ann")
        assert second.user.startswith(f"e{EPOCH + 1}:") != first.user
        for _ in range(made.vault.pepper_epochs):
            autojump_clock.jump(later_s)
            await gateway.gateway.sweep()
        states = {
            row.name: row.state
            for row in store.rows.values()
            if isinstance(row, SecretRow) and row.provider == PEPPER
        }
    assert states.pop(f"e{EPOCH}") == "revoked"
    assert set(states.values()) == {"active"}


TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "wanted"),
    [
        ("198.51.100.7", "", "198.51.100.7"),
        # Whoever is no proxy of ours may write what it likes.
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "nonsense"),
        ("10.0.0.1", ",".join(["10.0.0.2"] * 100), "10.0.0.2"),
    ],
)
def test_the_address_is_the_last_one_that_no_proxy_of_ours_wrote(
    peer: str, forwarded: str, wanted: str
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == wanted


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address("10.0.0.1", "203.0.113.9", ()) == "10.0.0.1"
