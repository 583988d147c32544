"""The pages, one file a subject: each gives `pages(console)`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.console.app import Console, Page
from gateway.console.pages import (
    access,
    actors,
    audit,
    configuration,
    declared,
    keys,
    oidc,
    overview,
    playground,
    provider_forms,
    providers,
    requests,
    settings,
    site_settings,
    sites,
    tokens,
    vault,
    webhooks,
)


def every(console: Console) -> Sequence[Page]:
    """All of them."""
    return (
        *overview.pages(console),
        *sites.pages(console),
        *site_settings.pages(console),
        *keys.pages(console),
        *provider_forms.pages(console),
        *providers.pages(console),
        *playground.pages(console),
        *requests.pages(console),
        *settings.pages(console),
        *audit.pages(console),
        *tokens.pages(console),
        *webhooks.pages(console),
        *configuration.pages(console),
        *declared.pages(console),
        *vault.pages(console),
        *actors.pages(console),
        *access.pages(console),
        *oidc.pages(console),
    )
