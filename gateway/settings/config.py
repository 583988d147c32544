"""The configuration: every setting is defined here or in server.py, and only once.

Owns: the frozen values that the rest of the gateway is given, their defaults, units
and documentation, and what must hold within one table (`problems`). What must hold
between tables is in checks.py.
Never: does I/O. No value here holds a provider's key, and site keys are digests.
"""

from __future__ import annotations

from typing import Final

import attrs

from gateway.settings import values
from gateway.settings.admin import AdminConfig
from gateway.settings.alerts import AlertsConfig
from gateway.settings.console import ConsoleConfig
from gateway.settings.database import DatabaseConfig
from gateway.settings.definition import config, items, section, setting
from gateway.settings.errors import Unfit
from gateway.settings.hooks import HookConfig
from gateway.settings.money import (
    CapConfig,
)
from gateway.settings.providers import ProviderConfig
from gateway.settings.records import RecordsConfig
from gateway.settings.routing import SHARE, RoutingConfig, ShareOf
from gateway.settings.server import Found, ServerConfig
from gateway.settings.sites import SiteConfig
from gateway.settings.tenants import TenantConfig
from gateway.settings.tracing import TracingConfig
from gateway.settings.vault import VaultConfig
from gateway.settings.words import MODEL_NAME, NAME, UPSTREAM_NAME


@attrs.frozen
class Candidate:
    """One way to serve a model: a provider, and the model's name there."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def _read_candidate(value: object) -> Candidate:
    form = "PROVIDER/MODEL"
    if not isinstance(value, str):
        raise Unfit(f"is not a string; write {form}")
    # The first slash parts them: the upstream's own names may hold more.
    provider, slash, model = value.partition("/")
    if not slash or not provider or not model:
        raise Unfit(f"is no candidate; write {form}")
    return Candidate(NAME.read(provider), UPSTREAM_NAME.read(model))


CANDIDATE: Final = values.Reader("PROVIDER/MODEL", _read_candidate)


@config
class ModelConfig:
    """A model as clients know it, and the candidates that serve it."""

    name: str = setting(MODEL_NAME, doc="What clients ask for.")
    route: tuple[Candidate, ...] = setting(
        values.many(CANDIDATE),
        doc="Its candidates, PROVIDER/MODEL, in order of preference. Whatever fails "
        "before its first content is retried on the next.",
    )
    aliases: tuple[str, ...] = setting(
        values.many(MODEL_NAME),
        default=(),
        doc="Other names that clients may ask for it by.",
    )
    canary: tuple[ShareOf, ...] = setting(
        values.many(SHARE),
        default=(),
        doc="Shares of its requests that try a candidate outside the route first, as "
        '"5% PROVIDER/MODEL"; the route is their fallback.',
    )
    mirror: tuple[ShareOf, ...] = setting(
        values.many(SHARE),
        default=(),
        doc="Shares of its requests that another candidate is asked as well, as "
        '"5% PROVIDER/MODEL", once the client has its answer: nobody reads that one, '
        "it is measured, recorded and paid. Only where the site's regions allow it; "
        "it takes none of its places and rates.",
    )
    hedge: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether a second candidate starts when no content came by the predicted "
        "p95. The quicker one answers, both are paid; at most 5 % of its requests.",
    )
    fallbacks: tuple[str, ...] = setting(
        values.many(MODEL_NAME),
        default=(),
        doc="Models whose candidates are tried when all of its own have failed.",
    )
    context_fallbacks: tuple[str, ...] = setting(
        values.many(MODEL_NAME),
        default=(),
        doc="Models for prompts that fit the window of none of its own candidates.",
    )
    content_fallbacks: tuple[str, ...] = setting(
        values.many(MODEL_NAME),
        default=(),
        doc="Models for requests that its own refuse because of their content.",
    )
    routing: RoutingConfig = section(
        default_factory=RoutingConfig,
        doc="How its candidates are chosen; goes before the site's preferences.",
    )

    def problems(self) -> Found:
        """A route leads somewhere, and nowhere twice."""
        if not self.route:
            yield "route", "is empty; name at least one PROVIDER/MODEL"
        for name, shares in (("canary", self.canary), ("mirror", self.mirror)):
            if sum(share.percent for share in shares) > 100:
                yield name, "takes more than 100% of the requests"
        seen: set[Candidate] = set()
        for index, candidate in enumerate(self.route):
            if candidate in seen:
                yield f"route[{index}]", f'"{candidate}" is there twice'
            seen.add(candidate)


@config
class Config:
    """The whole configuration of one gateway."""

    server: ServerConfig = section(
        default_factory=ServerConfig,
        doc="The process: where it listens and what it keeps.",
    )
    tenants: tuple[TenantConfig, ...] = items(
        TenantConfig,
        default=(),
        doc="Somebody whose sites and provider keys are apart from all others'.",
    )
    sites: tuple[SiteConfig, ...] = items(
        SiteConfig, doc="A client of the gateway: who may call, and how much."
    )
    database: DatabaseConfig = section(
        default_factory=DatabaseConfig,
        doc="Where sites, keys, money and records are kept.",
    )
    console: ConsoleConfig = section(
        default_factory=ConsoleConfig, doc="Pages for people at `/console`."
    )
    vault: VaultConfig = section(
        default_factory=VaultConfig,
        doc="Which KMS guards the stored keys, and who may borrow them.",
    )
    admin: AdminConfig = section(
        default_factory=AdminConfig,
        doc="The admin API.",
    )
    alerts: AlertsConfig = section(
        default_factory=AlertsConfig,
        doc="What people are told, and how.",
    )
    records: RecordsConfig = section(
        default_factory=RecordsConfig,
        doc="What is kept of requests in the database, for searches, usage and the "
        "Console.",
    )
    tracing: TracingConfig = section(
        default_factory=TracingConfig,
        doc="Spans of requests, told to an OpenTelemetry collector.",
    )
    providers: tuple[ProviderConfig, ...] = items(
        ProviderConfig,
        doc="One deployment: an account at a provider, or a server of one's own.",
    )
    caps: tuple[CapConfig, ...] = items(
        CapConfig,
        default=(),
        doc="How much may be spent in a window, by whom, on what. Any number of them.",
    )
    hooks: tuple[HookConfig, ...] = items(
        HookConfig,
        default=(),
        doc="Something that sees, and may edit, answers on their way. They run in the "
        "order of the file.",
        ordered=True,
    )
    models: tuple[ModelConfig, ...] = items(
        ModelConfig, doc="A model as clients know it, and what serves it."
    )

    def home_of(self, site: SiteConfig) -> tuple[str, str]:
        """The tenant and environment whose provider keys a site uses first."""
        return (
            site.tenant or self.vault.tenant,
            site.environment or self.vault.environment,
        )

    def closed_sites(self) -> frozenset[str]:
        """The sites whose requests are refused for now."""
        closed = {tenant.name for tenant in self.tenants if tenant.suspended}
        return frozenset(
            site.name
            for site in self.sites
            if site.suspended or self.home_of(site)[0] in closed
        )
