"""Searches that a provider ran, as it bills them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wire.events import Usage
from wire.gemini_decode import ChunkEvents
from wire.gemini_relay import relay_response as relay_answer
from wire.openai_responses_decoder import read_response
from wire.openai_responses_relay import relay_response


def gemini(model: str, queries: list[str] | None) -> bytes:
    """The last chunk of an answer."""
    candidate: dict[str, Any] = {
        "content": {"parts": [{"text": "It rains."}], "role": "model"},
        "finishReason": "STOP",
        "index": 0,
    }
    if queries is not None:
        candidate["groundingMetadata"] = {"webSearchQueries": queries}
    return msgspec.json.encode(
        {
            "candidates": [candidate],
            "modelVersion": model,
            "usageMetadata": {
                "promptTokenCount": 7,
                "candidatesTokenCount": 3,
                "totalTokenCount": 10,
            },
        }
    )


@pytest.mark.parametrize(
    ("model", "queries", "searches"),
    [
        ("gemini-3-pro-preview", ["weather", "weather Berlin"], 2),
        ("gemini-2.5-flash", ["weather", "weather Berlin"], 1),
        ("gemini-3-pro-preview", ["weather", ""], 1),
        ("gemini-3-pro-preview", [], 0),
        ("gemini-3-pro-preview", None, 0),
    ],
)
def test_googles_grounding_counts_as_it_is_billed(
    model: str, queries: list[str] | None, searches: int
) -> None:
    """By the query since Gemini 3, by the grounded answer before."""
    chunk = gemini(model, queries)

    decoded = ChunkEvents()
    # A stream repeats what it was grounded in.
    events = [*decoded.push(chunk), *decoded.push(chunk)]
    reading = relay_answer(200, {}, chunk, None, "gemini")

    assert [e.searches for e in events if isinstance(e, Usage)][-1] == searches
    assert reading.usage is not None
    assert reading.usage.searches == searches


def response(output: list[dict[str, Any]]) -> bytes:
    """A whole response."""
    return msgspec.json.encode(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": "gpt-5",
            "status": "completed",
            "output": output,
            "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
        }
    )


def call(action: str | None, status: str = "completed") -> dict[str, Any]:
    """A web search of the provider's own."""
    item: dict[str, Any] = {"type": "web_search_call", "id": "ws_1", "status": status}
    if action is not None:
        item["action"] = {"type": action}
    return item


def test_each_search_of_a_response_counts_and_opening_its_pages_does_not() -> None:
    body = response(
        [
            call("search"),
            call("open_page"),
            call("find_in_page"),
            call("search", "failed"),
            call(None),
            {"type": "message", "role": "assistant", "content": []},
        ]
    )

    [usage] = [one for one in read_response(body, "openai") if isinstance(one, Usage)]
    relayed = relay_response(body, "openai").usage

    assert usage.searches == 2
    assert relayed is not None
    assert relayed.searches == 2
