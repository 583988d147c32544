"""When the archivist tries again, and what it may forget. Pure."""

from __future__ import annotations

from typing import Final

from actors.archivist.ports import Keep

FIRST_RETRY_S: Final = 0.5
RETRY_CAP_S: Final = 15.0  # A database that is back is caught up with within that.
LOOK_AGAIN_S: Final = 30.0  # Lines come with a message; this is for one that is lost.
# Between two transactions, unless somebody waits: the sums of a minute are written once
# for all the requests of that time, and so is each page of an index.
GATHER_S: Final = 0.5
PURGE_EVERY_S: Final = 600.0
PURGE_TURN_S: Final = 120.0  # One part is deleted in well under a second.
DAY_MS: Final = 86_400_000


class KeepDays:
    """How long each kind is kept, in days."""

    def __init__(self, records: int, minutes: int, hours: int, days: int) -> None:
        self.records = records
        self.minutes = minutes
        self.hours = hours
        self.days = days

    def __repr__(self) -> str:
        return f"<KeepDays {self.records}/{self.minutes}/{self.hours}/{self.days}>"

    def since(self, now_ms: int) -> Keep:
        """From when on each kind is kept."""
        return Keep(
            records_ms=now_ms - self.records * DAY_MS,
            minutes_ms=now_ms - self.minutes * DAY_MS,
            hours_ms=now_ms - self.hours * DAY_MS,
            days_ms=now_ms - self.days * DAY_MS,
        )


def retry_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return min(RETRY_CAP_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 16))
