"""Which deployments are asked how they are, and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from actors.prober.messages import Probed
from actors.router.messages import Deployment, Heard

JITTER: Final = 0.2  # Many gateways must not ask in step.
PROBATION_S: Final = 2.0  # It waits for the one call that lets the others in.
LOOKS: Final = 5  # In the shortest time that a deployment may be idle.
LOOK_S_MIN: Final = 1.0
NEVER: Final = float("-inf")


def look_s(probes: Sequence[Probed]) -> float:
    """How often to look."""
    shortest = min((one.idle_s for one in probes), default=60.0 * LOOKS)
    return max(LOOK_S_MIN, min(shortest / LOOKS, PROBATION_S))


def due(
    probes: Sequence[Probed],
    heard: Mapping[Deployment, Heard],
    asked_at: Mapping[Deployment, float],
    now: float,
) -> list[Probed]:
    """Those to ask now.

    A deployment that answers clients is never asked; one whose provider is out of use
    is left alone until it is on probation, and then asked at once. Of one provider's
    several, one is asked at a time.
    """
    found: list[Probed] = []
    providers: set[str] = set()
    for one in probes:
        known = heard.get(one.deployment)
        provider = one.deployment.provider
        if known is None or known.shut or provider in providers:
            continue
        asked = asked_at.get(one.deployment, NEVER)
        if known.probation:
            ready = now - asked >= PROBATION_S
        else:
            ready = now - max(known.at, asked) >= one.idle_s
        if ready:
            providers.add(provider)
            found.append(one)
    return found


def counted_from(one: Probed, now: float, rng: Random) -> float:
    """When this one counts as asked: a little earlier, so that gateways part."""
    return now - one.idle_s * rng.uniform(0.0, JITTER)
