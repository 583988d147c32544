"""From a configuration to a tree of actors: the one place that knows both.

Owns: which kind of provider speaks which dialect over which transport. Pure but for the
TLS context and the folder that it is given.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx

from actors.ledger.messages import Cap, Rates, Rung, SiteLimits
from actors.provider.actor import ProviderCell
from actors.provider.admission import Limits
from actors.provider.messages import Deadlines
from actors.provider.pool import PoolLimits
from actors.provider.simulated import SimulatedModel
from actors.provider.transport import Transport
from actors.provider.upstream import HttpUpstream
from actors.router.catalogue.lookup import Lookup
from actors.router.messages import RouteTable, SitePolicy
from actors.tokens.messages import token_name
from actors.tree import ProviderSpec
from actors.vault.messages import Federation, KeyScope, KeySource
from actors.vault.rotations import MintSpec
from gateway.deployments import (
    NO_CATALOGUE,
    OPENAI_HOST,
    facts_of,
    prices_of,
    routes_of,
)
from gateway.preferences import aliases_of, policies_of, wishes_of
from gateway.settings.config import Config
from gateway.settings.kinds import GOOGLES
from gateway.settings.money import RungConfig
from gateway.settings.providers import FederationConfig, ProviderConfig
from gateway.settings.sites import SiteConfig
from gateway.settings.values import is_loopback
from gateway.settings.vault import VaultConfig
from gateway.settings.words import VAULT_PREFIX
from runtime import Backoff
from wire.registry import SPEECHES, Speech

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


def scope_of(provider: ProviderConfig, vault: VaultConfig) -> KeyScope | None:
    """The key a provider needs; None for those without one."""
    if provider.key:
        name = provider.key.removeprefix(VAULT_PREFIX)
    elif provider.federation.exchange:
        name = "federated"
    elif provider.key_env or provider.service_account_file:
        name = "default"
    else:
        return None
    return KeyScope(provider.name, name, vault.tenant, vault.environment)


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
        "location": provider.location if provider.kind in GOOGLES else "",
        "region": provider.region,
        "auth": "" if provider.access_key_id_env else "bearer",
    }
    return {name: value for name, value in given.items() if value}


def provider_spec(
    provider: ProviderConfig,
    transport: httpx.AsyncBaseTransport,
    catalogue: Lookup = NO_CATALOGUE,
    *,
    vault: VaultConfig,
) -> ProviderSpec:
    """One deployment, ready for the tree."""
    upstream = HttpUpstream(
        name=provider.name,
        kind=provider.kind,
        base_url=provider.base_url or SIMULATED_URL,
        transport=transport,
        speech=speech_of(provider),
        deadlines=deadlines_of(provider),
        key=scope_of(provider, vault),
        on_abort=provider.on_abort,
        prices=prices_of(provider, catalogue),
        options=options_of(provider),
        region=provider.region,
    )
    return ProviderSpec(
        ProviderCell(
            upstream,
            Limits(provider.in_flight_max, provider.queue_max),
            failures_max=provider.breaker.failures_max,
            slow_call_s=provider.breaker.slow_call_s,
        ),
        Backoff(
            first_s=provider.breaker.backoff_first_s,
            cap_s=provider.breaker.backoff_cap_s,
        ),
    )


def key_sources(config: Config) -> dict[KeyScope, KeySource]:
    """Where each key is, and where it may be sent."""
    sources: dict[KeyScope, KeySource] = {}
    for provider in config.providers:
        scope = scope_of(provider, config.vault)
        host = urlsplit(provider.base_url).hostname
        if scope is not None and host is not None:
            sources[scope] = KeySource(
                env=_variable(provider),
                hosts=frozenset({host}),
                # A sealed key is for TLS, whatever a configuration says later.
                plain_allowed=provider.allow_plain_http
                and (not provider.key or is_loopback(host)),
                access_key_id_env=provider.access_key_id_env,
                session_token_env=provider.session_token_env,
                federation=None if provider.key else _federation(provider.federation),
            )
    return sources


def _variable(provider: ProviderConfig) -> str:
    """Where the vault reads the key; empty where it holds it itself."""
    if provider.key:
        return ""
    if provider.service_account_file is not None:
        return token_name(provider.service_account_file)
    return provider.key_env


def accounts_of(
    config: Config, transports: Mapping[str, httpx.AsyncBaseTransport]
) -> dict[Path, httpx.AsyncBaseTransport]:
    """Google's service accounts, each asked for over its provider's transport."""
    return {
        provider.service_account_file: transports[provider.name]
        for provider in config.providers
        if provider.service_account_file is not None
    }


def route_table(config: Config, catalogue: Lookup = NO_CATALOGUE) -> RouteTable:
    """What the router plans from."""
    return RouteTable(
        routes=routes_of(config),
        sites={site.name: site_policy(config, site) for site in config.sites},
        facts=facts_of(config, catalogue),
        policies=policies_of(config),
        aliases=aliases_of(config),
    )


def _federation(given: FederationConfig) -> Federation | None:
    if not given.exchange:
        return None
    pairs = (field.partition("=") for field in given.fields)
    fields = tuple((name, value) for name, _, value in pairs)
    return Federation(
        given.exchange,
        given.url,
        given.identity_file,
        given.audience,
        given.scope,
        given.role_arn,
        fields,
    )


Home = tuple[str, str]  # Tenant and environment.

MINTS: Final[dict[str, Literal["openai", "openrouter", "aws"]]] = {
    "openai": "openai",
    "openrouter": "openrouter",
    "bedrock": "aws",
    "bedrock-invoke": "aws",
}


def mints_of(config: Config) -> dict[KeyScope, MintSpec]:
    """The keys that can be rotated without a hand."""
    found: dict[KeyScope, MintSpec] = {}
    vault = config.vault
    for provider in config.providers:
        scope, kind = scope_of(provider, vault), MINTS.get(provider.kind)
        if not (provider.key and provider.rotation_key and scope and kind):
            continue
        name = provider.rotation_key.removeprefix(VAULT_PREFIX)
        with_key = KeyScope(provider.name, name, vault.tenant, vault.environment)
        found[scope] = MintSpec(
            kind, with_key, provider.rotation_account, provider.rotation_url.rstrip("/")
        )
    return found


def pepper_homes(config: Config) -> frozenset[Home]:
    """The tenants, and environments, with sites whose records name people.

    And the gateway's own, where people administer it: the audit log names them.
    """
    named = {config.home_of(site) for site in config.sites if site.pseudonyms}
    if config.console.enabled or config.admin.api:
        named.add(config.vault.home)
    return frozenset(named)


def strict_sites(config: Config) -> frozenset[str]:
    """The sites whose every lease is in the audit log before it is used."""
    return frozenset(site.name for site in config.sites if site.strict_audit)


def homes_of(config: Config) -> dict[str, tuple[str, str]]:
    """The tenant and environment of each site that has another than the vault's."""
    shared = (config.vault.tenant, config.vault.environment)
    homes = {site.name: config.home_of(site) for site in config.sites}
    return {site: home for site, home in homes.items() if home != shared}


