"""Vertex with a service account, through the whole gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.embed import embedded
from gateway.embed_providers import FakeProvider
from gateway.settings.config import Config
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

TOKEN_URI = "https://oauth2.example/token"


class Vertex(FakeProvider):
    """A model behind a bearer token, and the endpoint that gives such tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens_given = 0
        self.given = trio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if str(request.url) != TOKEN_URI:
            return await super().handle_async_request(request)
        self.tokens_given += 1
        self.given.set()
        told = {"access_token": f"ya29.{self.tokens_given}", "expires_in": 3600}
        return httpx.Response(200, json=told)

    def _answer(self, behaviour: Any, asked: Any) -> httpx.Response:
        parts = [{"text": "Hello from Vertex"}]
        candidate = {"content": {"role": "model", "parts": parts}}
        answer = {"candidates": [{**candidate, "finishReason": "STOP"}]}
        return self.whole(msgspec.json.encode(answer))


def account(folder: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = folder / "account.json"
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "a@b.iam.gserviceaccount.com",
                "private_key": pem,
                "token_uri": TOKEN_URI,
            }
        )
    )
    return file


def vertex(file: Path) -> Config:
    given = {"key_env": "", "service_account_file": file, "project": "p1"}
    return config([provider("main", kind="vertex", **given)])


async def test_a_request_travels_with_an_access_token(tmp_path: Path) -> None:
    main = Vertex()
    async with embedded(vertex(account(tmp_path)), {"main": main}) as gateway:
        with trio.fail_after(10):
            await main.given.wait()
        await trio.testing.wait_all_tasks_blocked()
        answer = await gateway.post(CHAT, chat(stream=False), key=KEY)

        assert answer.status == 200, answer.body
        said = answer.json()["choices"][0]["message"]["content"]
        assert said == "Hello from Vertex"
        assert main.authorizations == ["Bearer ya29.1"]
        assert b"ya29" not in gateway.logged()


async def test_without_a_token_the_key_is_missing_and_says_so(tmp_path: Path) -> None:
    main = Vertex()
    async with embedded(vertex(tmp_path / "none.json"), {"main": main}) as gateway:
        answer = await gateway.post(CHAT, chat(stream=False), key=KEY)

        assert answer.status == 503
        assert answer.json()["error"]["code"] == "key_unavailable"
        assert main.requests == []
