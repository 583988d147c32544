"""One normal form for what a provider said and what a client holds.

Both sides are `Reading`s of tests/recordings_reader.py, whose head states the form. A
dialect that has no word for something is described here, and nowhere else:

- Anthropic's and Google's answers have no refusal: it reads as text.
- Anthropic's and the Responses' answers hold one choice: the first.
- Google counts no tokens written to a cache. They are part of the prompt's anyway.
- Where a provider reports no usage, a dialect that requires the field says zero.
- A provider's own word for the end, and its ids, belong to its dialect.
"""

from __future__ import annotations

from typing import Any, Final

from tests.recorded.places import Pair
from tests.recordings_cases import Choice, Reading, Tokens
from tests.recordings_reader import read

HAS_REFUSALS: Final = frozenset({"chat", "responses"})
HAS_CHOICES: Final = frozenset({"chat", "completions", "gemini"})
HAS_CACHE_WRITES: Final = frozenset({"chat", "completions", "responses", "messages"})


def expected(pair: Pair) -> dict[str, Any]:
    """What the recording says, as far as the client's dialect can say it."""
    return comparable(read(pair.case), pair.client)


def comparable(reading: Reading, client: str) -> dict[str, Any]:
    """A reading as a plain value: equal when two sides say the same."""
    if client == "embeddings":
        return {"vectors": reading.vectors, "usage": reading.usage or Tokens()}
    choices = dict(reading.choices) or {0: Choice()}
    if client not in HAS_CHOICES:
        choices = {0: choices[min(choices)]}
    usage = reading.usage or Tokens()
    return {
        "choices": {at: _choice(choices[at], client) for at in sorted(choices)},
        "usage": {
            "prompt": usage.prompt,
            "cached": usage.cached,
            "cache_write": usage.cache_write if client in HAS_CACHE_WRITES else 0,
            "completion": usage.completion,
            "reasoning": usage.reasoning,
        },
    }


def _choice(choice: Choice, client: str) -> dict[str, Any]:
    refused = choice.refusal
    return {
        "text": choice.text + ("" if client in HAS_REFUSALS else refused),
        "reasoning": choice.reasoning,
        "refusal": refused if client in HAS_REFUSALS else "",
        "calls": [(call.name, call.arguments) for call in choice.tool_calls],
        "finish": choice.finish,
    }
