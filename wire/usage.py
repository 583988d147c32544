"""Usage in OpenAI's chat shape, both directions; one normal form (`events.Usage`).

Providers that "speak OpenAI" disagree on what the numbers mean; each correction here
says whose it is. Pure.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from wire.events import Usage
from wire.jsontext import JSON_ERRORS, NULL, count, decode_object, mapping

MICROUSD_PER_USD = 1_000_000
_Count = Annotated[int, Meta(ge=0, lt=2**53)]
TICKS_PER_MICROUSD = 10_000  # xAI's cost_in_usd_ticks: 10^10 to the dollar.


class _Details(Struct, forbid_unknown_fields=True, gc=False):
    """OpenAI's own, of a prompt or of an answer."""

    cached_tokens: _Count = 0
    audio_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    accepted_prediction_tokens: _Count = 0
    rejected_prediction_tokens: _Count = 0


class _Plain(Struct, forbid_unknown_fields=True, gc=False):
    """Usage as OpenAI itself writes it; whoever has another field is no such server."""

    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    total_tokens: _Count = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


_plain: Final = msgspec.json.Decoder(_Plain)
_NONE: Final = _Details()


def read_openai(raw: Raw) -> Usage | None:
    """Usage in an answer's bytes; None where there is none. Never raises.

    Most servers write just what OpenAI does: those fields are read without making a
    mapping of them. All else goes the long way.
    """
    if raw == NULL:
        return None
    try:
        plain = _plain.decode(raw)
    except JSON_ERRORS:
        return _read_any(raw)
    prompt, completion = plain.prompt_tokens, plain.completion_tokens
    if not plain.total_tokens or plain.total_tokens != prompt + completion:
        return _read_any(raw)  # Somebody counts otherwise, or not at all.
    of_prompt = plain.prompt_tokens_details or _NONE
    of_answer = plain.completion_tokens_details or _NONE
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=min(of_prompt.cached_tokens, prompt),
        reasoning=min(of_answer.reasoning_tokens, completion),
        audio_in=of_prompt.audio_tokens,
        audio_out=of_answer.audio_tokens,
        total_reported=plain.total_tokens,
    )


def _read_any(raw: Raw) -> Usage | None:
    counts = decode_object(raw)
    return from_openai(counts) if counts else None


def from_openai(raw: Mapping[str, Any]) -> Usage:
    """Read chat, completion and embedding usage of any OpenAI-compatible server."""
    prompt_details = mapping(raw.get("prompt_tokens_details"))
    completion_details = mapping(raw.get("completion_tokens_details"))
    prompt = count(raw.get("prompt_tokens"))
    completion = count(raw.get("completion_tokens"))
    reasoning = count(completion_details.get("reasoning_tokens")) or count(
        raw.get("reasoning_tokens")  # Perplexity's deep research.
    )
    total = count(raw.get("total_tokens"))
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning  # xAI and Azure's Grok leave reasoning out.
    elif not completion and total > prompt:
        completion = total - prompt
    cached = (
        count(prompt_details.get("cached_tokens"))
        or count(raw.get("prompt_cache_hit_tokens"))  # DeepSeek
        or count(raw.get("num_cached_tokens"))  # Mistral
        or count(raw.get("cached_tokens"))  # Moonshot, some routes of Hugging Face
    )
    server_tools = mapping(raw.get("server_tool_use_details")) or mapping(
        raw.get("server_tool_use")
    )
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=min(cached, prompt),  # Azure's Grok reports more than the prompt.
        cache_write=min(count(prompt_details.get("cache_write_tokens")), prompt),
        reasoning=min(reasoning, completion),
        audio_in=count(prompt_details.get("audio_tokens")),
        audio_out=count(completion_details.get("audio_tokens")),
        searches=(
            count(server_tools.get("web_search_requests"))
            or count(raw.get("num_search_queries"))  # Perplexity
        ),
        cost_microusd=_cost_microusd(raw),
        total_reported=total or None,
    )


def _cost_microusd(raw: Mapping[str, Any]) -> int | None:
    cost = raw.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")  # Perplexity
    if isinstance(cost, (int, float)) and not isinstance(cost, bool) and cost >= 0:
        # OpenRouter. Rounded up: a charge is never booked as nothing.
        return int(-(-cost * MICROUSD_PER_USD // 1)) if cost < 1e9 else None
    ticks = raw.get("cost_in_usd_ticks")
    if isinstance(ticks, int) and not isinstance(ticks, bool) and ticks >= 0:
        return -(-ticks // TICKS_PER_MICROUSD)
    return None


def to_openai(usage: Usage) -> dict[str, Any]:
    """Write usage as chat and completion clients read it."""
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "audio_tokens": usage.audio_in,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_out,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if usage.cache_write:
        body["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write
    return body
