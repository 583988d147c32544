"""What can be said of the Console."""

from __future__ import annotations

from gateway.settings import values
from gateway.settings.definition import config, setting


@config
class ConsoleConfig:
    """Pages for people at `/console`."""

    enabled: bool = setting(
        values.BOOLEAN,
        default=True,
        reload="restart",
        doc="Whether `/console` answers, on `admin_bind` or, without one, on `bind`.",
    )
