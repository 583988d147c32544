"""Configurations for tests: small, explicit, with deadlines that nest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from gateway.settings.keys import SiteKey
from gateway.settings.prices import PriceConfig
from gateway.settings.providers import BreakerConfig, ProviderConfig
from gateway.settings.server import ServerConfig, UpstreamDeadlines
from gateway.settings.sites import SiteConfig

KEY = "sk-acme-dev-0001"
CHAT = "/v1/chat/completions"
DEADLINES = UpstreamDeadlines(
    connect_s=1, headers_s=2, first_content_s=4, idle_s=8, total_s=60
)


def provider(name: str, **changes: Any) -> ProviderConfig:
    """One OpenAI-shaped deployment that needs a key."""
    given = ProviderConfig(
        name=name,
        kind="openai",
        base_url=f"https://{name}.example/v1",
        key_env="PROVIDER_KEY",
        models=("m",),
        in_flight_max=4,
        queue_max=4,
        deadlines=DEADLINES,
        breaker=BreakerConfig(failures_max=3, backoff_first_s=1, backoff_cap_s=8),
        prices={
            "m": PriceConfig(
                input_nanousd_per_mtok=1_000_000_000,
                output_nanousd_per_mtok=2_000_000_000,
            )
        },
    )
    return attrs.evolve(given, **changes)  # type: ignore[misc]


def config(
    providers: Sequence[ProviderConfig] | None = None,
    *,
    route: Sequence[str] | None = None,
    **site: Any,
) -> Config:
    """One site, one model "fast" that any of the providers may serve, in order."""
    given = providers or [provider("main")]
    names = route or [one.name for one in given]
    return Config(
        server=ServerConfig(),
        sites=(SiteConfig(name="acme", keys=(SiteKey.of(KEY),), **site),),
        providers=tuple(given),
        models=(
            ModelConfig(name="fast", route=tuple(Candidate(n, "m") for n in names)),
        ),
    )


def chat(text: str = "hi", *, stream: bool = True, **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {
        "model": "fast",
        "stream": stream,
        "messages": [{"role": "user", "content": text}],
        **more,
    }
