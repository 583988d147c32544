"""The settings of the admin API: whether it answers, and tokens set up as code.

Owns: `[admin]`. Never: keeps a token; only its digest, as with site keys.
"""

from __future__ import annotations

from typing import Final, Literal

from gateway.settings import values
from gateway.settings.definition import config, items, setting
from gateway.settings.keys import SiteKey
from gateway.settings.server import Found

AdminRole = Literal["viewer", "admin", "owner"]
ADMIN_ROLE: Final[values.Reader[AdminRole]] = values.choice("viewer", "admin", "owner")
NAME: Final = values.text(
    "name of letters, digits and . _ -, at most 63", r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
)


@config
class AdminTokenConfig:
    """A token for the admin API that the configuration hands out."""

    name: str = setting(NAME, doc="Its name in the audit log.")
    keys: tuple[SiteKey, ...] = setting(
        values.many(values.SITE_KEY),
        default=(),
        secret=True,
        doc="What is sent as `Authorization: Bearer KEY`: long and random. Several, so "
        "that one can be replaced. Best from the environment.",
    )
    role: AdminRole = setting(
        ADMIN_ROLE,
        default="viewer",
        doc="What it may: `viewer` sees, `admin` changes, `owner` also hands out "
        "tokens and does what cannot be undone.",
    )
    tenants: tuple[str, ...] = setting(
        values.many(NAME),
        default=(),
        doc="The tenants it is about. Empty: all, and the gateway itself.",
    )


@config
class AdminConfig:
    """The admin API."""

    api: bool = setting(
        values.BOOLEAN,
        default=True,
        reload="restart",
        doc="Whether `/admin/v1` answers, on `admin_bind` or, without one, on `bind`. "
        "Without a token it tells nobody anything.",
    )
    tokens: tuple[AdminTokenConfig, ...] = items(
        AdminTokenConfig,
        default=(),
        doc="A token for the admin API that the configuration hands out.",
    )

    def problems(self) -> Found:
        """Two tokens are two secrets."""
        seen: set[bytes] = set()
        for token in self.tokens:
            for key in token.keys:
                if key.digest in seen:
                    yield "tokens", f"has a key twice, the second time in {token.name}"
                seen.add(key.digest)
