"""Whose tokenizer a model has, and how far a count with OpenAI's is from it. Pure.

Factors and errors were measured (docs/decisions/0007-tokens-in-pieces.md): on 795 texts
in eleven languages and code for the factors, on recorded requests with their reported
usage for what chat templates and tools add. `error` is a bound, not a mean: of
`tokens * (1 + error)` a hold must be able to live.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from actors.router.tokens.ranks import EncodingName


class Family(Struct, frozen=True):
    """Models that count alike.

    Args:
        factor: their tokens for each of ours, on text.
        error: how much more than that, at the worst.
        request: what every request adds; `message`, what each message adds.
        tools_base: what the first tool adds, before any of its schema.
        tools_factor: their tokens for each of ours, on the schema's compact JSON.
        tools_error: of the two before, how much more at the worst.
        hidden: what some servers add without being asked: only in the bound.
    """

    name: str
    encoding: EncodingName = "o200k_base"
    factor: float = 1.0
    error: float = 0.4
    request: int = 4
    message: int = 4
    tools_base: int = 0
    tools_factor: float = 1.0
    tools_error: float = 0.6
    hidden: int = 16

    @property
    def exact(self) -> bool:
        """Whether its tokens are counted, and not estimated by another's."""
        return self.error == 0.0


_ALL: Final = (
    Family("o200k", error=0.0, request=3, tools_factor=0.9, tools_error=0.25),
    # The same tokens, one less around them.
    Family("o200k-5", error=0.0, request=2, tools_factor=0.9, tools_error=0.25),
    Family("cl100k", "cl100k_base", error=0.0, request=3, tools_factor=0.9,
           tools_error=0.25),
    # OpenAI's open models: their system message is 63 tokens, dates included.
    Family("harmony", error=0.0, request=63, tools_base=0, tools_factor=1.1,
           hidden=48),
    Family("claude", factor=1.15, error=0.35, request=5, message=3, tools_base=500,
           tools_factor=1.4, tools_error=0.45),
    # Opus 4.7 and later: seen to need up to 1.46 times as many as those before.
    Family("claude-4.7", factor=1.4, error=0.35, request=5, message=3, tools_base=600,
           tools_factor=1.5, tools_error=0.45),
    Family("gemini", factor=1.06, request=1, message=1, tools_factor=1.0,
           tools_error=0.8),
    Family("llama3", request=30, message=5, tools_base=100, tools_error=1.0),
    Family("llama4", request=8, message=5, tools_base=640, tools_factor=1.1),
    Family("mistral", factor=1.06, request=3, message=3, tools_factor=1.35),
    Family("deepseek", factor=1.07, request=2, message=2, tools_base=220,
           tools_factor=1.1, hidden=120),
    Family("qwen", factor=1.03, request=4, message=5, tools_base=140,
           tools_factor=1.1, hidden=200),
    Family("glm", factor=1.01, request=5, message=4, tools_base=90),
    Family("kimi", factor=1.05, tools_base=60),
    Family("grok", factor=1.05, request=1, message=3, tools_base=120, hidden=200),
    Family("grok-4.3", factor=1.05, request=190, message=4, tools_base=40, hidden=200),
    Family("gemma", factor=1.06, request=2, message=4, tools_base=60),
    Family("command", factor=1.1, error=0.5, tools_base=200, hidden=200),
    Family("nova", factor=1.1, error=0.5, tools_base=200, hidden=200),
    Family("embedding", error=0.5, request=0, message=0),
    # Nothing is known: high, and with room above.
    Family("unknown", factor=1.15, error=0.6, tools_base=200, tools_error=1.0,
           hidden=200),
)  # fmt: skip

FAMILIES: Final = {family.name: family for family in _ALL}
UNKNOWN: Final = FAMILIES["unknown"]

# The first that fits, in a name in lower case without its provider.
_NAMES: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"gpt-oss", "harmony"),
        (r"text-embedding-(3|ada)", "cl100k"),
        (r"gpt-4o|chatgpt-4o|gpt-4\.[1-9]|gpt-4-[1-9](?!\d)", "o200k"),
        (r"gpt-(?:[5-9]|[12]\d)(?!\d)|\bo[1-9]\b|codex|computer-use", "o200k-5"),
        (r"gpt-4|gpt-3\.?5|gpt-35|davinci-002|babbage-002", "cl100k"),
        (r"claude-[a-z]+-4[-.](?:[7-9]|\d\d)(?!\d)", "claude-4.7"),
        (r"claude-(?:[a-z]+-)?(?:[5-9]|\d\d)(?!\d)", "claude-4.7"),
        (r"claude", "claude"),
        (r"gemini|learnlm", "gemini"),
        (r"gemma", "gemma"),
        (r"deepseek-r1-distill-llama", "llama3"),
        (r"deepseek-r1-distill-qwen|deepseek-r1-0528-qwen", "qwen"),
        (r"deepseek", "deepseek"),
        (r"llama-?4|llama-guard-4", "llama4"),
        (r"llama|hermes|nemotron", "llama3"),
        (r"mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral",
         "mistral"),
        (r"qwen|qwq|qvq", "qwen"),
        (r"glm|chatglm", "glm"),
        (r"kimi|moonshot", "kimi"),
        (r"grok-4[.-](?:[3-9])|grok-[5-9]", "grok-4.3"),
        (r"grok", "grok"),
        (r"command|aya|cohere", "command"),
        (r"nova", "nova"),
        (r"embed|\be5\b|bge|gte", "embedding"),
    )
)  # fmt: skip


def family_of(model: str) -> Family:
    """The family that a model's name speaks of; `UNKNOWN` where it says nothing."""
    name = model.lower()
    for pattern, family in _NAMES:
        if pattern.search(name):
            return FAMILIES[family]
    return UNKNOWN
