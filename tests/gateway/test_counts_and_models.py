"""How long a prompt is, and which models there are, in each client's own words."""

from __future__ import annotations

from typing import Any

import attrs
import httpx
import msgspec
import pytest
from trio.testing import MockClock

from actors.ledger.messages import ReportAccounts
from gateway.embed import Answer, Embedded, embedded
from gateway.embed_providers import Fails, FakeProvider, Says
from gateway.settings.config import Config
from tests.gateway.gateways import KEY, config, provider

ENV = {"PROVIDER_KEY": "sk-upstream-1"}
MESSAGE = {"role": "user", "content": "How long is this?"}
ASKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "messages": (
        "/v1/messages/count_tokens",
        {"model": "fast", "messages": [MESSAGE]},
        "input_tokens",
    ),
    "responses": (
        "/v1/responses/input_tokens",
        {"model": "fast", "input": "How long is this?"},
        "input_tokens",
    ),
    "gemini": (
        "/v1beta/models/fast%3AcountTokens",
        {"contents": [{"role": "user", "parts": [{"text": "How long is this?"}]}]},
        "totalTokens",
    ),
}


class Counting(FakeProvider):
    """An Anthropic-shaped provider that counts."""

    def _answer(self, behaviour: Any, asked: Any) -> httpx.Response:
        if isinstance(behaviour, Fails):
            return super()._answer(behaviour, asked)
        return self.whole(msgspec.json.encode({"input_tokens": 4711}))


def exact(kind: str = "anthropic") -> Config:
    return config([provider("main", kind=kind)], count_tokens="exact")


async def ask(gateway: Embedded, client: str, **more: Any) -> Answer:
    path, body, _ = ASKS[client]
    return await gateway.post(path, {**body, **more}, key=KEY)


