"""Who may call a provider now. Pure; the actor keeps the permits and the queue.

Permits outlive an incarnation: a stream admitted before a trip still uses the
deployment's capacity, so the count belongs to the cell.
"""

from typing import Final, Literal

from msgspec import Struct

from actors.provider.breaker import Health

QUEUE_MAX = 64  # One burst of a full pool; longer waits are better spent elsewhere.
PROBING_RETRY_S = 1.0  # A probe's first content comes that soon, or not at all.
KEY_RETRY_S = 30.0  # A refused key is tried again that often, by one call.

Decision = Literal[
    "permit",
    "probe",
    "queue",
    "busy",
    "probing",
    "cooling",
    "rate_limited",
    "key_refused",
]

NotNow = Literal["probing", "cooling", "rate_limited", "key_refused"]
NOT_NOW: Final[tuple[NotNow, ...]] = (
    "probing",
    "cooling",
    "rate_limited",
    "key_refused",
)


class Limits(Struct, frozen=True):
    """Bounds of one deployment."""

    in_flight_max: int
    queue_max: int = QUEUE_MAX


def admit(
    health: Health,
    limits: Limits,
    *,
    in_flight: int,
    probing: int,
    queued: int,
    now: float,
    key_retry_at: float,
    rate_full_until: float | None = None,
) -> Decision:
    """Decide for one asker. The order of the checks is the order of the reasons."""
    if health.key_refused and now < key_retry_at:
        return "key_refused"
    if health.cooling_until is not None and now < health.cooling_until:
        return "cooling"
    if rate_full_until is not None and now < rate_full_until:
        return "rate_limited"
    if health.probation:
        return "probing" if probing else "probe"
    if in_flight < limits.in_flight_max and not queued:
        return "permit"
    return "queue" if queued < limits.queue_max else "busy"


def has_spare(
    health: Health, limits: Limits, *, in_flight: int, queued: int, probing: bool
) -> bool:
    """Whether a call that no client waits for may have a permit.

    A fifth of them stays for clients, and so does a sick provider's one test, unless
    to test it is what the call is for.
    """
    if health.probation:
        return probing
    return not queued and in_flight * 5 < limits.in_flight_max * 4


def share_of(in_flight_max: int, processes: int) -> int:
    """This process's part of the calls that all of them may have at once.

    Nobody is left without any: where there are more processes than calls, as many calls
    as processes run at the most.
    """
    return max(1, in_flight_max // max(1, processes))
