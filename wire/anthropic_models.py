"""What Claude models take, by the version in their name. Pure data and arithmetic.

Only for requests that come from other dialects: an Anthropic client knows its model and
its words go through as they are. A name without a version is taken for a new model.
"""

import re
from typing import Final, Literal

Version = tuple[int, int]
ThinkingStyle = Literal["none", "budget", "adaptive"]

NEWEST: Final[Version] = (99, 0)

_FAMILY_FIRST = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_VERSION_FIRST = re.compile(r"claude-(\d)(?:[-.](\d))?-[a-z]+")

BUDGET_TOKENS_MIN: Final = 1024
"""Anthropic refuses less."""

BUDGET_SHARE_MAX: Final = 0.8
"""Of max_tokens: the answer itself needs room, and the budget must stay below."""

BUDGETS: Final[dict[str, int]] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16_384,
    "xhigh": 32_000,
    "max": 32_000,
}
"""Thinking tokens for an effort, on models that think by budget. Above 32 k Anthropic
itself advises batches."""

EFFORTS: Final[dict[str, str]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
"""OpenAI's words for effort into Anthropic's, which has no "minimal"."""


def version(model: str) -> Version:
    """Read the version: claude-sonnet-4-5-20250929 is (4, 5), claude-3-opus (3, 0)."""
    found = _FAMILY_FIRST.search(model) or _VERSION_FIRST.search(model)
    if found is None:
        return NEWEST
    return int(found.group(1)), int(found.group(2) or 0)


def thinking_style(model: str) -> ThinkingStyle:
    """Whether it thinks, and whether we set a budget or only an effort."""
    at = version(model)
    if at < (3, 7):
        return "none"
    return "budget" if at < (4, 6) else "adaptive"


def takes_sampling(model: str) -> bool:
    """From 4.7 on temperature, top_p and top_k are refused, whatever the version."""
    return version(model) < (4, 7)


def takes_both_samplings(model: str) -> bool:
    """From 4.1 on temperature and top_p together are refused."""
    return version(model) < (4, 1)


def takes_schema(model: str) -> bool:
    """Structured output came with 4.5."""
    return version(model) >= (4, 5)


def output_tokens_default(model: str) -> int:
    """`max_tokens` is required; where the client set none, this much is allowed."""
    at = version(model)
    if at < (3, 5):
        return 4096
    return 8192 if at < (3, 7) else 32_000


def budget_tokens(effort: str | None, wanted: int | None, max_tokens: int) -> int:
    """Thinking budget within max_tokens; 0 where there is no room for the least."""
    tokens = wanted if wanted is not None else BUDGETS.get(effort or "", 8192)
    tokens = min(max(tokens, BUDGET_TOKENS_MIN), int(max_tokens * BUDGET_SHARE_MAX))
    return tokens if tokens >= BUDGET_TOKENS_MIN else 0
