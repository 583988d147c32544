"""Tenants: whose sites, keys and provider keys are kept apart.

Owns: `[[tenants]]`. Never: does I/O.
"""

from __future__ import annotations

from gateway.settings import values
from gateway.settings.definition import config, setting
from gateway.settings.words import NAME


@config
class TenantConfig:
    """Somebody whose sites and provider keys are apart from all others'."""

    name: str = setting(NAME, doc="Its name at sites, in the vault and in usage.")
    title: str = setting(
        values.text("text of at most 200 characters", r"[^\x00-\x1f\x7f]{0,200}"),
        default="",
        doc="What people call it.",
    )
    environments: tuple[str, ...] = setting(
        values.many(NAME),
        default=(),
        doc="Its environments, such as prod and staging: each has provider keys of "
        "its own in the vault. None listed: sites may name any.",
    )
    suspended: bool = setting(
        values.BOOLEAN,
        default=False,
        doc="Whether all its sites are refused, until this is taken back.",
    )
