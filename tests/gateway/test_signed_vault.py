"""The vault over the network: signed, once, within one tenant and environment."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actors.vault.delivery import info, seal
from actors.vault.signatures import SignedRequest, sign
from gateway.embed import EPOCH_S, Answer, Embedded, embedded
from gateway.embed_providers import FakeProvider
from gateway.http.routes import admin_app
from gateway.settings.vault import VaultConfig
from gateway.signed import authorities_of
from gateway.vaultdesk import VaultDesk
from tests.gateway.gateways import config, provider

KEY = b"a-made-up-signing-key-of-32-chars"
HOST = "gw.example:8443"
WHERE = "tenant=default env=default provider=* name=*"
MADE = attrs.evolve(
    config([provider("main", key_env="", key="vault:default")]),
    vault=VaultConfig(
        signed_for=(HOST,),
        policy=(
            "allow add|revoke principal=operator:* tenant=* env=* provider=* name=*",
            f"allow describe|add|rotate principal=client:default:default:ops {WHERE}",
        ),
    ),
)


def tenant_key(key_id: str, tenant: str, environment: str) -> bytes:
    return info(tenant, environment, "signing", key_id)


@asynccontextmanager
async def admin() -> AsyncIterator[Embedded]:
    """A gateway whose app is the operators', with one signing key."""
    async with embedded(MADE, {"main": FakeProvider()}) as gateway:
        desk = VaultDesk(gateway.gateway.tree.vault, gateway.gateway.config)
        for tenant in ("default", "other"):
            status, box = await desk.answer("GET", "/vault/delivery-key", b"", "")
            assert status == 200
            delivery = seal(
                KEY,
                base64.b64decode(box["public_key"]),
                tenant_key("ops", tenant, "default"),
            )
            body = {
                "provider": "signing",
                "name": "ops",
                "tenant": tenant,
                "delivery": base64.b64encode(delivery).decode(),
            }
            status, facts = await desk.answer(
                "POST", "/vault/secrets", json.dumps(body).encode(), "operator:control"
            )
            assert status == 200, facts
        gateway.app = admin_app(gateway.gateway.gate, created=0)
        yield gateway


@attrs.define
class Client:
    gateway: Embedded
    nonce: int = 0
    tenant: str = "default"
    key: bytes = KEY

    async def ask(
        self, method: str, path: str, body: bytes = b"", **changes: str
    ) -> Answer:
        return await self.send(
            method, path, body, self.signed(method, path, body), **changes
        )

    def signed(self, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        self.nonce += 1
        request = SignedRequest(
            method, HOST, f"/admin/v1{path}", "", self.tenant, "default", body
        )
        headers = sign(
            request,
            key=self.key,
            key_id="ops",
            now_s=EPOCH_S + trio.current_time(),
            nonce=self.nonce.to_bytes(16, "big"),
        )
        return {
            "host": HOST,
            "gw-tenant": self.tenant,
            "gw-env": "default",
            "signature-input": headers.signature_input,
            "signature": headers.signature,
            "content-digest": headers.content_digest,
        }

    async def send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        **changes: str,
    ) -> Answer:
        given = {**headers, **{k.replace("_", "-"): v for k, v in changes.items()}}
        return await self.gateway.request(
            method, f"/admin/v1{path}", body, headers=given
        )


async def past_the_start() -> None:
    """What a life before may have admitted is refused for half a minute."""
    await trio.sleep(31)


async def test_a_signed_request_is_answered_once(autojump_clock: MockClock) -> None:
    async with admin() as gateway:
        await past_the_start()
        client = Client(gateway)
        headers = client.signed("GET", "/vault/secrets")
        first = await client.send("GET", "/vault/secrets", b"", headers)
        again = await client.send("GET", "/vault/secrets", b"", headers)
        assert first.status == 200
        assert [row["name"] for row in first.json()["secrets"]] == ["ops"]
        assert again.status == 401
        assert KEY not in first.body


async def test_right_after_the_start_nothing_is_admitted(
    autojump_clock: MockClock,
) -> None:
    """It might have been used in the life before; nonces in files know better."""
    async with admin() as gateway:
        assert (await Client(gateway).ask("GET", "/vault/secrets")).status == 401


async def test_a_key_is_taken_in_over_the_network(autojump_clock: MockClock) -> None:
    async with admin() as gateway:
        await past_the_start()
        client = Client(gateway)
        box = (await client.ask("GET", "/vault/delivery-key")).json()
        delivery = seal(
            b"sk-over-the-network",
            base64.b64decode(box["public_key"]),
            info("default", "default", "main", "default"),
        )
        body = json.dumps(
            {"provider": "main", "delivery": base64.b64encode(delivery).decode()}
        ).encode()
        answer = await client.ask("POST", "/vault/secrets", body)
        assert answer.status == 200, answer.body
        assert answer.json()["created_by"] == "client:default:default:ops"
        refused = await client.ask(
            "POST", "/vault/secrets/revoke", b'{"provider":"main"}'
        )
        assert refused.status == 409
        assert "denied" in refused.json()["error"]["message"]


async def test_a_signer_stays_in_his_tenant(autojump_clock: MockClock) -> None:
    async with admin() as gateway:
        await past_the_start()
        theirs = Client(gateway, tenant="other")
        listed = await theirs.ask("GET", "/vault/secrets")
        assert listed.json()["secrets"] == []
        body = b'{"provider":"main","tenant":"default"}'
        answer = await theirs.ask("POST", "/vault/secrets/revoke", body)
        assert answer.status == 409
        assert "another tenant" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"gw_tenant": "other"}, 401),
        ({"gw_env": "dev"}, 401),
        ({"host": "gw2.example"}, 401),
        ({"content_digest": "sha-256=:" + "A" * 43 + "=:"}, 401),
        ({"signature": "gw=:" + "A" * 43 + "=:"}, 401),
        ({"signature_input": "gw=()"}, 401),
    ],
)
async def test_a_changed_request_is_refused(
    autojump_clock: MockClock, changes: dict[str, str], status: int
) -> None:
    async with admin() as gateway:
        await past_the_start()
        answer = await Client(gateway).ask("GET", "/vault/secrets", **changes)
        assert answer.status == status


@pytest.mark.parametrize(
    "missing",
    ["gw-tenant", "gw-env", "signature", "signature-input", "content-digest"],
)
async def test_an_unsigned_request_is_told_only_what_is_missing(
    autojump_clock: MockClock, missing: str
) -> None:
    async with admin() as gateway:
        client = Client(gateway)
        headers = client.signed("GET", "/vault/secrets")
        del headers[missing]
        answer = await client.send("GET", "/vault/secrets", b"", headers)
        assert answer.status == 400
        assert missing in answer.json()["error"]["message"]


async def test_the_clients_address_has_no_such_path(autojump_clock: MockClock) -> None:
    async with embedded(MADE, {"main": FakeProvider()}) as gateway:
        assert (await Client(gateway).ask("GET", "/vault/secrets")).status == 404


def test_an_instance_goes_by_its_own_names() -> None:
    made: Any = attrs.evolve(MADE, vault=VaultConfig())
    assert authorities_of(made) == {"127.0.0.1:8080"}
    assert authorities_of(MADE) == {HOST}
