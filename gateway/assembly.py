"""From a configuration to a tree of actors: the one place that knows both.

Owns: which kind of provider speaks which dialect over which transport. Pure but for the
TLS context and the folder that it is given.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from actors.ledger.messages import Price, SiteLimits
from actors.provider.actor import ProviderCell
from actors.provider.admission import Limits
from actors.provider.messages import Deadlines
from actors.provider.pool import PoolLimits
from actors.provider.simulated import SimulatedModel
from actors.provider.transport import Transport
from actors.provider.upstream import HttpUpstream
from actors.router.messages import (
    Deployment,
    DeploymentFacts,
    RouteTable,
    SitePolicy,
)
from actors.tree import ProviderSpec
from actors.vault.messages import KeyScope, KeySource
from gateway.settings.config import Config, ProviderConfig, SiteConfig
from runtime import Backoff
from wire.registry import SPEECHES, Speech

OPENAI_HOST = "api.openai.com"
SIMULATED_URL = "http://simulated.invalid/v1"

MakeTransport = Callable[[ProviderConfig], httpx.AsyncBaseTransport]


def transport_of(
    provider: ProviderConfig, tls: ssl.SSLContext, clock: Callable[[], float]
) -> httpx.AsyncBaseTransport:
    """The transport of a provider: ours, or the built-in model."""
    if provider.kind == "simulated":
        return SimulatedModel(clock=clock)
    limits = PoolLimits(connections_max=provider.connections_max)
    return Transport(tls=tls, limits=limits)


def scope_of(provider: ProviderConfig) -> KeyScope | None:
    """The key a provider needs; None for those without one."""
    return KeyScope(provider.name) if provider.key_env else None


def deadlines_of(provider: ProviderConfig) -> Deadlines:
    """The provider's own deadlines; what it leaves open is inherited already."""
    own = provider.deadlines
    return Deadlines(
        connect_s=own.connect_s,
        headers_s=own.headers_s,
        first_content_s=own.first_content_s,
        idle_s=own.idle_s,
        total_s=own.total_s,
    )


def speech_of(provider: ProviderConfig) -> Speech:
    """What a provider speaks.

    `openai` anywhere but at OpenAI is some server that speaks its dialect: it is sent
    nothing that only OpenAI knows.
    """
    if provider.kind == "openai":
        host = urlsplit(provider.base_url).hostname
        return SPEECHES["openai" if host == OPENAI_HOST else "openai-compatible"]
    return SPEECHES.get(provider.kind, SPEECHES["openai-compatible"])


def options_of(provider: ProviderConfig) -> dict[str, str]:
    """What the dialect's own paths and headers need."""
    given = {
        "api_version": provider.api_version,
        "project": provider.project,
        "location": provider.location if provider.kind == "vertex" else "",
        "region": provider.region,
        "auth": "" if provider.access_key_id_env else "bearer",
    }
    return {name: value for name, value in given.items() if value}


def provider_spec(
    provider: ProviderConfig, transport: httpx.AsyncBaseTransport
) -> ProviderSpec:
    """One deployment, ready for the tree."""
    prices = prices_of(provider)
    upstream = HttpUpstream(
        name=provider.name,
        kind=provider.kind,
        base_url=provider.base_url or SIMULATED_URL,
        transport=transport,
        speech=speech_of(provider),
        deadlines=deadlines_of(provider),
        key=scope_of(provider),
        on_abort=provider.on_abort,
        prices=prices,
        options=options_of(provider),
        region=provider.region,
    )
    return ProviderSpec(
        ProviderCell(
            upstream,
            Limits(provider.in_flight_max, provider.queue_max),
            failures_max=provider.breaker.failures_max,
        ),
        Backoff(
            first_s=provider.breaker.backoff_first_s,
            cap_s=provider.breaker.backoff_cap_s,
        ),
    )


def prices_of(provider: ProviderConfig) -> dict[str, Price]:
    """What its models cost; a model that is not in it is unpriced."""
    if provider.kind == "simulated":
        return {model: Price(0, 0) for model in provider.models}
    return {
        model: Price(
            input_nanousd_per_mtok=price.input_nanousd_per_mtok,
            output_nanousd_per_mtok=price.output_nanousd_per_mtok,
            cached_input_nanousd_per_mtok=price.cached_input_nanousd_per_mtok,
        )
        for model, price in provider.prices.items()
    }


def key_sources(config: Config) -> dict[KeyScope, KeySource]:
    """Which environment variable holds which key, and where it may be sent."""
    sources: dict[KeyScope, KeySource] = {}
    for provider in config.providers:
        scope = scope_of(provider)
        host = urlsplit(provider.base_url).hostname
        if scope is not None and host is not None:
            sources[scope] = KeySource(
                env=provider.key_env,
                hosts=frozenset({host}),
                plain_allowed=provider.allow_plain_http,
                access_key_id_env=provider.access_key_id_env,
                session_token_env=provider.session_token_env,
            )
    return sources


def route_table(config: Config) -> RouteTable:
    """What the router plans from."""
    return RouteTable(
        routes={
            model.name: tuple(
                Deployment(candidate.provider, candidate.model)
                for candidate in model.route
            )
            for model in config.models
        },
        sites={site.name: _policy(site) for site in config.sites},
        facts=_facts(config),
    )


def site_limits(config: Config) -> tuple[SiteLimits, ...]:
    """What the ledger holds sites to."""
    return tuple(
        SiteLimits(
            name=site.name,
            spend_nanousd_max=site.spend_max_nanousd,
            spend_window=site.spend_window,
            in_flight_max=site.in_flight_max,
        )
        for site in config.sites
    )


def _facts(config: Config) -> dict[Deployment, DeploymentFacts]:
    facts: dict[Deployment, DeploymentFacts] = {}
    for provider in config.providers:
        prices = prices_of(provider)
        for model in provider.models:
            facts[Deployment(provider.name, model)] = DeploymentFacts(
                price=prices.get(model)
            )
    return facts


def _policy(site: SiteConfig) -> SitePolicy:
    return SitePolicy(
        name=site.name,
        models=site.models,
        output_tokens_max=site.output_tokens_max,
        capped=site.spend_max_nanousd is not None,
    )
