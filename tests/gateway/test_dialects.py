"""Clients of every dialect through the whole gateway, to providers of others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from gateway.embed import Embedded, embedded
from gateway.embed_providers import Fails, FakeProvider, Says
from tests.gateway.gateways import KEY, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-1"}
GEMINI = "/v1beta/models/fast%3AgenerateContent"

ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (
        "/v1/chat/completions",
        {"model": "fast", "messages": [{"role": "user", "content": "hi"}]},
    ),
    "completions": ("/v1/completions", {"model": "fast", "prompt": "hi"}),
    "responses": ("/v1/responses", {"model": "fast", "input": "hi"}),
    "messages": (
        "/v1/messages",
        {
            "model": "fast",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "hi"}],
        },
    ),
    "gemini": (GEMINI, {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


def said(client: str, answer: Any) -> str:
    """The text in a whole answer of this dialect."""
    match client:
        case "chat":
            return str(answer["choices"][0]["message"]["content"])
        case "completions":
            return str(answer["choices"][0]["text"])
        case "responses":
            return str(answer["output"][0]["content"][0]["text"])
        case "messages":
            return str(answer["content"][0]["text"])
        case _:
            return str(answer["candidates"][0]["content"]["parts"][0]["text"])


async def ask(gateway: Embedded, client: str, **more: Any) -> Any:
    path, body = ASKS[client]
    return await gateway.post(path, {**body, **more}, key=KEY)


@pytest.mark.parametrize("client", ASKS)
async def test_a_whole_answer_comes_in_the_clients_dialect(
    autojump_clock: MockClock, client: str
) -> None:
    main = FakeProvider([Says("Hello there")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client)

        assert answer.status == 200, answer.body
        assert said(client, answer.json()) == "Hello there"
        [record] = await gateway.records()
        assert (record.outcome, record.prompt_tokens, record.output_tokens) == (
            "ok",
            7,
            2,
        )


@pytest.mark.parametrize("client", ["chat", "completions", "responses", "messages"])
async def test_a_stream_comes_in_the_clients_dialect(
    autojump_clock: MockClock, client: str
) -> None:
    main = FakeProvider([Says("Hello there")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client, stream=True)

        assert answer.status == 200, answer.body
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert b"Hello" in answer.body
        end = {"responses": b"response.completed", "messages": b"message_stop"}
        assert end.get(client, b"[DONE]") in answer.body


async def test_a_google_client_streams(autojump_clock: MockClock) -> None:
    main = FakeProvider([Says("Hello there")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        path = "/v1beta/models/fast:streamGenerateContent"
        answer = await gateway.request(
            "POST", path, ASKS["gemini"][1], headers={"x-goog-api-key": KEY}
        )

        assert answer.status == 200, answer.body
        chunks = answer.json()  # Without alt=sse: one JSON array.
        text = "".join(
            part["text"]
            for chunk in chunks
            for part in chunk["candidates"][0]["content"].get("parts", [])
        )
        assert text == "Hello there"


@pytest.mark.parametrize("client", ASKS)
async def test_an_error_comes_in_the_clients_dialect(
    autojump_clock: MockClock, client: str
) -> None:
    main = FakeProvider([Fails(400, "no such thing", "bad_thing")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client)

        assert answer.status == 400
        error = answer.json()["error"]
        assert "no such thing" in error["message"]
        if client == "messages":
            assert answer.json()["type"] == "error"
        if client == "gemini":
            assert error["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("client", ASKS)
async def test_a_wrong_key_is_refused_in_the_clients_dialect(
    autojump_clock: MockClock, client: str
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        path, body = ASKS[client]
        answer = await gateway.post(path, body, key="sk-nobody-knows")

        assert answer.status == 401
        assert answer.json()["error"]["message"]


async def test_embeddings_are_relayed(autojump_clock: MockClock) -> None:
    class Embeds(FakeProvider):
        def _answer(self, behaviour: Any, asked: Any) -> Any:
            assert asked["model"] == "m"
            body = msgspec.json.encode(
                {
                    "object": "list",
                    "model": "m",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                    "usage": {"prompt_tokens": 3, "total_tokens": 3},
                }
            )
            return self.whole(body)

    async with embedded(config(), {"main": Embeds()}, environ=ENV) as gateway:
        answer = await gateway.post(
            "/v1/embeddings", {"model": "fast", "input": "hi"}, key=KEY
        )

        assert answer.status == 200, answer.body
        assert answer.json()["data"][0]["embedding"] == [0.5]
        [record] = await gateway.records()
        assert (record.prompt_tokens, record.cost_nanousd) == (3, 3000)


async def test_a_signed_provider_gets_a_signature_and_never_the_secret(
    autojump_clock: MockClock,
) -> None:
    """AWS: the secret signs inside its lease; what is sent is worth one request."""
    seen: list[dict[str, str]] = []

    class Bedrock(FakeProvider):
        async def handle_async_request(self, request: Any) -> Any:
            seen.append(dict(request.headers))
            return await super().handle_async_request(request)

        def _answer(self, behaviour: Any, asked: Any) -> Any:
            body = msgspec.json.encode(
                {
                    "output": {
                        "message": {"role": "assistant", "content": [{"text": "Hi"}]}
                    },
                    "stopReason": "end_turn",
                    "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
                }
            )
            return self.whole(body)

    aws = provider(
        "aws",
        kind="bedrock",
        base_url="https://bedrock-runtime.us-east-1.amazonaws.com",
        key_env="AWS_SECRET_ACCESS_KEY",
        access_key_id_env="AWS_ACCESS_KEY_ID",
        session_token_env="AWS_SESSION_TOKEN",
    )
    env = {
        "AWS_SECRET_ACCESS_KEY": "canary-secret-key",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    }
    async with embedded(config([aws]), {"aws": Bedrock()}, environ=env) as gateway:
        answer = await ask(gateway, "chat")

        assert answer.status == 200, answer.body
        [headers] = seen
        assert headers["authorization"].startswith(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"
        )
        assert "canary" not in str(headers)
