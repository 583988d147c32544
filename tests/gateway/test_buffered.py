"""One JSON body for whoever cannot stream, although it asked for a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from gateway.embed import Embedded, embedded, text_of
from gateway.embed_providers import FakeProvider, Says
from tests.gateway.gateways import CHAT, KEY, chat, config

ENV = {"PROVIDER_KEY": "sk-upstream-canary-42"}


@asynccontextmanager
async def gateway_with(**site: Any) -> AsyncGenerator[tuple[Embedded, FakeProvider]]:
    main = FakeProvider([Says("Hello there you")])
    async with embedded(config(**site), {"main": main}, environ=ENV) as gateway:
        yield gateway, main


@pytest.mark.parametrize(
    ("headers", "site", "reason"),
    [
        ({"x-stagedoor-buffered": "1"}, False, "requested"),
        ({"x-stagedoor-buffered": "true"}, False, "requested"),
        ({}, True, "site"),
        ({"x-stagedoor-client": "wordpress-plugin/1.6.2"}, False, "client-too-old"),
        ({"x-stagedoor-client": "wordpress-plugin/0.9"}, False, "client-too-old"),
        ({"user-agent": "Stagedoor-WordPress/1.6"}, False, "client-too-old"),
        (
            {"user-agent": "WordPress/6.5; https://a.example; Stagedoor-WordPress/1.6"},
            False,
            "client-too-old",
        ),
        (
            {"x-stagedoor-client": "wordpress-plugin/1.6", "x-stagedoor-buffered": "0"},
            False,
            "client-too-old",
        ),
        ({"x-stagedoor-client": "wordpress-plugin/1.7.0"}, False, None),
        ({"x-stagedoor-client": "wordpress-plugin/1.10.1"}, False, None),
        ({"x-stagedoor-client": "wordpress-plugin/2"}, False, None),
        ({"x-stagedoor-client": "ios-app/1.0"}, False, None),
        ({"user-agent": "WordPress/6.5; https://a.example"}, False, None),
        ({"x-stagedoor-buffered": "0"}, True, None),
    ],
)
async def test_it_is_told_why_it_gets_no_stream(
    autojump_clock: MockClock,
    headers: dict[str, str],
    site: bool,
    reason: str | None,
) -> None:
    async with gateway_with(buffered=site) as (gateway, main):
        body = chat(stream_options={"include_usage": True})
        answer = await gateway.request("POST", CHAT, body, key=KEY, headers=headers)

        assert answer.status == 200
        assert answer.headers.get("x-stagedoor-buffered") == reason
        if reason is None:
            assert text_of(answer.body) == "Hello there you"
            return
        assert answer.headers["content-type"] == "application/json"
        message = answer.json()["choices"][0]["message"]
        assert message["content"] == "Hello there you"
        asked = msgspec.json.decode(main.requests[0])
        assert "stream_options" not in asked
        assert not asked.get("stream")
        [record] = await gateway.records()
        assert (record.outcome, record.streamed) == ("ok", False)


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        (
            "/v1/messages",
            {
                "model": "fast",
                "stream": True,
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "hi"}],
            },
            ("content", 0, "text"),
        ),
        (
            "/v1/responses",
            {"model": "fast", "stream": True, "input": "hi"},
            ("output", 0, "content", 0, "text"),
        ),
        (
            "/v1/completions",
            {"model": "fast", "stream": True, "prompt": "hi"},
            ("choices", 0, "text"),
        ),
        (
            "/v1beta/models/fast:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            ("candidates", 0, "content", "parts", 0, "text"),
        ),
    ],
)
async def test_every_dialect_has_its_own_whole_answer(
    autojump_clock: MockClock,
    path: str,
    body: dict[str, Any],
    found: tuple[str | int, ...],
) -> None:
    async with gateway_with(buffered=True) as (gateway, _):
        answer = await gateway.post(path, body, key=KEY)

        value = answer.json()
        for step in found:
            value = value[step]
        assert value == "Hello there you"
        assert answer.headers["x-stagedoor-buffered"] == "site"


async def test_what_asks_for_no_stream_is_not_told_anything(
    autojump_clock: MockClock,
) -> None:
    async with gateway_with(buffered=True) as (gateway, _):
        answer = await gateway.post(CHAT, chat(stream=False), key=KEY)

        assert "x-stagedoor-buffered" not in answer.headers
