"""The rotation of a provider's key, as a table. Pure: time is an argument.

    minting ──minted──► probing ──probed──► overlap ──over──► deactivating
       │                   │                   │                   │ deactivated
       │failed             │failed             │refused            ▼
       └───────────────────┴─────► rolling_back ◄──refused──── watching
                                        │ undone                   │ quiet
                                        ▼                          ▼
                                   rolled_back      done ◄─────── deleting

The new key is in use from `overlap` on, the old one stays good until `deactivating`
and can come back until `deleting`. No key is deactivated before another was probed.
Every state's act may be repeated: a restart goes on from the stored state.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

State = Literal[
    "minting",
    "probing",
    "overlap",
    "deactivating",
    "watching",
    "deleting",
    "rolling_back",
    "done",
    "rolled_back",
]
Event = Literal[
    "minted", "probed", "over", "deactivated", "quiet", "deleted", "refused", "undone",
    "failed",
]  # fmt: skip

NEXT: Final[dict[tuple[State, Event], State]] = {
    ("minting", "minted"): "probing",
    ("minting", "failed"): "rolling_back",
    ("probing", "probed"): "overlap",
    ("probing", "failed"): "rolling_back",
    ("overlap", "over"): "deactivating",
    ("overlap", "refused"): "rolling_back",
    ("deactivating", "deactivated"): "watching",
    ("deactivating", "refused"): "rolling_back",
    ("watching", "quiet"): "deleting",
    ("watching", "refused"): "rolling_back",
    ("deleting", "deleted"): "done",
    ("rolling_back", "undone"): "rolled_back",
}
ENDS: Final[frozenset[State]] = frozenset({"done", "rolled_back"})

DAY_S: Final = 86_400.0
FAILURES_MAX: Final = 5  # In a row, with pauses between: about half an hour.
PAUSE_FIRST_S: Final = 30.0
PAUSE_CAP_S: Final = 900.0
REFUSALS_MAX: Final = 3  # One 401 may be a hiccup; three mean that the key is bad.


class Timing(Struct, frozen=True):
    """How long the stages of a rotation last."""

    period_s: float = 30 * DAY_S
    overlap_s: float = DAY_S
    watch_s: float = DAY_S
    retry_s: float = DAY_S  # After a rollback, before it is tried again.


def follow(state: State, event: Event) -> State:
    """The state after an event; KeyError is a bug of the caller."""
    return NEXT[state, event]


def due_at(created_s: float, timing: Timing) -> float:
    """When an active key is to be rotated."""
    return created_s + timing.period_s


def is_overdue(created_s: float, now_s: float, timing: Timing) -> bool:
    """Whether an operator should hear of it: a day is given for what is automatic."""
    return now_s > due_at(created_s, timing) + DAY_S


def wait_until(state: State, since_s: float, timing: Timing) -> float:
    """Until when a state only waits; 0 for those that act at once."""
    match state:
        case "overlap":
            return since_s + timing.overlap_s
        case "watching":
            return since_s + timing.watch_s
        case "rolled_back":
            return since_s + timing.retry_s
        case _:
            return 0.0


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return float(min(PAUSE_CAP_S, PAUSE_FIRST_S * 2.0 ** min(failures - 1, 16)))


def gives_up(state: State, failures: int, *, lasting: bool) -> bool:
    """Whether a failing state rolls back; past `probing` it is tried for ever.

    The old key still serves in `minting` and `probing`, so giving up costs nothing.
    Later there is nothing better than to try again: the alarm is the failure count.
    """
    return state in ("minting", "probing") and (lasting or failures >= FAILURES_MAX)
