"""Breaker policy of one provider. Pure: no trio, no clock, no randomness.

Owns the verdict; the actor owns the consequence (exit `Tripped`). The three states are
the actor's life: closed is a running incarnation, open is the supervisor's backoff,
half-open is a new incarnation on probation.

| state     | ok                   | slow or failed      | throttled  | other |
|-----------|----------------------|---------------------|------------|-------|
| closed    | failures fall by one | count; at max: trip | cool until | same  |
| probation | closed               | trip                | cool, stay | same  |
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.provider.messages import Outcome

FAILURES_MAX = 5  # Three trips on deploy blips, eight reacts a minute late.
COOL_DEFAULT_S = 1.0  # A 429 without Retry-After: long enough to stop a stampede.
COOL_MAX_S = 60.0  # Some providers say an hour; a probe a minute costs nothing.

Verdict = Literal["same", "promote", "trip"]


class Health(Struct, frozen=True):
    """What the breaker remembers. `probation` holds until the first success."""

    failures: int = 0
    probation: bool = False
    cooling_until: float | None = None
    key_refused: bool = False


def born(*, probation: bool, key_refused: bool = False) -> Health:
    """The health a new incarnation starts with."""
    return Health(probation=probation, key_refused=key_refused)


def record(
    health: Health, outcome: Outcome, now: float, failures_max: int = FAILURES_MAX
) -> tuple[Health, Verdict]:
    """Take one outcome of this epoch; say what follows."""
    match outcome.kind:
        case "ok":
            if health.probation:
                return Health(), "promote"
            # One success forgives one failure: a provider that fails every second call
            # is as useless as one that fails five times in a row.
            return replace(
                health, failures=max(0, health.failures - 1), key_refused=False
            ), "same"
        case "slow" | "failed":
            failures = health.failures + 1
            tripped = health.probation or failures >= failures_max
            return replace(health, failures=failures), "trip" if tripped else "same"
        case "throttled":
            wait_s = outcome.retry_after_s
            wait_s = COOL_DEFAULT_S if wait_s is None else min(wait_s, COOL_MAX_S)
            until = max(health.cooling_until or 0.0, now + wait_s)
            return replace(health, cooling_until=until), "same"
        case "key":
            # The provider is well, our key is not: no trip, but no calls either.
            return replace(health, key_refused=True), "same"
        case "client" | "cancelled":
            return health, "same"
