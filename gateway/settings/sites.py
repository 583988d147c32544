"""What can be said of a site: who may call, how much, and what for.

Owns: its keys, allowlists, limits, ladder and preferences. Never: does I/O. Its keys
are digests: no value here can be used to call.
"""

from __future__ import annotations

from gateway.settings import values
from gateway.settings.definition import config, items, section, setting
from gateway.settings.keys import SiteKey
from gateway.settings.money import (
    RATE,
    SPEND_WINDOW,
    ZONE,
    KeyRatesConfig,
    RungConfig,
    SpendWindow,
)
from gateway.settings.origins import ORIGIN
from gateway.settings.routing import RoutingConfig
from gateway.settings.server import COUNT
from gateway.settings.words import (
    COUNT_TOKENS,
    NAME,
    NAME_OR_NONE,
    PATTERN,
    PERSON,
    RESUME,
    TOKENS,
    CountTokens,
    Resume,
)


@config
class SiteConfig:
    """A client of the gateway: who may call, for which models and how much."""

    name: str = setting(NAME, doc="Its name in logs, metrics and the Console.")
    keys: tuple[SiteKey, ...] = setting(
        values.many(values.SITE_KEY),
        default=(),
        secret=True,
        doc="The keys its clients present. Several, so that one can be replaced "
        "without an outage.",
    )
    tenant: str = setting(
        NAME_OR_NONE,
        default="",
        default_doc="vault.tenant",
        doc="Whose it is, of [[tenants]]: it uses that tenant's keys in the vault, and "
        "those of vault.tenant where the tenant has none of its own.",
    )
    environment: str = setting(
        NAME_OR_NONE,
        default="",
        default_doc="vault.environment",
        doc="Which of its tenant's environments it belongs to.",
    )
    suspended: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether its requests are refused, and those under way ended.",
    )
    models: tuple[str, ...] = setting(
        values.many(PATTERN),
        default=("*",),
        doc="The models it may ask for: names, or patterns with * and ?.",
    )
    models_denied: tuple[str, ...] = setting(
        values.many(PATTERN),
        default=(),
        doc="The models that it may not ask for, by their names or by aliases; goes "
        "before models.",
    )
    allowed_origins: tuple[str, ...] = setting(
        values.many(ORIGIN),
        default=(),
        doc="The web origins whose pages may call with its keys, or pick up its "
        "stream grants: https://www.example.org, https://*.example.org for every name "
        "below, or * for all. Empty: no browser may, and no grants are given.",
    )
    resume: Resume = setting(
        RESUME,
        default="off",
        doc="Whether an interrupted stream can be picked up again, by the ids that its "
        "events then have: `cancel` ends it when its last reader leaves, `detach` lets "
        "it go on within its hold.",
    )
    buffered: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether its streams are answered as one JSON body, because a proxy on "
        "their way buffers; a request says otherwise with x-stagedoor-buffered: 0.",
    )
    in_flight_max: int | None = setting(
        COUNT,
        default=None,
        doc="The most requests it may have running at once.",
    )
    output_tokens_max: int | None = setting(
        TOKENS,
        default=None,
        unit="tokens",
        doc="The most output tokens of one answer; a request for more gets this many.",
    )
    spend_max_nanousd: int | None = setting(
        values.MONEY,
        key="spend_usd_max",
        default=None,
        unit="US dollars",
        doc="What it may spend in a spend_window. A hard cap: requests that might "
        "exceed it are refused.",
    )
    spend_window: SpendWindow = setting(
        SPEND_WINDOW,
        default="month",
        doc="The time after which spend_usd_max starts anew: a calendar day, week or "
        "month of its time zone, or never.",
    )
    spend_time_zone: str = setting(
        ZONE,
        default="UTC",
        doc="Whose midnight a spend_window begins at.",
    )
    requests_per_minute_max: int | None = setting(
        RATE,
        default=None,
        doc="The most requests a minute; a minute's worth may come at once.",
    )
    tokens_per_minute_max: int | None = setting(
        RATE,
        default=None,
        doc="The most tokens a minute, prompts and answers together.",
    )
    each_key: KeyRatesConfig = section(
        default_factory=KeyRatesConfig,
        doc="What each key of the site is held to, on top of the site's own limits.",
    )
    pacing: bool = setting(
        values.BOOLEAN,
        default=True,
        doc="Whether price weighs more while a cap is used up faster than its window "
        "passes. It bears on routes that weigh candidates, not on ordered ones.",
    )
    ladder: tuple[RungConfig, ...] = items(
        RungConfig,
        default=(),
        doc="One step of a site's ladder: what a request does without, nearer a cap.",
    )
    routing_headers: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether its answers say how they were routed: x-stagedoor-route, "
        "x-stagedoor-attempts and x-stagedoor-cost (expected, in US dollars).",
    )
    routing: RoutingConfig = section(
        default_factory=RoutingConfig,
        doc="How candidates are chosen for this site, where the model leaves it open.",
    )
    count_tokens: CountTokens = setting(
        COUNT_TOKENS,
        default="estimate",
        doc="How count_tokens and its like are answered: `exact` asks the provider "
        "where it counts, as a call of its own; `estimate` answers at once. What "
        "cannot be counted exactly is estimated, never refused.",
    )
    pseudonyms: tuple[str, ...] = setting(
        values.many(PERSON),
        default=(),
        doc="Whom its records name, as keyed hashes that mean nothing without their 90 "
        "days' secret: `user` (what its clients send as user) and `ip` (the "
        "client's network: /24, or /48). See docs/security.md.",
    )
    strict_audit: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether every single use of a provider key waits until the audit log "
        "holds it on disk. Otherwise the grant does, and uses are logged in batches.",
    )
