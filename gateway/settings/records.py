"""The settings of stored records: how long each kind of fact is kept.

Owns: `[records]`. The journal of JSON lines in `state_dir` is not bounded by these: it
is the durable source, and the operator's to archive.
"""

from __future__ import annotations

from typing import Final

from gateway.settings import values
from gateway.settings.definition import config, setting
from gateway.settings.server import Found

DAYS: Final = values.integer(1, 36_500)


@config
class RecordsConfig:
    """What is kept of requests in the database, for searches, usage and the Console."""

    store: bool = setting(
        values.BOOLEAN,
        default=True,
        reload="restart",
        doc="Whether requests' facts are written to the database: never their content. "
        "Without, usage and searches have nothing to show.",
    )
    keep_days: int = setting(
        DAYS,
        default=30,
        unit="days",
        doc="How long single requests can be found.",
    )
    minutes_keep_days: int = setting(
        DAYS,
        default=3,
        unit="days",
        doc="How long sums by the minute are kept.",
    )
    hours_keep_days: int = setting(
        DAYS,
        default=120,  # A quarter and a month to compare it with.
        unit="days",
        doc="How long sums by the hour are kept.",
    )
    days_keep_days: int = setting(
        DAYS,
        default=800,  # Two years and a bit: this month and the same one twice before.
        unit="days",
        doc="How long sums by the day are kept.",
    )

    def problems(self) -> Found:
        """What is coarser is kept for longer."""
        if self.minutes_keep_days > self.hours_keep_days:
            yield "hours_keep_days", "must not be less than minutes_keep_days"
        if self.hours_keep_days > self.days_keep_days:
            yield "days_keep_days", "must not be less than hours_keep_days"