@pytest.mark.parametrize("client", ASKS)
async def test_without_a_wish_a_count_is_estimated_at_once(
    autojump_clock: MockClock, client: str
) -> None:
    main = Counting()
    made = config([provider("main", kind="anthropic")])
    async with embedded(made, {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client)

        assert answer.status == 200
        assert 4 <= answer.json()[ASKS[client][2]] <= 40
        assert answer.headers["x-stagedoor-count"] == "estimate"
        assert main.requests == []


@pytest.mark.parametrize("client", ASKS)
async def test_an_exact_count_is_the_providers_own_and_costs_nothing(
    autojump_clock: MockClock, client: str
) -> None:
    main = Counting()
    async with embedded(exact(), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client)

        assert answer.json()[ASKS[client][2]] == 4711
        assert answer.headers["x-stagedoor-count"] == "exact"
        [record] = await gateway.records()
        assert (record.cost_nanousd, record.output_tokens) == (0, 0)
        assert not record.usage_estimated
        [account] = await gateway.gateway.tree.ledger.ask(ReportAccounts())
        assert (account.held_nanousd, account.in_flight) == (0, 0)


@pytest.mark.parametrize("client", ASKS)
@pytest.mark.parametrize("status", [404, 429, 500])
async def test_a_count_that_is_not_to_be_had_is_estimated(
    autojump_clock: MockClock, client: str, status: int
) -> None:
    main = Counting([Fails(status)])
    async with embedded(exact(), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client)

        assert answer.status == 200
        assert answer.headers["x-stagedoor-count"] == "estimate"


@pytest.mark.parametrize("client", ASKS)
async def test_a_provider_that_does_not_count_is_not_asked(
    autojump_clock: MockClock, client: str
) -> None:
    main = FakeProvider([Says("never")])
    async with embedded(exact("cohere"), {"main": main}, environ=ENV) as gateway:
        answer = await ask(gateway, client)

        assert (answer.status, main.requests) == (200, [])


async def test_a_count_of_a_conversation_that_goes_on_counts_all_of_it(
    autojump_clock: MockClock,
) -> None:
    main = FakeProvider([Says("word " * 400)])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        first = await gateway.post(
            "/v1/responses", {"model": "fast", "input": "hi"}, key=KEY
        )
        more = await ask(gateway, "responses", previous_response_id=first.json()["id"])

        assert more.json()["input_tokens"] > 400


async def test_a_malformed_question_is_the_clients_fault(
    autojump_clock: MockClock,
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.post(
            "/v1/messages/count_tokens", {"model": "fast", "messages": 1}, key=KEY
        )

        assert answer.status == 400
        assert answer.json()["type"] == "error"
        assert answer.headers["request-id"].startswith("req_")


# -- models ----------------------------------------------------------------------------

ANTHROPIC = {"anthropic-version": "2023-06-01"}


async def test_models_are_listed_to_each_client_in_its_own_shape(
    autojump_clock: MockClock,
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        openai = (await gateway.request("GET", "/v1/models", key=KEY)).json()
        anthropic = (
            await gateway.request("GET", "/v1/models", key=KEY, headers=ANTHROPIC)
        ).json()
        google = (await gateway.request("GET", "/v1beta/models", key=KEY)).json()

        assert [m["id"] for m in openai["data"]] == ["fast"]
        assert (openai["object"], openai["data"][0]["object"]) == ("list", "model")
        assert anthropic["data"][0] == {
            "type": "model",
            "id": "fast",
            "display_name": "fast",
            "created_at": "2027-01-15T08:00:00Z",
        }
        assert (anthropic["has_more"], anthropic["first_id"]) == (False, "fast")
        assert google["models"][0]["name"] == "models/fast"


async def test_one_model_is_told_and_a_missing_one_is_missed_in_its_dialect(
    autojump_clock: MockClock,
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        for base, headers, name in [
            ("/v1/models", {}, "id"),
            ("/v1/models", ANTHROPIC, "id"),
            ("/v1/models", {"x-goog-api-key": KEY}, "name"),
            ("/v1beta/models", {}, "name"),
        ]:
            there = await gateway.request(
                "GET", f"{base}/fast", key=KEY, headers=headers
            )
            assert there.json()[name].endswith("fast")
            gone = await gateway.request(
                "GET", f"{base}/slow", key=KEY, headers=headers
            )
            assert gone.status == 404
            error = gone.json()["error"]
            if headers is ANTHROPIC:
                assert error["type"] == "not_found_error"
            elif headers or "beta" in base:
                assert error["status"] == "NOT_FOUND"
            else:
                assert (error["code"], error["param"]) == ("model_not_found", "model")


async def test_a_name_with_a_slash_is_found(autojump_clock: MockClock) -> None:
    made = config()
    model = attrs.evolve(made.models[0], name="meta/llama-4:free")
    made = attrs.evolve(made, models=(model,))
    async with embedded(made, {"main": FakeProvider()}, environ=ENV) as gateway:
        for path in ("meta/llama-4:free", "meta%2Fllama-4%3Afree"):
            found = await gateway.request("GET", f"/v1/models/{path}", key=KEY)
            assert found.json()["id"] == "meta/llama-4:free"


@pytest.mark.parametrize("headers", [{}, ANTHROPIC])
async def test_a_list_needs_a_key_and_says_so_in_the_clients_dialect(
    autojump_clock: MockClock, headers: dict[str, str]
) -> None:
    async with embedded(config(), {"main": FakeProvider()}, environ=ENV) as gateway:
        answer = await gateway.request("GET", "/v1/models", headers=headers)

        assert answer.status == 401
        assert ("type" in answer.json()) == bool(headers)


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_clients_find_their_request_id(
    autojump_clock: MockClock, stream: bool
) -> None:
    body = {"model": "fast", "max_tokens": 9, "messages": [MESSAGE], "stream": stream}
    main = FakeProvider([Says("hi"), Fails(400, "no")])
    async with embedded(config(), {"main": main}, environ=ENV) as gateway:
        good = await gateway.post("/v1/messages", body, key=KEY)
        bad = await gateway.post("/v1/messages", body, key=KEY)

        for answer in (good, bad):
            assert answer.headers["request-id"] == answer.headers["x-request-id"]
