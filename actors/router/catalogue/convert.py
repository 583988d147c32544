"""From the public list of models and prices that litellm keeps, to a catalogue. Pure.

The list is data of the MIT-licensed project BerriAI/litellm. Its prices are decimal
dollars a token; here they become integers without passing through a float. What is
free there is unpriced here: a list that forgot a price says 0 as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, cast

from msgspec.structs import replace

from actors.ledger.messages import NANOUSD_PER_USD, Price, PriceTier
from actors.ledger.pricing import TOKENS_PER_MTOK
from actors.router.catalogue.rules import RULES, rule_of
from actors.router.catalogue.schema import SCHEMA, Catalogue, Entry, Mode
from actors.router.tokens.families import family_of

# Their providers: our kind, and the prefixes that their names have in front.
PROVIDERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "openai": ("openai", ("openai/",)),
    "text-completion-openai": ("openai", ()),
    "azure": ("azure", ("azure/",)),
    "azure_text": ("azure", ("azure/",)),
    "azure_ai": ("azure", ("azure_ai/",)),
    "anthropic": ("anthropic", ("anthropic/",)),
    "gemini": ("gemini", ("gemini/",)),
    "bedrock": ("bedrock", ()),
    "bedrock_converse": ("bedrock", ()),
    "bedrock_mantle": ("bedrock-mantle", ("bedrock_mantle/",)),
    "cohere": ("cohere", ("cohere/",)),
    "cohere_chat": ("cohere", ("cohere/", "cohere_chat/")),
    "mistral": ("mistral", ("mistral/",)),
    "codestral": ("mistral", ("codestral/",)),
    "groq": ("groq", ("groq/",)),
    "deepseek": ("deepseek", ("deepseek/",)),
    "openrouter": ("openrouter", ("openrouter/",)),
    "xai": ("xai", ("xai/",)),
    "together_ai": ("together", ("together_ai/",)),
    "fireworks_ai": ("fireworks", ("fireworks_ai/",)),
    "fireworks_ai-embedding-models": ("fireworks", ("fireworks_ai/",)),
    "cerebras": ("cerebras", ("cerebras/",)),
    "perplexity": ("perplexity", ("perplexity/",)),
    "moonshot": ("moonshot", ("moonshot/",)),
    "zai": ("zai", ("zai/",)),
}
VERTEX: Final = "vertex_ai"  # And vertex_ai-anthropic_models and the like.

MODES: Final[Mapping[str, Mode]] = {
    "chat": "chat",
    "responses": "chat",
    "completion": "completion",
    "embedding": "embedding",
}

CAPABILITIES: Final = (
    ("tools", ("supports_function_calling",)),
    ("images", ("supports_vision", "supports_image_input")),
    ("files", ("supports_pdf_input",)),
    ("audio", ("supports_audio_input",)),
    (
        "json_schema",
        ("supports_response_schema", "supports_native_structured_output"),
    ),
    ("reasoning", ("supports_reasoning",)),
    ("prompt_caching", ("supports_prompt_caching",)),
    ("web_search", ("supports_web_search",)),
    ("parallel_tools", ("supports_parallel_function_calling",)),
    ("computer_use", ("supports_computer_use",)),
)

USD_PER_TOKEN_MAX: Final = 1  # The dearest in the list is a thousandth of a dollar.
TOKENS_MAX: Final = 10**9

# Of OpenAI: 272,000 + 128,000 and 922,000 + 128,000 stand apart in the list.
SHARED_WINDOWS: Final = frozenset({400_000, 1_050_000})

_TIER: Final = re.compile(
    r"(?:input|output)_cost_per_token_above_(\d+)k_tokens|"
    r"cache_read_input_token_cost_above_(\d+)k_tokens"
)
_DATE: Final = re.compile(r"20\d\d-\d\d-\d\d")
_SERVICES: Final = (
    ("batch", "_batches"), ("flex", "_flex"), ("priority", "_priority"),
)  # fmt: skip


class BadSource(Exception):
    """The list cannot be read as what it should be."""


def from_litellm(
    data: bytes, *, source: str, sha256: str, released_on: str
) -> Catalogue:
    """Convert the whole list. Raises BadSource where it is none."""
    try:
        raw = json.loads(data, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise BadSource("is no JSON") from None
    if not isinstance(raw, dict) or "sample_spec" not in raw:
        raise BadSource("is no list of models with prices")
    kinds: dict[str, dict[str, Entry]] = {}
    for key, found in sorted(cast("dict[str, Any]", raw).items()):
        if key == "sample_spec" or not isinstance(found, dict):
            continue
        row = cast("dict[str, Any]", found)
        placed = _place(key, str(row.get("litellm_provider", "")))
        mode = MODES.get(str(row.get("mode")))
        if placed is None or mode is None:
            continue
        kind, name = placed
        kinds.setdefault(kind, {}).setdefault(name, entry_of(name, mode, row))
    return Catalogue(SCHEMA, source, sha256, released_on, kinds, dict(RULES))


def _place(key: str, provider: str) -> tuple[str, str] | None:
    """Our kind and the model's own name there."""
    if provider == VERTEX or provider.startswith(f"{VERTEX}-"):
        return "vertex", key.removeprefix(f"{VERTEX}/").lower()
    if provider not in PROVIDERS:
        return None
    kind, prefixes = PROVIDERS[provider]
    if kind == "bedrock" and "/" in key:
        return None  # One region's price, or a commitment's.
    for prefix in prefixes:
        if key.startswith(prefix):
            return kind, key.removeprefix(prefix).lower()
    return kind, key.lower()


