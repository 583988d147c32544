"""The configuration: every setting is defined here or in server.py, and only once.

Owns: the frozen values that the rest of the gateway is given, their defaults, units
and documentation, and what must hold within one table (`problems`). What must hold
between tables is in checks.py.
Never: does I/O. No value here holds a provider's key, and site keys are digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import urlsplit

import attrs

from gateway.settings import values
from gateway.settings.definition import config, items, section, setting, table
from gateway.settings.errors import Unfit
from gateway.settings.keys import SiteKey
from gateway.settings.kinds import KINDS, OnAbort, base_url
from gateway.settings.money import (
    RATE,
    SPEND_WINDOW,
    ZONE,
    CapConfig,
    KeyRatesConfig,
    RungConfig,
    SpendWindow,
)
from gateway.settings.routing import REGION, SHARE, RoutingConfig, ShareOf
from gateway.settings.server import COUNT, Found, ServerConfig, UpstreamDeadlines
from gateway.settings.vault import VaultConfig

CountTokens = Literal["estimate", "exact"]

NAME: Final = values.text(
    "name of letters, digits and . _ -, at most 63", r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
)
MODEL_NAME: Final = values.text(
    "model name of letters, digits and . _ : / @ -, at most 128",
    r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}",
)
UPSTREAM_NAME: Final = values.text("model name without spaces", r"[\x21-\x7e]{1,200}")
PATTERN: Final = values.text(
    "model name or pattern with * and ?", r"[A-Za-z0-9._:/@*?-]{1,128}"
)
VARIABLE: Final = values.text(
    "name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]{0,127}", hidden=True
)
VARIABLE_OR_NONE: Final = values.text(
    "name of an environment variable", r"([A-Za-z_][A-Za-z0-9_]{0,127})?", hidden=True
)
PLACE: Final = values.text("region or location", r"[a-z0-9-]{0,32}")
PROJECT: Final = values.text(
    "name of letters, digits and . : -", r"[A-Za-z0-9.:-]{0,64}"
)
TOKENS: Final = values.integer(1, 100_000_000)
# Kept beside actors/router/tokens/families.py by a test: settings import no actors.
TOKENIZER: Final = values.choice(
    "", "o200k", "o200k-5", "cl100k", "harmony", "claude", "claude-4.7", "gemini",
    "llama3", "llama4", "mistral", "deepseek", "qwen", "glm", "kimi", "grok",
    "grok-4.3", "gemma", "command", "nova", "embedding", "unknown",
)  # fmt: skip
KIND: Final = values.choice(*KINDS)
FederationExchange = Literal["", "token-exchange", "jwt-bearer", "aws"]
FEDERATION: Final[values.Reader[FederationExchange]] = values.choice(
    "", "token-exchange", "jwt-bearer", "aws"
)
FORM_FIELD: Final = values.text(
    "NAME=VALUE", r"[A-Za-z0-9_.-]{1,64}=[\x20-\x7e]{0,512}"
)
ON_ABORT: Final[values.Reader[OnAbort]] = values.choice("cancel", "drain")
COUNT_TOKENS: Final[values.Reader[CountTokens]] = values.choice("estimate", "exact")


VAULT_PREFIX: Final = "vault:"
VAULT_KEY: Final = values.text(
    "vault:NAME, with letters, digits and . _ -",
    r"(vault:[A-Za-z0-9][A-Za-z0-9._-]{0,62})?",
    hidden=True,  # Whoever pastes the key itself here is not to find it in a log.
)


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
    models: tuple[str, ...] = setting(
        values.many(PATTERN),
        default=("*",),
        doc="The models it may ask for: names, or patterns with * and ?.",
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
    strict_audit: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether every single use of a provider key waits until the audit log "
        "holds it on disk. Otherwise the grant does, and uses are logged in batches.",
    )


@config
class BreakerConfig:
    """When a provider is taken out of use, and when it is tried again."""

    failures_max: int = setting(
        values.integer(1, 1000),
        default=5,  # Three trips on deploy blips, eight reacts a minute late.
        doc="Failures in a row after which the provider is taken out of use.",
    )
    backoff_first_s: float = setting(
        values.SECONDS,
        default=1.0,
        unit="seconds",
        doc="The first wait before it is probed again; it doubles with each failure.",
    )
    backoff_cap_s: float = setting(
        values.SECONDS,
        default=15.0,  # A recovered provider has its traffic back within a minute.
        unit="seconds",
        doc="The longest wait before it is probed again.",
    )

    slow_call_s: float | None = setting(
        values.SECONDS,
        default=None,
        unit="seconds",
        doc="An answer whose first content takes longer counts as a failure.",
    )

    def problems(self) -> Found:
        """A backoff grows from its first step to its cap."""
        if self.backoff_first_s > self.backoff_cap_s:
            yield (
                "backoff_first_s",
                f"must not exceed backoff_cap_s ({self.backoff_cap_s:g})",
            )


@config
class TierConfig:
    """What a model costs for long prompts."""

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
    cached_input_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="cached_input_usd_per_mtok",
        factory=lambda price: price.input_nanousd_per_mtok,
        default_doc="as input_usd_per_mtok",
        unit="US dollars",
        doc="A million input tokens that the provider read from its cache.",
    )
    cache_write_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="cache_write_usd_per_mtok",
        factory=lambda price: price.input_nanousd_per_mtok,
        default_doc="as input_usd_per_mtok",
        unit="US dollars",
        doc="A million input tokens that the provider wrote to its cache.",
    )


@config
class PriceConfig:
    """What a model costs. Held in nano-dollars a million tokens: exact integers."""

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
    cached_input_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="cached_input_usd_per_mtok",
        factory=lambda price: price.input_nanousd_per_mtok,
        default_doc="as input_usd_per_mtok",
        unit="US dollars",
        doc="A million input tokens that the provider read from its cache.",
    )
    cache_write_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="cache_write_usd_per_mtok",
        factory=lambda price: price.input_nanousd_per_mtok,
        default_doc="as input_usd_per_mtok",
        unit="US dollars",
        doc="A million input tokens that the provider wrote to its cache.",
    )
    cache_write_1h_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="cache_write_1h_usd_per_mtok",
        factory=lambda price: price.cache_write_nanousd_per_mtok,
        default_doc="as cache_write_usd_per_mtok",
        unit="US dollars",
        doc="The same, for what is kept for an hour.",
    )
    audio_input_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="audio_input_usd_per_mtok",
        factory=lambda price: price.input_nanousd_per_mtok,
        default_doc="as input_usd_per_mtok",
        unit="US dollars",
        doc="A million input tokens of sound.",
    )
    audio_output_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="audio_output_usd_per_mtok",
        factory=lambda price: price.output_nanousd_per_mtok,
        default_doc="as output_usd_per_mtok",
        unit="US dollars",
        doc="A million output tokens of sound.",
    )
    reasoning_nanousd_per_mtok: int = setting(
        values.MONEY,
        key="reasoning_usd_per_mtok",
        factory=lambda price: price.output_nanousd_per_mtok,
        default_doc="as output_usd_per_mtok",
        unit="US dollars",
        doc="A million tokens of reasoning.",
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


@config
class FederationConfig:
    """Short-lived credentials for a workload's identity, in place of a key."""

    exchange: FederationExchange = setting(
        FEDERATION,
        default="",
        doc="How: `token-exchange` (RFC 8693), `jwt-bearer` (RFC 7523), or `aws` "
        "(AssumeRoleWithWebIdentity). Empty: the provider has a key.",
    )
    url: str = setting(
        values.URL, default="", doc="The token endpoint; for aws, that of STS."
    )
    identity_file: str = setting(
        values.text("path", r"[^\x00]{0,4096}"),
        default="",
        doc="The file with this workload's token, which its platform renews.",
    )
    audience: str = setting(
        values.text("audience", r"[\x21-\x7e]{0,512}"),
        default="",
        doc="For whom the credential is.",
    )
    scope: str = setting(
        values.text("scope", r"[\x20-\x7e]{0,512}"),
        default="",
        doc="What the credential may do.",
    )
    role_arn: str = setting(
        values.text("ARN", r"[A-Za-z0-9:/+=,.@_-]{0,512}"),
        default="",
        doc="The role to assume, for aws.",
    )
    fields: tuple[str, ...] = setting(
        values.many(FORM_FIELD),
        default=(),
        doc="What else the endpoint wants in its form, each NAME=VALUE.",
    )

    def problems(self) -> Found:
        """An exchange has an address and an identity."""
        if not self.exchange:
            return
        if not self.url:
            yield "url", "is missing; an exchange happens somewhere"
        elif self.url.startswith("http://") and not values.is_loopback(
            urlsplit(self.url).hostname or ""
        ):
            yield "url", "would send the identity unencrypted; use https://"
        if not self.identity_file:
            yield "identity_file", "is missing; an identity is what is exchanged"
        if self.exchange == "aws" and not self.role_arn:
            yield "role_arn", "is missing; aws needs it"


