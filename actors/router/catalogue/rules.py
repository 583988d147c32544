"""How families of models count pictures, as their makers publish it. Pure data.

Part of every catalogue that is built; `tools/catalogue` and `catalogue update` write
it there, so that a new rule needs no new version of the gateway.
"""

from __future__ import annotations

import re
from typing import Final

from actors.router.tokens.images import ImageRule


def _tiles(base: int, per_unit: int) -> ImageRule:
    return ImageRule(
        "tiles", base=base, per_unit=per_unit, side_px=512, fit_px=2048, short_px=768,
        low=base,
    )  # fmt: skip


def _patches(per_mille: int, units_max: int = 1536) -> ImageRule:
    return ImageRule("patches", side_px=32, units_max=units_max, per_mille=per_mille)


RULES: Final = {
    "openai-4o": _tiles(85, 170),
    "openai-4o-mini": _tiles(2833, 5667),
    "openai-o": _tiles(75, 150),
    "openai-5": _tiles(70, 140),
    "openai-cua": _tiles(65, 129),
    "openai-patches-mini": _patches(1620),
    "openai-patches-nano": _patches(2460),
    "openai-patches-o4": _patches(1720),
    "openai-patches": _patches(1200, 2500),
    "claude": ImageRule("area", side_px=750, units_max=1600),
    "claude-4.7": ImageRule("area", side_px=750, units_max=4800),
    "gemini": ImageRule("tiles", per_unit=258, side_px=768, fit_px=3072),
    "gemini-3": ImageRule("flat", base=1120),
    "mistral": ImageRule("patches", side_px=16, units_max=4096),
    "grok": ImageRule("tiles", base=256, per_unit=256, side_px=448, units_max=6),
    "qwen": ImageRule("patches", side_px=28, units_max=1280),
}

_NAMES: Final = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"gpt-4o-mini", "openai-4o-mini"),
        (r"gpt-4\.1-mini|gpt-5-mini", "openai-patches-mini"),
        (r"gpt-4\.1-nano|gpt-5-nano", "openai-patches-nano"),
        (r"o4-mini", "openai-patches-o4"),
        (r"\bo[1-9]\b", "openai-o"),
        (r"computer-use-preview", "openai-cua"),
        (r"gpt-5(?:\.[1-3])?(?![.\d])", "openai-5"),
        (r"gpt-(?:[5-9]|[12]\d)(?!\d)", "openai-patches"),
        (r"gpt-4", "openai-4o"),
        (r"claude-[a-z]+-4[-.](?:[7-9]|\d\d)(?!\d)", "claude-4.7"),
        (r"claude-(?:[a-z]+-)?(?:[5-9]|\d\d)(?!\d)", "claude-4.7"),
        (r"claude", "claude"),
        (r"gemini-(?:[3-9]|\d\d)", "gemini-3"),
        (r"gemini|gemma", "gemini"),
        (r"pixtral|mistral|magistral|ministral", "mistral"),
        (r"grok", "grok"),
        (r"qwen", "qwen"),
    )
)  # fmt: skip


def rule_of(model: str) -> str:
    """The name of the rule for a model that takes pictures; "" where none is known."""
    name = model.lower()
    for pattern, rule in _NAMES:
        if pattern.search(name):
            return rule
    return ""