def entry_of(name: str, mode: Mode, row: Mapping[str, Any]) -> Entry:
    """One row of the list."""
    capabilities = tuple(
        word for word, flags in CAPABILITIES if any(row.get(f) is True for f in flags)
    )
    takes_images = "images" in capabilities
    date = str(row.get("deprecation_date", ""))
    return Entry(
        mode=mode,
        window_tokens=_window(name, row),
        output_tokens_max=(
            None
            if mode == "embedding"
            else _count(row.get("max_output_tokens") or row.get("max_tokens"))
        ),
        price=price_of(row, mode),
        capabilities=capabilities,
        deprecated_on=date if _DATE.fullmatch(date) else "",
        tokenizer=family_of(name).name,
        images=rule_of(name) if takes_images else "",
        cache_tokens_min=_count(row.get("prompt_cache_min_tokens")),
    )


def _window(name: str, row: Mapping[str, Any]) -> int | None:
    """Prompt and answer together. The list has the prompt's own limit for some."""
    took = _count(row.get("max_input_tokens") or row.get("max_tokens"))
    gave = _count(row.get("max_output_tokens"))
    if took is None or gave is None:
        return took
    family = family_of(name).name
    apart = family.startswith("o200k") and took + gave in SHARED_WINDOWS
    return took + gave if apart or family == "gemini" else took


def price_of(row: Mapping[str, Any], mode: Mode = "chat") -> Price | None:
    """The prices of one row; None where it has none, or says that all is free."""
    base = _price(row, "", mode)
    if base is None:
        return None
    services = {name: _with_tiers(row, suffix, mode) for name, suffix in _SERVICES}
    tiers = tuple(_tiers(row, "", mode))
    fields = {name: price for name, price in services.items() if price is not None}
    return replace(base, tiers=tiers, **fields)


def _with_tiers(row: Mapping[str, Any], service: str, mode: Mode) -> Price | None:
    price = _price(row, service, mode)
    if price is None:
        return None
    return replace(price, tiers=tuple(_tiers(row, service, mode)))


