"""What can be said of a provider: an account somewhere, or a server of one's own.

Owns: its prices, facts, breaker, federation, defaults and units. Never: does I/O. No
value here holds a provider's key: where it is found is all that settings say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from gateway.settings import values
from gateway.settings.definition import config, section, setting, table
from gateway.settings.kinds import GOOGLES, KINDS, SIGNED, OnAbort, base_url
from gateway.settings.prices import FactsConfig, PriceConfig
from gateway.settings.routing import REGION
from gateway.settings.server import COUNT, Found, UpstreamDeadlines
from gateway.settings.words import (
    ACCOUNT,
    FEDERATION,
    FORM_FIELD,
    KIND,
    NAME,
    NAME_OR_NONE,
    ON_ABORT,
    PLACE,
    PROJECT,
    UPSTREAM_NAME,
    VARIABLE,
    VARIABLE_OR_NONE,
    VAULT_KEY,
    FederationExchange,
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
        doc="AWS's region, for bedrock, bedrock-invoke and bedrock-mantle.",
    )
    location: str = setting(
        PLACE,
        default="global",
        doc="Google's location, for vertex and vertex-anthropic.",
    )
    project: str = setting(
        PROJECT,
        default="",
        doc="Google's project, for vertex and vertex-anthropic; without it, vertex is "
        "in its express mode.",
    )
    api_version: str = setting(
        PROJECT,
        default="",
        doc="The version that azure, anthropic, gemini or vertex is asked for, where "
        "it should not be the usual one.",
    )
    access_key_id_env: str = setting(
        VARIABLE_OR_NONE,
        factory=lambda provider: "AWS_ACCESS_KEY_ID" if provider.kind in SIGNED else "",
        default_doc="AWS_ACCESS_KEY_ID for bedrock and bedrock-invoke",
        doc="The environment variable that names the AWS key whose secret is in "
        "key_env. Empty: key_env holds a Bedrock API key, sent as it is.",
    )
    session_token_env: str = setting(
        VARIABLE_OR_NONE,
        factory=lambda provider: "AWS_SESSION_TOKEN" if provider.kind in SIGNED else "",
        default_doc="AWS_SESSION_TOKEN for bedrock and bedrock-invoke",
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
    rotation_url: str = setting(
        values.URL,
        default="",
        default_doc="the provider's own",
        doc="Where new keys are made, if not at the provider's public address: a "
        "region's, or a proxy's. https only.",
    )
    rotation_account: str = setting(
        ACCOUNT,
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
    probe_idle_s: float | None = setting(
        values.SECONDS,
        default=None,
        default_doc="never",
        unit="seconds",
        doc="Ask each of its routed models a small question after that long without a "
        "call, and at once when it may be tried again after failures, so that its "
        "health and speed are known before a client needs it. Each worker asks.",
    )
    probe_site: str = setting(
        NAME_OR_NONE,
        default="",
        default_doc="none",
        doc="The site whose money pays for these questions, within its caps.",
    )
    in_flight_max: int = setting(
        COUNT,
        default=64,
        doc="The most calls to it at once; more wait in its queue. Processes that "
        "share a database have equal parts of it.",
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
            if self.kind not in GOOGLES:
                yield "service_account_file", f"is for vertex, not for {self.kind}"
            if not self.project:
                yield "project", "is missing; a service account calls in a project"
        elif self.kind == "vertex-anthropic" and not self.project:
            yield "project", "is missing; Claude on Vertex is called in a project"
        if self.service_account_file is not None and (self.key_env or self.key):
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
