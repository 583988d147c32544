"""The table of fields, held against every dialect: build the request and look."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from wire.anthropic import MESSAGES
from wire.bedrock import Bedrock
from wire.cohere import Cohere
from wire.dialect import ClientError, ProviderDialect, Target, UpstreamRequest
from wire.field_policies import POLICIES, TARGETS, FieldPolicy, render
from wire.gemini import PROVIDER
from wire.mistral import Mistral
from wire.ollama import Ollama
from wire.openai_chat import CHAT
from wire.openai_responses import RESPONSES
from wire.request import (
    Audio,
    CacheMark,
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    ReasoningWish,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
)

# Models that take what their provider offers: reasoning, tiers, structured output.
DIALECTS: dict[str, tuple[ProviderDialect, Target]] = {
    "openai": (CHAT, Target("gpt-4.1", flavour="openai")),
    "openai-reasoning": (CHAT, Target("gpt-5", flavour="openai")),
    "openai-compatible": (CHAT, Target("m", flavour="openai-compatible")),
    "responses": (RESPONSES, Target("gpt-5", flavour="openai")),
    "anthropic": (MESSAGES, Target("claude-sonnet-4-5")),
    "gemini": (PROVIDER, Target("gemini-2.5-flash")),
    "bedrock": (Bedrock(), Target("anthropic.claude-sonnet-4-5-20250929-v1:0")),
    "cohere": (Cohere(), Target("command-a-reasoning-08-2025")),
    "mistral": (Mistral(), Target("mistral-medium-3.5")),
    "ollama": (Ollama(), Target("qwen3")),
}

HI = Text("hi")
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
# No client's dialect, so that no field passes as its own. Room for thoughts.
PLAIN = ChatRequest("m", (Message("user", (HI,)),), "nobody", max_output_tokens=9000)
TOOL = Tool("f", "does f", b'{"type":"object","properties":{}}')
TOOLED = replace(PLAIN, tools=(TOOL,))
TWO_TOOLS = replace(PLAIN, tools=(TOOL, replace(TOOL, name="g")))
THINKING = replace(PLAIN, reasoning=ReasoningWish("high"))
SEARCH = Tool("web", kind="server", source="other", data=b'{"type":"web_search"}')


def says(*parts: Part, role: str = "user", name: str | None = None) -> ChatRequest:
    return replace(PLAIN, messages=(Message(role, (HI, *parts), name),))  # type: ignore[arg-type]


def first(role: str) -> ChatRequest:
    leading = Message(role, (Text("be kind"),))  # type: ignore[arg-type]
    return replace(PLAIN, messages=(leading, *PLAIN.messages))


PAIRS: dict[str, tuple[ChatRequest, ChatRequest]] = {
    "system": (PLAIN, first("system")),
    "developer": (PLAIN, first("developer")),
    "tools": (PLAIN, TOOLED),
    "tools.strict": (TOOLED, replace(PLAIN, tools=(replace(TOOL, strict=True),))),
    "tools.custom": (PLAIN, replace(PLAIN, tools=(Tool("c", "d", kind="custom"),))),
    "tools.server": (PLAIN, replace(PLAIN, tools=(SEARCH,))),
    "tool_choice.none": (TOOLED, replace(TOOLED, tool_choice=ToolChoice("none"))),
    "tool_choice.required": (
        TOOLED,
        replace(TOOLED, tool_choice=ToolChoice("required")),
    ),
    "tool_choice.tool": (
        TOOLED,
        replace(TOOLED, tool_choice=ToolChoice("tool", "f")),
    ),
    "tool_choice.allowed": (
        TWO_TOOLS,
        replace(TWO_TOOLS, tool_choice=ToolChoice("auto", allowed=("f",))),
    ),
    "parallel_tool_calls": (TOOLED, replace(TOOLED, parallel_tool_calls=False)),
    "response_format.json_object": (
        PLAIN,
        replace(PLAIN, response_format=ResponseFormat("json_object")),
    ),
    "response_format.json_schema": (
        PLAIN,
        replace(
            PLAIN,
            response_format=ResponseFormat("json_schema", "n", b'{"type":"object"}'),
        ),
    ),
    "stop": (PLAIN, replace(PLAIN, stop=("X",))),
    "temperature": (PLAIN, replace(PLAIN, temperature=0.5)),
    "top_p": (PLAIN, replace(PLAIN, top_p=0.5)),
    "top_k": (PLAIN, replace(PLAIN, top_k=5)),
    "presence_penalty": (PLAIN, replace(PLAIN, presence_penalty=0.5)),
    "frequency_penalty": (PLAIN, replace(PLAIN, frequency_penalty=0.5)),
    "max_output_tokens": (replace(PLAIN, max_output_tokens=None), PLAIN),
    "reasoning.effort": (PLAIN, THINKING),
    "reasoning.budget_tokens": (
        PLAIN,
        replace(PLAIN, reasoning=ReasoningWish(budget_tokens=2000, enabled=True)),
    ),
    "reasoning.summary": (
        THINKING,
        replace(PLAIN, reasoning=ReasoningWish("high", summary="detailed")),
    ),
    "reasoning.omitted": (
        THINKING,
        replace(PLAIN, reasoning=ReasoningWish("high", summary="omitted")),
    ),
    "seed": (PLAIN, replace(PLAIN, seed=7)),
    "logprobs": (PLAIN, replace(PLAIN, logprobs=True)),
    "top_logprobs": (
        replace(PLAIN, logprobs=True),
        replace(PLAIN, logprobs=True, top_logprobs=3),
    ),
    "n": (PLAIN, replace(PLAIN, n=2)),
    "user": (PLAIN, replace(PLAIN, user="u")),
    "metadata": (PLAIN, replace(PLAIN, metadata={"a": "b"})),
    "service_tier": (PLAIN, replace(PLAIN, service_tier="flex")),
    "verbosity": (PLAIN, replace(PLAIN, verbosity="low")),
    "modalities.audio": (PLAIN, replace(PLAIN, modalities=("text", "audio"))),
    "cache_key": (PLAIN, replace(PLAIN, cache_key="k")),
    "cache": (
        PLAIN,
        replace(PLAIN, messages=(Message("user", (Text("hi", CacheMark()),)),)),
    ),
    "name": (PLAIN, says(name="bob")),
    "image.data": (PLAIN, says(Image(data=PIXEL, media_type="image/png"))),
    "image.url": (PLAIN, says(Image(url="https://x.example/a.png"))),
    "image.file_id": (PLAIN, says(Image(file_id="file-1"))),
    "file.data": (
        PLAIN,
        says(File(data="JVBERi0=", media_type="application/pdf", name="a.pdf")),
    ),
    "file.url": (
        PLAIN,
        says(File(url="https://x.example/a.pdf", media_type="application/pdf")),
    ),
    "file.text": (
        PLAIN,
        says(File(text="words", media_type="text/plain", name="a.txt")),
    ),
    "file.file_id": (PLAIN, says(File(file_id="file-1"))),
    "audio": (PLAIN, says(Audio(data="UklGRg==", format="wav"))),
    "extra": (PLAIN, replace(PLAIN, extra={"odd": b"1"})),
}


def told(target: str, request: ChatRequest) -> tuple[object, ...] | ClientError:
    """Everything of the upstream request that a field could show in."""
    dialect, at = DIALECTS[target]
    try:
        built: UpstreamRequest = dialect.build_request(request, at)
    except ClientError as error:
        return error
    return built.body, built.path, built.headers


def test_the_table_has_a_proof_of_each_row_and_a_row_of_each_proof() -> None:
    assert [row.name for row in POLICIES] == list(PAIRS)
    assert list(TARGETS) == list(DIALECTS)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("row", POLICIES, ids=lambda row: row.name)
def test_a_field_fares_as_the_table_says(row: FieldPolicy, target: str) -> None:
    without, with_field = PAIRS[row.name]
    before, after = told(target, without), told(target, with_field)

    match row.verdict(target):
        case "refused":
            assert isinstance(after, ClientError), "the table says 400"
            assert after.status == 400
            assert (after.param or "").startswith(row.refused[target])
        case "dropped":
            assert after == before, "the table says that nothing of it is sent"
        case "mapped":
            assert not isinstance(after, ClientError), f"refused for {after}"
            assert after != before, "the table says that it is told"


def test_the_docs_are_the_table() -> None:
    """Run `make docs` when this fails."""
    page = Path(__file__).parents[2] / "docs" / "dialects-fields.md"
    assert page.read_text() == render()