@config
class ProviderConfig:
    """One deployment: an account at a provider, or a server of one's own."""

    name: str = setting(NAME, doc="Its name in routes, logs, metrics and the Console.")
    kind: str = setting(
        KIND,
        doc="What it speaks. "
        + "; ".join(f"`{name}`: {kind.doc}" for name, kind in KINDS.items())
        + ".",
    )
    region: str = setting(
        PLACE,
        default="us-east-1",
        doc="AWS's region, for bedrock and bedrock-mantle.",
    )
    location: str = setting(
        PLACE,
        default="global",
        doc="Google's location, for vertex.",
    )
    project: str = setting(
        PROJECT,
        default="",
        doc="Google's project, for vertex; without it, its express mode.",
    )
    api_version: str = setting(
        PROJECT,
        default="",
        doc="The version that azure, anthropic, gemini or vertex is asked for, where "
        "it should not be the usual one.",
    )
    access_key_id_env: str = setting(
        VARIABLE_OR_NONE,
        factory=lambda provider: (
            "AWS_ACCESS_KEY_ID" if provider.kind == "bedrock" else ""
        ),
        default_doc="AWS_ACCESS_KEY_ID for bedrock",
        doc="The environment variable that names the AWS key whose secret is in "
        "key_env. Empty: key_env holds a Bedrock API key, sent as it is.",
    )
    session_token_env: str = setting(
        VARIABLE_OR_NONE,
        factory=lambda provider: (
            "AWS_SESSION_TOKEN" if provider.kind == "bedrock" else ""
        ),
        default_doc="AWS_SESSION_TOKEN for bedrock",
        doc="The environment variable with the session token of temporary AWS keys; "
        "it may be unset.",
    )
    base_url: str = setting(
        values.URL,
        factory=lambda provider: base_url(
            provider.kind, region=provider.region, location=provider.location
        ),
        default_doc="the kind's own",
        doc="Where its API starts: with the version for servers that speak OpenAI's "
        "dialect, without it for the others.",
    )
    allow_plain_http: bool = setting(
        values.BOOLEAN,
        factory=lambda provider: values.is_loopback(
            urlsplit(provider.base_url).hostname or ""
        ),
        default_doc="true on loopback, else false",
        doc="Whether keys and prompts may travel to it unencrypted.",
    )
    service_account_file: Path | None = setting(
        values.PATH,
        default=None,
        doc="The key file (JSON) of a Google service account, for vertex: its access "
        "tokens are had and renewed by the gateway. Instead of key_env.",
    )
    key_env: str = setting(
        VARIABLE,
        # OPENAI_API_KEY must not go to whoever else speaks OpenAI's language.
        factory=lambda provider: (
            KINDS[provider.kind].key_env
            if provider.service_account_file is None
            and provider.base_url
            == base_url(
                provider.kind, region=provider.region, location=provider.location
            )
            else ""
        ),
        default_doc="the kind's own at its own base_url, else none",
        doc="The environment variable that holds its key.",
    )
    key: str = setting(
        VAULT_KEY,
        default="",
        doc="Where its key is instead of key_env: `vault:NAME` is the one that "
        "`stagedoor vault add` took in under this provider and NAME.",
    )
    rotation_key: str = setting(
        VAULT_KEY,
        default="",
        doc="The key in the vault that may make new ones, as `vault:NAME`: an admin "
        "key of OpenAI, a management key of OpenRouter, an IAM key of AWS. With it the "
        "key is rotated every `vault.rotate_days`.",
    )
    rotation_account: str = setting(
        PROJECT,
        default="",
        doc="Where its new keys belong: OpenAI's project, AWS's user.",
    )
    models: tuple[str, ...] = setting(
        values.many(UPSTREAM_NAME),
        doc="The models it serves, by its own names.",
    )
    data_region: str = setting(
        REGION,
        default="",
        default_doc="unknown",
        doc="Where it processes prompts, as sites and models name their regions.",
    )
    in_flight_max: int = setting(
        COUNT,
        default=64,
        doc="The most calls to it at once; more wait in its queue.",
    )
    queue_max: int = setting(
        values.integer(0, 1_000_000),
        default=64,  # As many as are running: a wait of about one call's length.
        doc="The most calls that wait for it; beyond it, the next candidate is tried.",
    )
    connections_max: int = setting(
        COUNT,
        factory=lambda provider: provider.in_flight_max,
        default_doc="as in_flight_max",
        doc="The most connections to it.",
    )
    on_abort: OnAbort = setting(
        ON_ABORT,
        factory=lambda provider: KINDS[provider.kind].on_abort,
        default_doc="the kind's own",
        doc="When the client leaves: `cancel` the call where that stops the bill, or "
        "`drain` it (bounded) for its usage where it does not.",
    )
    federation: FederationConfig = section(
        default_factory=FederationConfig,
        doc="Short-lived credentials for a workload's identity, in place of a key.",
    )
    breaker: BreakerConfig = section(
        default_factory=BreakerConfig,
        doc="When a provider is taken out of use, and when it is tried again.",
    )
    deadlines: UpstreamDeadlines = section(
        default_factory=UpstreamDeadlines,
        inherits="server.deadlines",
        doc="Deadlines of this provider, where they differ from the server's.",
    )
    prices: Mapping[str, PriceConfig] = table(
        PriceConfig,
        keys="MODEL",
        default=MappingProxyType({}),
        doc="What its models cost, by its own names, where the catalogue does not "
        "know or is wrong.",
    )
    facts: Mapping[str, FactsConfig] = table(
        FactsConfig,
        keys="MODEL",
        default=MappingProxyType({}),
        doc="What its models can take, by its own names, where the catalogue does not "
        "know or is wrong.",
    )

    def problems(self) -> Found:
        """Keys travel encrypted; a price belongs to a model that is served."""
        if not self.base_url and self.kind != "simulated":
            yield "base_url", f"is missing: kind {self.kind} has no address of its own"
        if self.base_url.startswith("http://") and not self.allow_plain_http:
            yield (
                "base_url",
                (
                    f'"{self.base_url}" would send keys and prompts unencrypted; use '
                    "https:// or set allow_plain_http = true"
                ),
            )
        elif (
            self.key
            and self.base_url.startswith("http://")
            and not values.is_loopback(urlsplit(self.base_url).hostname or "")
        ):
            yield "base_url", "gets no key of the vault without TLS; use https://"
        if self.service_account_file is not None:
            if self.kind != "vertex":
                yield "service_account_file", f"is for vertex, not for {self.kind}"
            if not self.project:
                yield "project", "is missing; a service account calls in a project"
            if self.key_env or self.key:
                other = "key_env" if self.key_env else "key"
                yield "service_account_file", f"and {other} are two keys; name one"
        if not self.models:
            yield "models", "is empty; name at least one model that it serves"
        for model in self.prices:
            if model not in self.models:
                yield f"prices.{model}", "is the price of a model not in models"
        for model in self.facts:
            if model not in self.models:
                yield f"facts.{model}", "is about a model not in models"


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
        if sum(share.percent for share in self.canary) > 100:
            yield "canary", "takes more than 100% of the requests"
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
    sites: tuple[SiteConfig, ...] = items(
        SiteConfig, doc="A client of the gateway: who may call, and how much."
    )
    vault: VaultConfig = section(
        default_factory=VaultConfig,
        doc="Which KMS guards the stored keys, and who may borrow them.",
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
    models: tuple[ModelConfig, ...] = items(
        ModelConfig, doc="A model as clients know it, and what serves it."
    )

    def site_by_digest(self) -> dict[bytes, SiteConfig]:
        """Each site under the digest of each of its keys (`keys.digest`)."""
        return {key.digest: site for site in self.sites for key in site.keys}
