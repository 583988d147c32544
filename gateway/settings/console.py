"""What can be said of the Console, and of another house's login to it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from gateway.settings import values
from gateway.settings.definition import config, section, setting
from gateway.settings.server import Found

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
VARIABLE: Final = values.text(
    "name of an environment variable", r"([A-Za-z_][A-Za-z0-9_]{0,127})?", hidden=True
)


@config
class OidcConfig:
    """Logins by an OpenID provider, for people who were invited here."""

    issuer: str = setting(
        values.URL,
        default="",
        doc="The provider, as https://login.example.org: its discovery document is "
        "below. Empty: no such logins. Needs the extra `sso`.",
    )
    client_id: str = setting(
        values.text("client id", r"[\x21-\x7e]{0,256}"),
        default="",
        doc="The Console's id there.",
    )
    client_secret_env: str = setting(
        VARIABLE,
        default="",
        doc="The environment variable with its secret. Empty: a public client, with "
        "PKCE alone.",
    )
    console_url: str = setting(
        values.URL,
        default="",
        doc="Where browsers find this gateway, as https://ops.example.org. The "
        "redirect URI to register is this with /console/login/oidc/callback.",
    )
    claim: str = setting(
        values.text("name of a claim", r"[A-Za-z_][A-Za-z0-9_:./-]{0,127}"),
        default="email",
        doc="The claim that holds the name somebody was invited by. An address counts "
        "only where the provider has verified it.",
    )

    def problems(self) -> Found:
        """All that it takes, over TLS or on this machine alone."""
        if not self.issuer:
            return
        for name in ("client_id", "console_url"):
            if not getattr(self, name):
                yield name, "is missing; logins by an issuer need it"
        for name in ("issuer", "console_url"):
            parts = urlsplit(getattr(self, name))
            if parts.scheme == "http" and parts.hostname not in LOOPBACK:
                yield name, "is not encrypted; use https://"


@config
class ConsoleConfig:
    """Pages for people at `/console`."""

    enabled: bool = setting(
        values.BOOLEAN,
        default=True,
        reload="restart",
        doc="Whether `/console` answers, on `admin_bind` or, without one, on `bind`.",
    )
    oidc: OidcConfig = section(
        default_factory=OidcConfig,
        doc="Logins by an OpenID provider, for people who were invited here.",
    )
