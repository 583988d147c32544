"""Usage in OpenAI's chat shape, both directions; one normal form (`events.Usage`).

Providers that "speak OpenAI" disagree on what the numbers mean; each correction here
says whose it is. Pure.
"""

from collections.abc import Mapping
from typing import Any

from wire.events import Usage
from wire.jsontext import count, mapping

MICROUSD_PER_USD = 1_000_000
TICKS_PER_MICROUSD = 10_000  # xAI's cost_in_usd_ticks: 10^10 to the dollar.


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
