"""Breaker policy of one provider. Pure: no trio, no clock, no randomness.

Owns the verdict; the actor owns the consequence (exit `Tripped`). The three states are
the actor's life: closed is a running incarnation, open is the supervisor's backoff,
half-open is a new incarnation on probation.

| state     | good    | bad   | throttled | key     | neutral |
|-----------|---------|-------|-----------|---------|---------|
| closed    | forgive | count | cool      | disable | nothing |
| probation | promote | trip  | cool      | disable | nothing |

- bad is a failure, a deadline that passed, and an answer that was slower than
  `slow_call_s`: an answer that nobody waits for is none.
- forgive: one success forgives one failure, so a provider that fails every second call
  is as useless as one that fails five times in a row.
- count: at `failures_max` it trips.
- cool: no calls until Retry-After. disable: no calls with this key.
- neutral: the client's fault, or its leaving, says nothing about the provider.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.provider.messages import Outcome, OutcomeKind

FAILURES_MAX = 5  # Three trips on deploy blips, eight reacts a minute late.
COOL_DEFAULT_S = 1.0  # A 429 without Retry-After: long enough to stop a stampede.
COOL_MAX_S = 60.0  # Some providers say an hour; a probe a minute costs nothing.

State = Literal["closed", "probation"]
Event = Literal["good", "bad", "throttled", "key", "neutral"]
Action = Literal["forgive", "promote", "count", "trip", "cool", "disable", "nothing"]
Verdict = Literal["same", "promote", "trip"]

EVENTS: Final[dict[OutcomeKind, Event]] = {
    "ok": "good",
    "slow": "bad",
    "failed": "bad",
    "throttled": "throttled",
    "key": "key",
    "client": "neutral",
    "cancelled": "neutral",
}

NEXT: Final[dict[tuple[State, Event], Action]] = {
    ("closed", "good"): "forgive",
    ("closed", "bad"): "count",
    ("closed", "throttled"): "cool",
    ("closed", "key"): "disable",
    ("closed", "neutral"): "nothing",
    ("probation", "good"): "promote",
    ("probation", "bad"): "trip",
    ("probation", "throttled"): "cool",
    ("probation", "key"): "disable",
    ("probation", "neutral"): "nothing",
}


class Health(Struct, frozen=True):
    """What the breaker remembers. `probation` holds until the first success."""

    failures: int = 0
    probation: bool = False
    cooling_until: float | None = None
    key_refused: bool = False


def born(*, probation: bool, key_refused: bool = False) -> Health:
    """The health a new incarnation starts with."""
    return Health(probation=probation, key_refused=key_refused)


def event_of(outcome: Outcome, slow_call_s: float | None = None) -> Event:
    """What an outcome means to the breaker."""
    event = EVENTS[outcome.kind]
    if event == "good" and slow_call_s is not None:
        waited_s = outcome.first_content_s
        if waited_s is not None and waited_s > slow_call_s:
            return "bad"
    return event


def proven(health: Health) -> tuple[Health, Verdict]:
    """A probe's first content came: it works, and need not end before others start.

    A recovery that waits for the probe's last token is a minute late.
    """
    return (Health(), "promote") if health.probation else (health, "same")


def record(
    health: Health,
    outcome: Outcome,
    now: float,
    failures_max: int = FAILURES_MAX,
    *,
    slow_call_s: float | None = None,
) -> tuple[Health, Verdict]:
    """Take one outcome of this epoch; say what follows."""
    state: State = "probation" if health.probation else "closed"
    match NEXT[state, event_of(outcome, slow_call_s)]:
        case "forgive":
            failures = max(0, health.failures - 1)
            return replace(health, failures=failures, key_refused=False), "same"
        case "promote":
            return Health(), "promote"
        case "count":
            failures = health.failures + 1
            tripped = failures >= failures_max
            return replace(health, failures=failures), "trip" if tripped else "same"
        case "trip":
            return replace(health, failures=health.failures + 1), "trip"
        case "cool":
            wait_s = outcome.retry_after_s
            wait_s = COOL_DEFAULT_S if wait_s is None else min(wait_s, COOL_MAX_S)
            until = max(health.cooling_until or 0.0, now + wait_s)
            return replace(health, cooling_until=until), "same"
        case "disable":
            # The provider is well, our key is not: no trip, but no calls either.
            return replace(health, key_refused=True), "same"
        case "nothing":
            return health, "same"
