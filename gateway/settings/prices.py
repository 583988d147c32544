"""What a deployment's models charge and can do, where the catalogue is to be corrected.

Owns: prices, their tiers, and facts. Never: does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType

from gateway.settings import values
from gateway.settings.definition import config, setting, table
from gateway.settings.server import Found
from gateway.settings.words import (
    TOKENIZER,
    TOKENS,
)


def _as(other: str, *, key: str, doc: str) -> int:
    """A price of a million tokens that is another one unless it is said."""
    return setting(
        values.MONEY,
        key=f"{key}_usd_per_mtok",
        factory=attrgetter(f"{other}_nanousd_per_mtok"),
        default_doc=f"as {other}_usd_per_mtok",
        unit="US dollars",
        doc=doc,
    )


@config
class TierConfig:
    """What a prompt is charged by: nano-dollars a million tokens, exact integers."""

    input_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="input_usd_per_mtok",
        unit="US dollars",
        doc="A million input tokens.",
    )
    output_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="output_usd_per_mtok",
        unit="US dollars",
        doc="A million output tokens, reasoning included.",
    )
    cached_input_nanousd_per_mtok: int = _as(
        "input",
        key="cached_input",
        doc="A million input tokens that the provider read from its cache.",
    )
    cache_write_nanousd_per_mtok: int = _as(
        "input",
        key="cache_write",
        doc="A million input tokens that the provider wrote to its cache.",
    )


@config
class PriceConfig(TierConfig):
    """What a model costs: the same, and what no tier changes."""

    cache_write_1h_nanousd_per_mtok: int = _as(
        "cache_write",
        key="cache_write_1h",
        doc="The same, for what is kept for an hour.",
    )
    audio_input_nanousd_per_mtok: int = _as(
        "input", key="audio_input", doc="A million input tokens of sound."
    )
    audio_output_nanousd_per_mtok: int = _as(
        "output", key="audio_output", doc="A million output tokens of sound."
    )
    reasoning_nanousd_per_mtok: int = _as(
        "output", key="reasoning", doc="A million tokens of reasoning."
    )
    search_nanousd: int = setting(
        values.MONEY,
        key="search_usd",
        default=0,
        unit="US dollars",
        doc="One search or other server tool that is billed by the call.",
    )
    above: Mapping[str, TierConfig] = table(
        TierConfig,
        keys="TOKENS",
        default=MappingProxyType({}),
        doc="What the whole request costs when its prompt has more than TOKENS tokens.",
    )

    def problems(self) -> Found:
        """Tiers are numbers of tokens."""
        for tokens in self.above:
            if not (tokens.isascii() and tokens.isdigit() and 0 < len(tokens) < 10):
                yield f"above.{tokens}", "is no number of tokens; write above.200000"


@config
class FactsConfig:
    """What a model can take, where the catalogue does not know or is wrong."""

    window_tokens: int | None = setting(
        TOKENS,
        default=None,
        default_doc="the catalogue's",
        unit="tokens",
        doc="The most tokens of prompt and answer together.",
    )
    output_tokens_max: int | None = setting(
        TOKENS,
        default=None,
        default_doc="the catalogue's",
        unit="tokens",
        doc="The most tokens of one answer.",
    )
    tokenizer: str = setting(
        TOKENIZER,
        default="",
        default_doc="by the model's name",
        doc="The family of models that counts tokens as this one does, of those in "
        "docs/catalogue.md.",
    )
