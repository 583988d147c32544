"""Recorded requests of OpenAI's and Anthropic's clients, built for the other providers.

AWS's own model of Converse judges what Bedrock is sent; for the rest the turns must
agree: every call has its result, under the same id.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import pytest

from tests.support_recordings import cases
from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.dialect import ClientError, ProviderDialect, Target
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.request import ChatRequest, ToolResult, ToolUse

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"
TARGETS: list[tuple[ProviderDialect, str]] = [
    (Bedrock(), CLAUDE),
    (Bedrock(), "anthropic.claude-sonnet-5"),
    (Bedrock(), NOVA),
    (BedrockInvoke(), CLAUDE),
    (BedrockInvoke(), NOVA),
    (Cohere(), "command-a-03-2025"),
    (Mistral(), "mistral-small-latest"),
    (Ollama(), "qwen3"),
]
REFUSED_MAX = 15  # Pictures by URL, mostly, where nobody would fetch them.


@cache
def asked() -> dict[str, ChatRequest]:
    """Every recorded chat request that our own front doors let in."""
    found: dict[str, ChatRequest] = {}
    for one in cases():
        client = {"anthropic": MESSAGES, "chat": CHAT}.get(one.family)
        if not one.request or client is None or one.operation == "fixture":
            continue
        try:
            request = client.parse_request(json.dumps(one.request).encode(), {})
        except ClientError:
            continue
        found[one.name] = request
    return found


@cache
def converse() -> Any:
    model = botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2")
    service = botocore.model.ServiceModel(model)
    return service.operation_model("Converse").input_shape


@pytest.mark.parametrize(
    ("dialect", "model"), TARGETS, ids=[f"{d.name} {m}" for d, m in TARGETS]
)
def test_recorded_requests_can_be_sent_elsewhere(
    dialect: ProviderDialect, model: str
) -> None:
    refused: list[str | None] = []
    for name, request in asked().items():
        try:
            upstream = dialect.build_request(
                request, Target(model, max_output_tokens=9000)
            )
        except ClientError as error:
            refused.append(error.param)
            continue
        body = json.loads(upstream.body)
        if dialect.name == "bedrock":
            report = botocore.validate.ParamValidator().validate(
                {"modelId": model, **body}, converse()
            )
            assert not report.has_errors(), f"{name}: {report.generate_report()}"
        assert_turns_agree(name, request, body)
    assert all(refused)  # A refusal names its field.
    assert len(refused) <= REFUSED_MAX
    assert len(asked()) > 150


def assert_turns_agree(name: str, request: ChatRequest, body: dict[str, Any]) -> None:
    """All calls and results arrive, and each result still names its call."""
    parts = [part for message in request.messages for part in message.parts]
    calls = sum(isinstance(part, ToolUse) for part in parts)
    results = sum(isinstance(part, ToolResult) for part in parts)
    called, answered = ids(body)

    assert len(called) == calls, name
    assert len(answered) in {0, results}, name  # Ollama's results carry no id.
    assert set(answered) <= set(called), name


def ids(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Ids of calls and of results, in whichever of the dialects the body is."""
    called: list[str] = []
    answered: list[str] = []
    for turn in body["messages"]:
        called += [call["id"] for call in turn.get("tool_calls") or []]
        if "tool_call_id" in turn:
            answered.append(turn["tool_call_id"])
        content = turn.get("content")
        for block in content if isinstance(content, list) else []:
            if "toolUse" in block:
                called.append(block["toolUse"]["toolUseId"])
            elif "toolResult" in block:
                answered.append(block["toolResult"]["toolUseId"])
            elif block.get("type") == "tool_use":
                called.append(block["id"])
            elif block.get("type") == "tool_result":
                answered.append(block["tool_use_id"])
    return called, answered
