"""Keys in the vault, through the whole gateway."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from actors.vault.delivery import info, seal
from actors.vault.keks import KekLimits
from actors.vault.locked import LockedMemory
from actors.vault.messages import CountVault
from actors.vault.policy import RULES_MAX
from actors.vault.safe import Safe
from gateway.embed import Embedded, embedded
from gateway.embed_providers import Fails, FakeProvider, Says
from gateway.keysafe import rules_of
from gateway.settings.errors import ConfigError
from gateway.settings.vault import VaultConfig
from gateway.vaultdesk import VaultDesk
from storage.vault_files import VaultMemory
from tests.actors.vault.vaults import FlakyKms
from tests.gateway.gateways import CHAT, KEY, chat, config, provider


class Unreachable(httpx.AsyncBaseTransport):
    """Nobody listens: the call ends before a head is written."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")


SECRET = "sk-stored-canary-0001"
OPERATOR = "operator:control"
MADE = config([provider("main", key_env="", key="vault:default")])


def desk_of(gateway: Embedded) -> VaultDesk:
    return VaultDesk(gateway.gateway.tree.vault, gateway.gateway.config)


async def command(
    gateway: Embedded, path: str, body: Any = None, method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    data = b"" if body is None else json.dumps(body).encode()
    return await desk_of(gateway).answer(method, path, data, OPERATOR)


async def put(gateway: Embedded, key: str = SECRET, **more: Any) -> dict[str, Any]:
    _, box = await command(gateway, "/vault/delivery-key", method="GET")
    delivery = seal(
        key.encode(),
        base64.b64decode(box["public_key"]),
        info("default", "default", "main", "default"),
    )
    text = base64.b64encode(delivery).decode()
    status, facts = await command(
        gateway, "/vault/secrets", {"provider": "main", "delivery": text, **more}
    )
    assert status == 200, facts
    return facts


async def test_a_key_whose_call_found_no_connection_is_wiped_at_once(
    autojump_clock: MockClock,
) -> None:
    """Not at the end of the stream, which another provider may keep up for minutes."""
    both = (
        provider("main", key_env="", key="vault:default"),
        provider("backup", key_env=""),
    )
    slow = FakeProvider([Says("One two three four", delta_s=1)])
    async with embedded(
        config(both), {"main": Unreachable(), "backup": slow}
    ) as gateway:
        await put(gateway)
        async with gateway.open("POST", CHAT, chat(), key=KEY) as client:
            await client.head()
            nodes = gateway.gateway.tree.system.snapshot().walk()
            names = {node.id for node in nodes}
            granted = (
                await gateway.gateway.tree.vault.ask(CountVault())
            ).leases_granted

    assert granted == 1
    assert not {name for name in names if name.startswith("vault/")}


async def test_a_stored_key_reaches_its_provider_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says()])
    async with embedded(MADE, {"main": main}) as gateway:
        facts = await put(gateway)
        answer = await gateway.post(CHAT, chat(), key=KEY)

        assert answer.status == 200
        assert list(facts["hosts"]) == ["main.example"]
        assert main.authorizations == [f"Bearer {SECRET}"]
        _, listed = await command(gateway, "/vault/secrets", method="GET")
        seen = [
            json.dumps(listed).encode(),
            gateway.logged(),
            answer.body,
            b"".join(gateway.journal.lines),
            gateway.gateway.tree.system.dump().encode(),
        ]
        assert not any(SECRET.encode() in text for text in seen)


async def test_without_its_key_a_provider_is_not_asked(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says()])
    async with embedded(MADE, {"main": main}) as gateway:
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status >= 500
        assert main.authorizations == []
        assert b"vault add" not in answer.body  # That is for the operator.


async def test_a_key_changed_under_load_loses_no_request(
    autojump_clock: MockClock,
) -> None:
    """Each is answered with the old key or with the new one."""
    main = FakeProvider([Says(delta_s=0.3)])
    made = config([provider("main", key_env="", key="vault:default", queue_max=100)])
    statuses: list[int] = []
    async with embedded(made, {"main": main}) as gateway:
        await put(gateway)

        async def client() -> None:
            for _ in range(10):
                answer = await gateway.post(CHAT, chat(), key=KEY)
                statuses.append(answer.status)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(client)
            await trio.sleep(1)
            await put(gateway, "sk-stored-second", replace=True)
            await trio.sleep(1)
            status, _ = await command(gateway, "/vault/keks/rotate", {})
            assert status == 200
    assert statuses == [200] * 40
    used = set(main.authorizations)
    assert used == {f"Bearer {SECRET}", "Bearer sk-stored-second"}
    changed = main.authorizations.index("Bearer sk-stored-second")
    assert f"Bearer {SECRET}" not in main.authorizations[changed:]


async def test_a_revoked_key_serves_no_more_requests(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says()])
    async with embedded(MADE, {"main": main}) as gateway:
        await put(gateway)
        assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
        status, _ = await command(
            gateway, "/vault/secrets/revoke", {"provider": "main"}
        )
        assert status == 200
        assert (await gateway.post(CHAT, chat(), key=KEY)).status >= 500
        assert len(main.requests) == 1


