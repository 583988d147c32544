"""From what happens to a webhook: caps, providers, keys; and nothing of it a secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec
import trio
from trio.testing import MockClock

from actors.auditor import anchoring
from gateway.alerting import LOOK_AT_KEYS_MS
from gateway.embed import EPOCH_S, embedded
from gateway.embed_providers import Fails, FakeProvider
from gateway.settings.definition import evolve
from gateway.settings.money import CapConfig
from storage.sql.memory import open_memory
from tests.gateway.admin.support_admin import Desk, a_site, desk
from tests.gateway.gateways import CHAT, KEY, chat, config


class Receiver:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.heard: list[tuple[Mapping[str, str], bytes]] = []

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        await trio.lowlevel.checkpoint()
        self.heard.append((headers, body))
        return 204

    def kinds(self) -> list[str]:
        return [msgspec.json.decode(body)["type"] for _, body in self.heard]


async def hook(at: Desk, **more: Any) -> str:
    made = await at.made("/webhooks", {"url": "https://hooks.example/x", **more})
    secret: str = made["secret"]
    return secret


async def test_a_cap_that_is_reached_is_told_once_and_signed_with_the_shown_secret(
    autojump_clock: MockClock,
) -> None:
    receiver = Receiver()
    soft = CapConfig(name="little", spend_max_nanousd=1, kind="soft", per="all")
    async with desk(evolve(config(), caps=(soft,)), post=receiver) as at:
        secret = await hook(at)
        for _ in range(3):
            await at.called()
        await trio.sleep(5)

        assert receiver.kinds() == ["stagedoor.cap.soft"]
        headers, body = receiver.heard[0]
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = (
            f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        )
        digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        assert headers["webhook-signature"] == f"v1,{digest.decode()}"
        (alert,) = (await at.ask("GET", "/alerts")).json()["items"]
        assert (alert["kind"], alert["subject"]) == ("cap.soft", "little")
        listed = await at.ask("GET", "/webhooks")
        assert secret.encode() not in listed.body
        database = at.gateway.gateway.database
        assert database is not None
        rows = await database.read("SELECT blob, url, label FROM webhook")
        assert key not in b"".join(row[0] for row in rows)


async def test_a_provider_that_fails_is_told_and_so_is_its_return(
    autojump_clock: MockClock,
) -> None:
    receiver = Receiver()
    database = await open_memory()
    script = [*[Fails(500)] * 3, *[Fails(500)], *FakeProvider().script]
    async with embedded(
        config(), {"main": FakeProvider(script)},
        environ={"PROVIDER_KEY": "sk-upstream-canary-42"},
        database=database, post=receiver,
    ) as gateway:  # fmt: skip
        at = Desk(gateway)
        await hook(at, kinds=["provider.down", "provider.up"])
        for _ in range(12):
            await gateway.post(CHAT, chat(), key=KEY)
            await trio.sleep(10)
        assert receiver.kinds() == ["stagedoor.provider.down", "stagedoor.provider.up"]
        assert b"canary" not in b"".join(body for _, body in receiver.heard)
    await database.aclose()


async def test_a_key_that_ends_soon_is_told_to_whose_it_is(
    autojump_clock: MockClock,
) -> None:
    receiver = Receiver()
    async with desk(post=receiver) as at:
        await a_site(at)
        await hook(at, tenants=["t1"])
        ends_ms = int((EPOCH_S + 5 * 86_400) * 1000)
        await at.made("/sites/blog/keys", {"terms": {"expires_ms": ends_ms}})
        await trio.sleep(3 * LOOK_AT_KEYS_MS / 1000)
        assert receiver.kinds() == ["stagedoor.key.expiring"]
        await trio.sleep(2.2 * 86_400)
        # Again three days before, and no more in between.
        assert receiver.kinds() == ["stagedoor.key.expiring"] * 2


async def test_an_audit_log_in_trouble_is_told(autojump_clock: MockClock) -> None:
    receiver = Receiver()
    async with desk(post=receiver) as at:
        await hook(at)
        book = at.gateway.gateway.gate.book
        assert book is not None
        book.disowned = "it has seen another history of this log"
        await trio.sleep(100)
        assert receiver.kinds() == ["stagedoor.audit.trouble"]


async def test_an_anchor_that_is_late_is_told(autojump_clock: MockClock) -> None:
    receiver = Receiver()
    async with desk(post=receiver) as at:
        await hook(at)
        book = at.gateway.gateway.gate.book
        assert book is not None
        now_s = trio.current_time()
        anchors = anchoring.Anchoring(600.0, now_s)
        book.anchoring = anchoring.failed(anchors, "the bucket answered 403", now_s)
        await trio.sleep(200)
        assert receiver.kinds() == []
        await trio.sleep(200)
        assert receiver.kinds() == ["stagedoor.audit.trouble"]
        assert "anchor is late" in receiver.heard[-1][1].decode()
