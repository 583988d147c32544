"""The independent reader itself: it understands every recording."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest

from tests.recordings_cases import ROOT, Case, sse
from tests.recordings_reader import read
from tests.support_recordings import cases, cut, cut_cruelly, names

CASES = cases()
EMPTY_ANSWERS = {
    # The model said nothing at all: filters, refusals, and a model that had no wish to.
    "anthropic/fixture-stream-refusal",
    "anthropic/messages--calls-control-respects-choice-none",
    "azure-openai/chat-filtered--content-filtering",
    "gemini/generatecontent-filtered--safety-settings",
    "gemini/generatecontent-length--max-tokens-thinking-empty-response",
    "openai-responses/fixture-stream-error-then-failed",
    "vertex/generatecontent--armor-response-template-block",
    "vertex/generatecontent--prompt-template-text-gets-blocked",
}
MODEL_FAMILIES = {
    *("anthropic", "gemini", "chat", "completions", "responses"),
    *("converse", "invoke", "cohere", "ollama"),
}


def test_all_recordings_came_along() -> None:
    """A clone without them must fail loudly instead of testing nothing."""
    by_kind = Counter(case.response_file for case in CASES)

    assert len(CASES) == 375
    assert sum(case.status >= 400 for case in CASES) == 50
    assert by_kind["response.bin"] == 20


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_body_is_the_one_that_was_recorded(case: Case) -> None:
    """A checkout that converts line ends would make every cut test a lie."""
    meta = json.loads((ROOT / case.name / "meta.json").read_text())

    assert hashlib.sha256(case.body).hexdigest() == meta["response_sha256"]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_reader_understands(case: Case) -> None:
    """Every answer has an end and content, every error a message."""
    reading = read(case)

    if case.status >= 400:
        assert reading.error is not None
        assert reading.error.status == case.status
        assert reading.error.message
    elif (
        case.family in MODEL_FAMILIES
        and case.name != "ollama-native/embeddings--embeddings"
    ):
        said = (
            reading.text or reading.reasoning or reading.refusal or reading.tool_calls
        )
        assert bool(said) == (case.name not in EMPTY_ANSWERS)
        assert reading.finish or reading.error
        assert bool(reading.tool_calls) == (reading.finish == "tool_calls")
        for call in reading.tool_calls:
            assert call.name
            assert isinstance(call.arguments, dict)
    elif case.family == "embeddings":
        assert reading.vectors > 0
    elif case.family == "count":
        assert reading.input_tokens


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_usage_adds_up(case: Case) -> None:
    """Parts never exceed the whole they are parts of."""
    usage = read(case).usage
    if usage is None:
        return

    assert 0 <= usage.cached <= usage.prompt
    assert 0 <= usage.cache_write <= usage.prompt
    assert 0 <= usage.reasoning <= usage.completion


def test_the_cruel_cut_splits_characters_and_line_ends() -> None:
    """The pieces join to the body, and no CRLF or multi-byte character stays whole."""
    body = "data: 👋 é\r\n\r\n".encode()
    pieces = cut_cruelly(body)

    assert b"".join(pieces) == body
    assert not any(b"\r\n" in piece for piece in pieces)
    assert "👋".encode() not in b"|".join(pieces)


def test_cuts_with_the_same_seed_are_the_same() -> None:
    """A failing cut can be had again."""
    body = bytes(range(256))

    assert cut(body, 7) == cut(body, 7)
    assert b"".join(cut(body, 7)) == body
    assert cut(body, 7) != cut(body, 8)


def test_the_sse_reader_follows_the_standard() -> None:
    """Comments and unknown fields yield nothing, an unfinished event is dropped."""
    events, stray = sse(b": hi\r\ndata: a\r\ndata:b\r\n\r\nevent: x\r\rdata: lost")

    assert events == [("", "a\nb")]
    assert stray == []
    assert sse(b'{"error": 1}\n\n')[1] == ['{"error": 1}']
