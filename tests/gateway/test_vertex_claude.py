"""Claude on Vertex: what is sent is what the official Vertex client sends."""

from __future__ import annotations

from typing import Any

import attrs
import httpx
import httpx2
import msgspec
import pytest
from anthropic.lib.vertex import AnthropicVertex
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import FakeProvider
from gateway.settings.config import Candidate, Config, ModelConfig
from gateway.settings.kinds import base_url
from gateway.settings.providers import ProviderConfig
from tests.gateway.gateways import CHAT, DEADLINES, KEY, chat, config
from tests.gateway.test_requests import assert_nothing_held

ENV = {"GOOGLE_ACCESS_TOKEN": "ya29.canary-42"}
MODEL = "claude-sonnet-4-5@20250929"
ASKED: dict[str, Any] = {
    "max_tokens": 64,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Which way?"}],
    "tools": [{"name": "go", "description": "Go.", "input_schema": {"type": "object"}}],
}
MESSAGE = (
    b'{"id":"msg_vrtx_01","type":"message","role":"assistant","model":"%s",'
    b'"content":[{"type":"text","text":"That way."}],"stop_reason":"end_turn",'
    b'"stop_sequence":null,"usage":{"input_tokens":42,"output_tokens":5}}'
) % MODEL.encode()
# Vertex opens with an event of its own, which says nothing.
STREAM = b"""event: vertex_event
data: {"type":"vertex_event"}

event: message_start
data: {"type":"message_start","message":{"id":"msg_vrtx_01","type":"message",\
"role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],\
"stop_reason":null,"stop_sequence":null,\
"usage":{"input_tokens":42,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,\
"delta":{"type":"text_delta","text":"That way."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},\
"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

"""
MISSPELT = (
    b'{"type":"error","error":{"type":"invalid_request_error","message":'
    b'"messages: roles must alternate"}}'
)
UNKNOWN = (
    b'{"error":{"code":401,"message":"Request had invalid authentication '
    b'credentials.","status":"UNAUTHENTICATED"}}'
)
THROTTLED = (
    b'{"error":{"code":429,"message":"Quota exceeded for aiplatform.googleapis.com/'
    b"online_prediction_input_tokens_per_minute_per_base_model with base model: "
    b'anthropic-claude-sonnet-4-5.","status":"RESOURCE_EXHAUSTED"}}'
)


class Vertex(FakeProvider):
    """Answers as Vertex does, and keeps what it was sent."""

    def __init__(self, status: int = 200, body: bytes | None = None) -> None:
        super().__init__()
        self.status = status
        self.body = body
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return await super().handle_async_request(request)

    def _answer(self, behaviour: Any, asked: Any) -> httpx.Response:
        streams = asked.get("stream", False) and self.status == 200
        kind = "text/event-stream" if streams else "application/json"
        body = self.body or (STREAM if streams else MESSAGE)
        return httpx.Response(self.status, headers={"content-type": kind}, content=body)


def configured(location: str) -> Config:
    one = ProviderConfig(
        name="main",
        kind="vertex-anthropic",
        project="p-1",
        location=location,
        models=(MODEL,),
        deadlines=DEADLINES,
    )
    made = config([one])
    model = ModelConfig(name="fast", route=(Candidate("main", MODEL),))
    return attrs.evolve(made, models=(model,))  # type: ignore[misc]


def official(location: str, *, stream: bool) -> httpx2.Request:
    """What the official client of Vertex sends."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        kind = "text/event-stream" if stream else "application/json"
        return httpx2.Response(
            200, headers={"content-type": kind}, content=STREAM if stream else MESSAGE
        )

    client = AnthropicVertex(
        region=location,
        project_id="p-1",
        access_token=ENV["GOOGLE_ACCESS_TOKEN"],
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
    client.messages.create(model=MODEL, stream=stream, **ASKED)
    return seen[0]


@pytest.mark.parametrize("location", ["global", "europe-west1", "eu"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_is_sent_as_the_official_client_sends_it(
    autojump_clock: MockClock, stream: bool, location: str
) -> None:
    main = Vertex()
    theirs = official(location, stream=stream)
    expected = msgspec.json.decode(theirs.content)
    # The client's version, which the body has on Vertex: a date, or the first one.
    said = {"anthropic-version": expected["anthropic_version"]}
    async with embedded(configured(location), {"main": main}, environ=ENV) as gateway:
        body = {**ASKED, "model": "fast", "stream": stream}
        answer = await gateway.request(
            "POST", "/v1/messages", body, key=KEY, headers=said
        )
        await assert_nothing_held(gateway)
    [ours] = main.sent

    assert answer.status == 200
    assert b"That way." in answer.body
    assert (ours.method, str(ours.url)) == (theirs.method, str(theirs.url))
    assert main.authorizations == [theirs.headers["authorization"]]
    sent = msgspec.json.decode(ours.content)
    assert sent.pop("stream", False) == expected.pop("stream", False)
    assert sent == expected


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_another_dialect_is_answered_in_its_own(
    autojump_clock: MockClock, stream: bool
) -> None:
    main = Vertex()
    async with embedded(configured("global"), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat("Which way?", stream=stream), key=KEY)
        [record] = await gateway.records()
        assert answer.status == 200
        assert b"That way." in answer.body
        assert (record.prompt_tokens, record.output_tokens) == (42, 5)
        sent = msgspec.json.decode(main.sent[0].content)
        assert sent["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in sent


@pytest.mark.parametrize(
    ("status", "body", "told", "code"),
    [
        (429, THROTTLED, 429, "rate_limit_exceeded"),
        (400, MISSPELT, 400, None),
        (401, UNKNOWN, 502, None),
    ],
)
async def test_its_errors_are_googles_or_anthropics_and_read_as_either(
    autojump_clock: MockClock, status: int, body: bytes, told: int, code: str | None
) -> None:
    main = Vertex(status, body)
    async with embedded(configured("global"), {"main": main}, environ=ENV) as gateway:
        answer = await gateway.post(CHAT, chat(stream=False), key=KEY)

    assert answer.status == told, answer.body
    if code is not None:
        assert answer.json()["error"]["code"] == code


def test_each_location_has_its_address() -> None:
    named = {
        location: base_url("vertex-anthropic", region="", location=location)
        for location in ("global", "us", "eu", "europe-west1")
    }
    assert named == {
        "global": "https://aiplatform.googleapis.com",
        "us": "https://aiplatform.us.rep.googleapis.com",
        "eu": "https://aiplatform.eu.rep.googleapis.com",
        "europe-west1": "https://europe-west1-aiplatform.googleapis.com",
    }
