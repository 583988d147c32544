"""Counting tokens across dialects, held to the recorded counts."""

from __future__ import annotations

import msgspec
import pytest

from tests.recordings_cases import Case
from tests.recordings_reader import read
from tests.support_recordings import cases, names
from wire.anthropic import MESSAGES
from wire.cohere import Cohere
from wire.count_exchange import can_count, open_count
from wire.dialect import ClientError, ProviderDialect, Target
from wire.gemini import PROVIDER, GeminiClient, Route

COUNTS = cases("anthropic", "gemini", "vertex", family="count")
PROVIDERS: dict[str, ProviderDialect] = {
    "anthropic": MESSAGES,
    "gemini": PROVIDER,
    "vertex": PROVIDER,
}
QUESTIONS = {
    "anthropic": (
        MESSAGES,
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        "input_tokens",
    ),
    "gemini": (
        GeminiClient(Route("m", "countTokens")),
        {"contents": [{"parts": [{"text": "hi"}]}]},
        "totalTokens",
    ),
}


@pytest.mark.parametrize("client", QUESTIONS)
@pytest.mark.parametrize("case", COUNTS, ids=names(COUNTS))
def test_any_client_may_ask_any_provider_that_counts(case: Case, client: str) -> None:
    """The question goes in one dialect and the answer comes back in the other."""
    asker, question, field = QUESTIONS[client]
    exchange = open_count(
        asker,
        PROVIDERS[case.provider],
        body=msgspec.json.encode(question),
        headers={},
        target=Target("m", flavour=case.provider),
    )
    reading = exchange.unary(case.status, {}, case.body)
    recorded = read(case)

    assert b"hi" in exchange.upstream.body
    assert "count" in exchange.upstream.path
    if recorded.error is not None:
        assert reading.fault is not None
        assert reading.fault.kind == recorded.error.kind
        return
    assert msgspec.json.decode(reading.out) == {field: recorded.input_tokens}


def test_a_provider_that_cannot_count_says_so() -> None:
    """A guess would be taken for a count."""
    asker, question, _ = QUESTIONS["anthropic"]
    with pytest.raises(ClientError) as caught:
        open_count(
            asker,
            Cohere(),
            body=msgspec.json.encode(question),
            headers={},
            target=Target("m"),
        )

    assert caught.value.status == 404
    assert can_count(MESSAGES)
    assert can_count(PROVIDER)
    assert not can_count(Cohere())