def site_limits(config: Config) -> tuple[SiteLimits, ...]:
    """What the ledger holds sites to."""
    return tuple(
        SiteLimits(
            name=site.name,
            spend_nanousd_max=site.spend_max_nanousd,
            spend_window=site.spend_window,
            spend_zone=site.spend_time_zone,
            in_flight_max=site.in_flight_max,
            requests_per_minute_max=site.requests_per_minute_max,
            tokens_per_minute_max=site.tokens_per_minute_max,
            each_key=Rates(
                site.each_key.requests_per_minute_max,
                site.each_key.tokens_per_minute_max,
                site.each_key.in_flight_max,
            ),
            ladder=tuple(map(_rung, site.ladder)),
            pacing=site.pacing,
        )
        for site in config.sites
    )


def caps_of(config: Config) -> tuple[Cap, ...]:
    """What the ledger holds everybody to, beside the sites' own caps."""
    return tuple(
        Cap(
            name=cap.name,
            nanousd_max=cap.spend_max_nanousd,
            window=cap.window,
            kind=cap.kind,
            per=cap.per,
            rolling=cap.rolling,
            zone=cap.time_zone,
            sites=cap.sites,
            keys=cap.keys,
            models=cap.models,
            providers=cap.providers,
        )
        for cap in config.caps
    )


def _rung(rung: RungConfig) -> Rung:
    return Rung(
        name=rung.name,
        percent=rung.from_percent,
        prefer_cheap=rung.prefer_cheap,
        output_nanousd_per_mtok_max=rung.output_nanousd_per_mtok_max,
        output_tokens_max=rung.output_tokens_max,
        model=rung.model,
        refuse=rung.refuse,
    )


def _capped(config: Config, site: SiteConfig) -> bool:
    """Whether a hard cap may cover its requests: then answers must have a bound."""
    return site.spend_max_nanousd is not None or any(
        cap.kind == "hard"
        and (not cap.sites or any(fnmatchcase(site.name, one) for one in cap.sites))
        for cap in config.caps
    )


def site_policy(config: Config, site: SiteConfig) -> SitePolicy:
    """What the router holds a site to."""
    return SitePolicy(
        name=site.name,
        models=site.models,
        models_denied=site.models_denied,
        output_tokens_max=site.output_tokens_max,
        capped=_capped(config, site),
        wishes=wishes_of(site.routing),
        explain=site.routing_headers,
    )
