"""The books of one site. Pure: time is an argument, amounts are integers.

Invariant: spent + held never exceeds the cap by taking a hold; only a settle above its
hold (an overrun, reported) can, and then no further hold fits.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct, field

from actors.ledger.messages import SiteLimits

Window = Literal["day", "month", "total"]


class Account(Struct):
    """Spend of the current window, open holds, and requests in flight."""

    limits: SiteLimits
    window_start_s: float
    spent_nanousd: int = 0
    held_nanousd: int = 0
    streams: set[str] = field(default_factory=set[str])


def window_start_s(window: Window, now_s: float) -> float:
    """When the window that holds `now_s` (Unix time, UTC) began."""
    day = datetime.fromtimestamp(now_s, UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    match window:
        case "day":
            return day.timestamp()
        case "month":
            return day.replace(day=1).timestamp()
        case "total":
            return 0.0


def resets_at_s(window: Window, now_s: float) -> float | None:
    """When the window ends; None for one that never does."""
    start = datetime.fromtimestamp(window_start_s(window, now_s), UTC)
    match window:
        case "day":
            return (start + timedelta(days=1)).timestamp()
        case "month":
            # The 32nd day after a first is in the next month, whatever its length.
            return (start + timedelta(days=32)).replace(day=1).timestamp()
        case "total":
            return None


def roll(account: Account, now_s: float) -> None:
    """Begin a new window if the old one is over. Open holds move with it."""
    start = window_start_s(account.limits.spend_window, now_s)
    # Clocks that step back must not give a site its money again.
    if start > account.window_start_s:
        account.window_start_s = start
        account.spent_nanousd = 0


def room_nanousd(account: Account) -> int | None:
    """What can still be held; None without a cap."""
    cap = account.limits.spend_nanousd_max
    if cap is None:
        return None
    return max(0, cap - account.spent_nanousd - account.held_nanousd)


def fits(account: Account, nanousd: int) -> bool:
    """Whether a hold of this size can be taken."""
    room = room_nanousd(account)
    return room is None or nanousd <= room


def may_enter(account: Account, stream_id: str) -> bool:
    """Whether one more request may be in flight."""
    in_flight_max = account.limits.in_flight_max
    return (
        in_flight_max is None
        or stream_id in account.streams
        or len(account.streams) < in_flight_max
    )
