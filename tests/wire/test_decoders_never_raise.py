"""Bytes from outside never raise in a decoder, and its rules hold whatever they are."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support_replay import ASKED, drain
from wire.bedrock import Bedrock
from wire.bedrock_invoke import BedrockInvoke
from wire.cohere import Cohere
from wire.dialect import ProviderDialect, Target
from wire.events import Fault
from wire.eventstream import event
from wire.mistral import Mistral
from wire.ollama import Ollama

TARGET = Target("amazon.nova")
DIALECTS: tuple[ProviderDialect, ...] = (
    Bedrock(),
    BedrockInvoke(),
    Cohere(),
    Mistral(),
    Ollama(),
)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "x", "text", "stop", "COMPLETE", "tool_use", "server_tool_use"]
    )
)


def values(keys: list[str]) -> st.SearchStrategy[Any]:
    """JSON of any shape, its keys from a dialect's own words."""
    return st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(keys), inner, max_size=4)
        ),
        max_leaves=12,
    )


CONVERSE_KINDS = [
    "initial-response",
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
    "other",
]
CONVERSE_KEYS = [
    *("contentBlockIndex", "delta", "start", "text", "toolUse", "toolResult", "input"),
    *("toolUseId", "name", "type", "reasoningContent", "signature", "redactedContent"),
    *("citation", "location", "web", "sourceContent", "image", "source", "bytes"),
    *("stopReason", "usage", "inputTokens", "cacheDetails", "trace", "format"),
]
COHERE_KINDS = [
    *("message-start", "content-start", "content-delta", "content-end"),
    *("tool-plan-delta", "tool-call-start", "tool-call-delta", "tool-call-end"),
    *("citation-start", "citation-end", "message-end", "other"),
]
COHERE_KEYS = [
    *("index", "delta", "message", "content", "text", "thinking", "tool_plan", "id"),
    *("tool_calls", "function", "name", "arguments", "citations", "sources", "usage"),
    *(
        "document",
        "start",
        "end",
        "tokens",
        "input_tokens",
        "logprobs",
        "finish_reason",
    ),
]
OLLAMA_KEYS = [
    *(
        "model",
        "created_at",
        "message",
        "content",
        "thinking",
        "tool_calls",
        "response",
    ),
    *(
        "function",
        "name",
        "arguments",
        "done",
        "done_reason",
        "error",
        "logprobs",
        "id",
    ),
    *("prompt_eval_count", "eval_count"),
]
CHAT_KEYS = [
    *(
        "id",
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "index",
        "function",
    ),
    *(
        "name",
        "arguments",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "thinking",
        "type",
    ),
    *("error", "text"),
]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CONVERSE_KINDS), values(CONVERSE_KEYS)), max_size=8
    )
)
def test_converse(events: list[tuple[str, Any]]) -> None:
    frames = b"".join(event(kind, as_json(said)) for kind, said in events)

    drain(Bedrock().stream_decoder(ASKED, TARGET), [frames])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                [
                    *CONVERSE_KINDS,
                    *("type", "message", "index", "outputText", "text", "is_finished"),
                    *("finish_reason", "completionReason", "content_block"),
                    "amazon-bedrock-invocationMetrics",
                ]
            ),
            values(CONVERSE_KEYS),
            max_size=4,
        ),
        max_size=6,
    )
)
def test_invoke(chunks: list[Any]) -> None:
    frames = b"".join(
        event("chunk", as_json({"bytes": base64.b64encode(as_json(one)).decode()}))
        for one in chunks
    )

    drain(BedrockInvoke().stream_decoder(ASKED, TARGET), [frames])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(COHERE_KINDS),
            st.dictionaries(
                st.sampled_from(COHERE_KEYS), values(COHERE_KEYS), max_size=4
            ),
        ),
        max_size=8,
    )
)
def test_cohere(events: list[tuple[str, Any]]) -> None:
    body = b"".join(
        b"data: " + as_json({"type": kind, **said}) + b"\n\n" for kind, said in events
    )

    drain(Cohere().stream_decoder(ASKED, TARGET), [body])


@settings(max_examples=200, deadline=None)
@given(st.lists(values(OLLAMA_KEYS), max_size=6))
def test_ollama(lines: list[Any]) -> None:
    drain(
        Ollama().stream_decoder(ASKED, TARGET),
        [as_json(line) + b"\n" for line in lines],
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(values(CHAT_KEYS), max_size=6))
def test_mistral(chunks: list[Any]) -> None:
    body = b"".join(b"data: " + as_json(chunk) + b"\n\n" for chunk in chunks)

    decoder = Mistral().stream_decoder(ASKED, TARGET)
    events = [*decoder.feed(body), *decoder.finish()]

    assert sum(isinstance(made, Fault) for made in events) <= 1


KEYS = sorted(
    {
        *CONVERSE_KEYS,
        *COHERE_KEYS,
        *OLLAMA_KEYS,
        *CHAT_KEYS,
        *("output", "results", "outputText", "reasoningText", "citationsContent"),
    }
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
@settings(max_examples=200, deadline=None)
@given(answer=values(KEYS))
def test_unary_answers(dialect: ProviderDialect, answer: Any) -> None:
    events = dialect.parse_response(200, {}, as_json(answer), TARGET)

    assert events
    assert sum(isinstance(made, Fault) for made in events) <= 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: str(dialect.name))
@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40), max_size=6))
def test_garbage(dialect: ProviderDialect, pieces: list[bytes]) -> None:
    events = drain(dialect.stream_decoder(ASKED, TARGET), pieces)

    # "data: [DONE]" alone is an end, of nothing.
    assert isinstance(events[-1], Fault) if events else b"".join(pieces)
