"""The settings of alerts: where webhooks may go, and when a key's end is near.

Owns: `[alerts]`. Never: does I/O.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Final

from gateway.settings import values
from gateway.settings.definition import config, setting

DAYS: Final = values.integer(1, 3650)


@config
class AlertsConfig:
    """What people are told, and how."""

    private_networks: tuple[IPv4Network | IPv6Network, ...] = setting(
        values.many(values.NETWORK),
        default=(),
        doc="Networks that are not public and that webhooks may reach all the same, "
        "also without TLS. Whoever may add a webhook can make the gateway send "
        "requests into these.",
    )
    key_expiry_days: int = setting(
        DAYS,
        default=14,
        unit="days",
        doc="How long before an API key expires this is told; again three days and one "
        "day before.",
    )
    keep_days: int = setting(
        DAYS,
        default=90,
        unit="days",
        doc="How long alerts and what became of their webhooks can be looked at.",
    )
