"""What is known of each configured deployment: price, window, tokenizer.

The operator's word first, then the catalogue's. Where neither says anything a model is
unpriced, which every log line, metric and refusal shows; it is never free.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args
from urllib.parse import urlsplit

from msgspec.structs import replace

from actors.ledger.messages import Price, PriceTier
from actors.router.catalogue.lookup import Lookup
from actors.router.messages import Deployment, DeploymentFacts
from actors.router.tokens.counter import Counter, encodings_for, load
from actors.router.tokens.families import FAMILIES
from actors.router.tokens.tally import Yardstick
from gateway.settings.config import Config
from gateway.settings.prices import PriceConfig
from gateway.settings.providers import ProviderConfig
from wire.dialect import Need

OPENAI_HOST: Final = "api.openai.com"
NO_CATALOGUE: Final = Lookup(())

# What the catalogue is asked for before a request is refused. Documents, schemas and
# reasoning are not among it: dialects translate them for models that lack them, and a
# list that forgot one must not stop what the provider would have served.
GATED: Final[frozenset[Need]] = frozenset({"tools", "images", "audio"})
NEEDS: Final[frozenset[Need]] = frozenset(get_args(Need))
# Whose capabilities the list keeps up to date.
SAME_MODELS: Final = {  # At the same prices, by another operation.
    "bedrock-invoke": "bedrock",
    "vertex-anthropic": "vertex",
}
WELL_KNOWN: Final = frozenset({"openai", "azure", "anthropic", "gemini", "vertex"})


def catalogue_kind(provider: ProviderConfig) -> str:
    """The kind under which the catalogue knows a provider's models.

    `openai` anywhere but at OpenAI is somebody else's server: its models may have
    OpenAI's names, but not its prices.
    """
    if provider.kind == "openai" and urlsplit(provider.base_url).hostname != (
        OPENAI_HOST
    ):
        return "openai-compatible"
    return SAME_MODELS.get(provider.kind, provider.kind)


def prices_of(
    provider: ProviderConfig, catalogue: Lookup = NO_CATALOGUE
) -> dict[str, Price]:
    """What its models cost; a model that is not in it is unpriced."""
    prices: dict[str, Price] = {}
    if provider.kind == "simulated":  # Free, but for whoever wants to see caps at work.
        prices = dict.fromkeys(provider.models, Price(0, 0))
    for model in provider.models:
        own = provider.prices.get(model)
        found = catalogue.find(catalogue_kind(provider), model)
        if own is not None:
            prices[model] = price_of(own)
        elif found is not None and found.entry.price is not None:
            prices[model] = found.entry.price
    return prices


def price_of(own: PriceConfig) -> Price:
    """An operator's price."""
    base = Price(
        input_nanousd_per_mtok=own.input_nanousd_per_mtok,
        output_nanousd_per_mtok=own.output_nanousd_per_mtok,
        cached_input_nanousd_per_mtok=own.cached_input_nanousd_per_mtok,
        cache_write_nanousd_per_mtok=own.cache_write_nanousd_per_mtok,
        cache_write_1h_nanousd_per_mtok=own.cache_write_1h_nanousd_per_mtok,
        audio_input_nanousd_per_mtok=own.audio_input_nanousd_per_mtok,
        audio_output_nanousd_per_mtok=own.audio_output_nanousd_per_mtok,
        reasoning_nanousd_per_mtok=own.reasoning_nanousd_per_mtok,
        search_nanousd=own.search_nanousd,
    )
    return replace(base, tiers=tuple(_tiers(base, own)))


def _tiers(base: Price, own: PriceConfig) -> Iterator[PriceTier]:
    for tokens, tier in sorted(own.above.items(), key=lambda item: int(item[0])):
        yield PriceTier(
            int(tokens),
            replace(
                base,
                input_nanousd_per_mtok=tier.input_nanousd_per_mtok,
                output_nanousd_per_mtok=tier.output_nanousd_per_mtok,
                cached_input_nanousd_per_mtok=tier.cached_input_nanousd_per_mtok,
                cache_write_nanousd_per_mtok=tier.cache_write_nanousd_per_mtok,
                cache_write_1h_nanousd_per_mtok=tier.cache_write_nanousd_per_mtok,
            ),
        )


def facts_of(
    config: Config, catalogue: Lookup = NO_CATALOGUE
) -> dict[Deployment, DeploymentFacts]:
    """What the router may rely on, by deployment."""
    facts: dict[Deployment, DeploymentFacts] = {}
    for provider in config.providers:
        prices = prices_of(provider, catalogue)
        kind = catalogue_kind(provider)
        for model in provider.models:
            own = provider.facts.get(model)
            found = catalogue.find(kind, model)
            window = output = None
            capabilities: frozenset[Need] | None = None
            if found is not None:
                window = found.entry.window_tokens
                output = found.entry.output_tokens_max
                known = found.entry.capabilities
                if known and found.entry.mode == "chat" and kind in WELL_KNOWN:
                    capabilities = frozenset(
                        need for need in NEEDS if need in known or need not in GATED
                    )
            if own is not None:
                window = own.window_tokens or window
                output = own.output_tokens_max or output
            facts[Deployment(provider.name, model)] = DeploymentFacts(
                window_tokens=window,
                output_tokens_max=output,
                price=prices.get(model),
                capabilities=capabilities,
                region=provider.data_region,
            )
    return facts


def open_counter(config: Config, catalogue: Lookup) -> Counter:
    """A counter for these deployments.

    A reload whose models are the first to need another encoding estimates them with
    the one at hand, at a wider error, until a restart: loading would hold every stream.
    """
    yardsticks = yardsticks_of(config, catalogue)
    counter = Counter(load(encodings_for(yardsticks.values())))
    counter.follow(yardsticks, routes_of(config))
    return counter


def routes_of(config: Config) -> dict[str, tuple[Deployment, ...]]:
    """Each model's candidates, in the config's order."""
    return {
        model.name: tuple(
            Deployment(candidate.provider, candidate.model) for candidate in model.route
        )
        for model in config.models
    }


def yardsticks_of(
    config: Config, catalogue: Lookup = NO_CATALOGUE
) -> dict[Deployment, Yardstick]:
    """How each deployment counts tokens."""
    yardsticks: dict[Deployment, Yardstick] = {}
    for provider in config.providers:
        for model in provider.models:
            found = catalogue.yardstick(catalogue_kind(provider), model)
            own = provider.facts.get(model)
            if own is not None and own.tokenizer:
                found = replace(found, family=FAMILIES[own.tokenizer])
            yardsticks[Deployment(provider.name, model)] = found
    return yardsticks
