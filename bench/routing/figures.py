"""What a day came to: the figures that are judged, and those that explain them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, pvariance
from typing import Final

from msgspec import Struct

from bench.routing.baselines import BASELINES
from bench.routing.engine import Engine, Player
from bench.routing.load import HOUR_S, Traced
from bench.routing.ours import Ours
from bench.routing.scenario import Scenario

BAND_FROM: Final = 8 * 1024
BAND_TO: Final = 32 * 1024
RECOVERY_AFTER_S: Final = 60.0
RECOVERY_WINDOW_S: Final = 600.0

PLAYERS: Final[dict[str, Callable[[Engine], Player]]] = {"ours": Ours, **BASELINES}


class Figures(Struct, frozen=True):
    """One player's day. Latencies in seconds; a failed request is at the deadline."""

    scenario: str
    trace: str
    player: str
    seed: int
    requests: int
    p50_s: float
    p95_s: float
    band_p95_s: float
    band_requests: int
    failed: int
    cut: int
    refused: int
    calls_per_request: float
    calls_per_request_outside_faults: float
    mean_cost_usd: float
    hourly_usd: tuple[float, ...]
    hourly_variance: float
    shares: dict[str, float]
    recovery: dict[str, float]
    overspent_usd: float
    retries: int
    hourly_p95_s: tuple[float, ...]
    hourly_failed: tuple[int, ...]
    hourly_shares: dict[str, tuple[float, ...]]


def play(
    scenario: Scenario, trace: list[Traced], trace_name: str, player: str, seed: int
) -> Figures:
    """Let one player have the day."""
    engine = Engine(scenario, trace, seed, PLAYERS[player])
    engine.run()
    requests = engine.requests
    latencies = [r.latency_s for r in requests]
    band = [
        r.latency_s for r in requests if BAND_FROM <= r.arrival.prompt_tokens <= BAND_TO
    ]
    quiet = [r for r in requests if not _in_fault(scenario, r.arrival.at)]
    results = Counter(r.result for r in requests)
    hourly = [nanousd / 1e9 for nanousd in engine.spent_by_hour]
    by_hour: list[list[float]] = [[] for _ in range(24)]
    failed_by_hour = [0] * 24
    at_by_hour: list[Counter[str]] = [Counter() for _ in range(24)]
    for request in requests:
        hour = int(request.arrival.at / HOUR_S) % 24
        by_hour[hour].append(request.latency_s)
        failed_by_hour[hour] += request.result == "failed"
        at_by_hour[hour][request.server] += 1
    chosen = Counter(r.server for r in requests)
    ours = engine.player if isinstance(engine.player, Ours) else None
    return Figures(
        scenario=scenario.name,
        trace=trace_name,
        player=player,
        seed=seed,
        requests=len(requests),
        p50_s=quantile(latencies, 0.5),
        p95_s=quantile(latencies, 0.95),
        band_p95_s=quantile(band, 0.95),
        band_requests=len(band),
        failed=results["failed"],
        cut=results["cut"],
        refused=results["refused"],
        calls_per_request=engine.calls / max(1, len(requests)),
        calls_per_request_outside_faults=(
            fmean(r.calls for r in quiet) if quiet else 0.0
        ),
        mean_cost_usd=sum(hourly) / max(1, len(requests)),
        hourly_usd=tuple(hourly),
        hourly_variance=pvariance(hourly),
        shares={name: chosen[name] / max(1, len(requests)) for name in engine.servers},
        recovery=_recovery(engine),
        overspent_usd=ours.till.overspent_nanousd / 1e9 if ours is not None else 0.0,
        retries=ours.retries_made if ours is not None else 0,
        hourly_p95_s=tuple(quantile(values, 0.95) for values in by_hour),
        hourly_failed=tuple(failed_by_hour),
        hourly_shares={
            name: tuple(at[name] / max(1, at.total()) for at in at_by_hour)
            for name in engine.servers
        },
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Of a list; 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _in_fault(scenario: Scenario, at: float) -> bool:
    return any(f.from_h * HOUR_S <= at < f.to_h * HOUR_S for f in scenario.faults)


def _recovery(engine: Engine) -> dict[str, float]:
    """Each healed deployment's share from a minute after, relative to before.

    Before is the same length of time right before the fault. All down is no fault of
    one deployment: everybody comes back at once.
    """
    found: dict[str, float] = {}
    for fault in engine.scenario.faults:
        if fault.kind not in ("outage", "brownout", "errors"):
            continue
        before = _share(
            engine,
            fault.deployment,
            fault.from_h * HOUR_S - RECOVERY_WINDOW_S,
            RECOVERY_WINDOW_S,
        )
        after = _share(
            engine,
            fault.deployment,
            fault.to_h * HOUR_S + RECOVERY_AFTER_S,
            RECOVERY_WINDOW_S,
        )
        if before:
            found[f"{fault.deployment} {fault.to_h:g}h"] = after / before
    return found


def _share(engine: Engine, name: str, begin: float, length: float) -> float:
    chosen = [
        r.first_choice
        for r in engine.requests
        if begin <= r.arrival.at < begin + length
    ]
    return chosen.count(name) / len(chosen) if chosen else 0.0