def _tiers(row: Mapping[str, Any], service: str, mode: Mode) -> Iterator[PriceTier]:
    """The tiers of a service, in rising order."""
    thousands = {
        int(found[1] or found[2])
        for key in row
        if (found := _TIER.fullmatch(key.removesuffix(service) if service else key))
        and (not service or key.endswith(service))
    }
    for above in sorted(thousands):
        price = _price(row, f"_above_{above}k_tokens{service}", mode)
        if price is not None:
            yield PriceTier(above * 1000, price)


def _price(row: Mapping[str, Any], suffix: str, mode: Mode) -> Price | None:
    """The prices with this suffix; what a tier does not name is as without it."""
    plain = _price(row, "", mode) if suffix else None
    took = _money(row.get(f"input_cost_per_token{suffix}"))
    gave = _money(row.get(f"output_cost_per_token{suffix}"))
    if plain is not None:
        if took is None and gave is None:
            return None
        took = plain.input_nanousd_per_mtok if took is None else took
        gave = plain.output_nanousd_per_mtok if gave is None else gave
    if took is None or (gave is None and mode != "embedding"):
        return None
    if not took and not gave:
        return None
    hour = "cache_creation_input_token_cost_above_1hr" + suffix
    return Price(
        input_nanousd_per_mtok=took,
        output_nanousd_per_mtok=gave or 0,
        cached_input_nanousd_per_mtok=_scaled(
            row, f"cache_read_input_token_cost{suffix}", plain,
            "cached_input_nanousd_per_mtok", took,
        ),
        cache_write_nanousd_per_mtok=_scaled(
            row, f"cache_creation_input_token_cost{suffix}", plain,
            "cache_write_nanousd_per_mtok", took,
        ),
        cache_write_1h_nanousd_per_mtok=_scaled(
            row, hour, plain, "cache_write_1h_nanousd_per_mtok", took,
        ),
        audio_input_nanousd_per_mtok=_money(row.get(f"input_cost_per_audio_token{suffix}"))
        or (plain.audio_input_nanousd_per_mtok if plain else None),
        audio_output_nanousd_per_mtok=_money(
            row.get(f"output_cost_per_audio_token{suffix}")
        )
        or (plain.audio_output_nanousd_per_mtok if plain else None),
        reasoning_nanousd_per_mtok=_reasoning(row, suffix, gave or 0),
        search_nanousd=_search(row),
    )  # fmt: skip


def _scaled(
    row: Mapping[str, Any], key: str, plain: Price | None, field: str, took: int
) -> int | None:
    """A cache price; a service or tier without its own keeps the ratio to input.

    Zero is what the list says where nobody filled it in: then as plain input.
    """
    own = _money(row.get(key))
    if own:
        return own
    usual: int | None = getattr(plain, field) if plain is not None else None
    if plain is None or usual is None or not plain.input_nanousd_per_mtok:
        return None
    return -(-usual * took // plain.input_nanousd_per_mtok)


def _reasoning(row: Mapping[str, Any], suffix: str, gave: int) -> int | None:
    own = _money(row.get(f"output_cost_per_reasoning_token{suffix}"))
    return own if own and own != gave else None


def _search(row: Mapping[str, Any]) -> int:
    sizes = row.get("search_context_cost_per_query")
    if not isinstance(sizes, dict):
        return 0
    costs = [
        cast("dict[str, Any]", sizes).get(f"search_context_size_{size}")
        for size in ("medium", "low", "high")
    ]
    # What one search costs is priced like one token: dollars each.
    each = next((cost for cost in map(_money, costs) if cost), 0)
    return each // TOKENS_PER_MTOK


def _money(value: object) -> int | None:
    """Dollars a token into nano-dollars a million tokens, rounded up."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    amount = Decimal(value)
    if not 0 <= amount <= USD_PER_TOKEN_MAX:
        return None
    nanousd = amount * NANOUSD_PER_USD * TOKENS_PER_MTOK
    # Fifteen digits: beyond them stands what is left of somebody's float.
    nanousd = nanousd.quantize(Decimal("0.001"))
    return int(nanousd.to_integral_value(ROUND_CEILING))


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return int(value) if 0 < value <= TOKENS_MAX else None