async def test_a_providers_refusal_of_the_key_is_not_the_clients(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Fails(401, message=f"bad key {SECRET}")])
    async with embedded(MADE, {"main": main}) as gateway:
        await put(gateway)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status not in (401, 403)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/vault/nothing", None, 404),
        ("DELETE", "/vault/secrets", None, 404),
        ("POST", "/vault/secrets", b"{", 400),
        ("POST", "/vault/secrets", b'{"provider":"main","key":"sk-1"}', 400),
        ("POST", "/vault/secrets", b'{"provider":"main","delivery":"!"}', 409),
        ("POST", "/vault/secrets", b'{"provider":"x","delivery":"YQ=="}', 409),
        ("POST", "/vault/secrets/rotate", b'{"provider":"main"}', 409),
    ],
)
async def test_commands_that_cannot_be_are_refused_in_words(
    autojump_clock: MockClock, method: str, path: str, body: bytes | None, status: int
) -> None:
    async with embedded(MADE, {"main": FakeProvider()}) as gateway:
        got, answer = await desk_of(gateway).answer(method, path, body or b"", OPERATOR)
        assert got == status
        assert answer["error"]["message"]


async def test_a_redirect_takes_no_key_elsewhere(autojump_clock: MockClock) -> None:
    """Neither followed nor handed to the client, who would be asked for it."""
    away = {"location": "https://elsewhere.example/v1/chat/completions"}
    main = FakeProvider([Fails(307, headers=away)])
    async with embedded(MADE, {"main": main}) as gateway:
        await put(gateway)
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status >= 500
        assert "location" not in answer.headers
        assert set(main.authorizations) == {f"Bearer {SECRET}"}


async def test_a_base_url_that_a_reload_moves_gets_no_stored_key(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says()])
    moved = provider(
        "main", key_env="", key="vault:default", base_url="https://thief.example/v1"
    )
    async with embedded(MADE, {"main": main}) as gateway:
        await put(gateway)
        assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
        await gateway.gateway.reload(config([moved]))
        answer = await gateway.post(CHAT, chat(), key=KEY)
        assert answer.status >= 500
        assert main.authorizations == [f"Bearer {SECRET}"]


async def test_a_kms_that_dies_under_load_is_noticed_when_the_kek_ends(
    autojump_clock: MockClock,
) -> None:
    """Until then nobody notices; after it a 5xx that says so, and no other key."""
    kms = FlakyKms()
    memory = LockedMemory(secret=False)
    safe = Safe(
        VaultMemory(), {"local": kms}, memory, seals_with="local", wall=lambda: 1e9
    )
    main = FakeProvider([Says()])
    seen: list[tuple[float, int]] = []
    async with embedded(MADE, {"main": main}, safe=safe) as gateway:
        await put(gateway)
        began = trio.current_time()
        while trio.current_time() < began + 1200:
            if trio.current_time() > began + 100:
                kms.down = True
            if trio.current_time() > began + 900:
                kms.down = False
            answer = await gateway.post(CHAT, chat(), key=KEY)
            seen.append((trio.current_time() - began, answer.status))
            await trio.sleep(10)
    assert {status for at, status in seen if at < 280} == {200}
    assert all(status >= 500 for at, status in seen if 420 < at < 880)
    assert seen[-1][1] == 200


def test_a_policy_that_is_too_long_to_ask_each_grant_is_refused() -> None:
    """A start says it, with the bound; a rule's own mistakes are told one by one."""
    rule = "deny lease principal=site:nobody tenant=* env=* provider=* name=*"
    most = VaultConfig(policy=(rule,) * RULES_MAX)

    assert len(rules_of(most)) == RULES_MAX
    with pytest.raises(ConfigError, match="every grant asks all of them: 1024 at most"):
        rules_of(VaultConfig(policy=(rule,) * (RULES_MAX + 1)))


async def test_a_slow_kms_is_not_the_providers_fault(
    autojump_clock: MockClock,
) -> None:
    """Who waits for a key is told so, and the provider's breaker stays shut."""
    kms = FlakyKms()
    safe = Safe(
        VaultMemory(),
        {"local": kms},
        LockedMemory(secret=False),
        seals_with="local",
        wall=lambda: 1e9,
        limits=KekLimits(ttl_s=0),
    )
    main = FakeProvider([Says()])
    async with embedded(MADE, {"main": main}, safe=safe) as gateway:
        await put(gateway)
        kms.slow_s = 3  # Beyond the second that a connection may take.
        for _ in range(8):
            answer = await gateway.post(CHAT, chat(), key=KEY)
            assert (answer.status, answer.json()["error"]["code"]) == (
                503,
                "key_unavailable",
            )
        assert main.authorizations == []
        assert (await gateway.request("GET", "/readyz")).status == 200
        kms.slow_s = 0
        assert (await gateway.post(CHAT, chat(), key=KEY)).status == 200
