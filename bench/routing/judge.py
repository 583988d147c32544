"""The bar, row by row, over all seeds: what must hold, and whether it does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Final

from msgspec import Struct

from bench.routing.figures import Figures

LATENCY_SCENARIOS: Final = ("brownout", "outage", "rate_limited", "mixed_long")
OTHERS: Final = ("random", "least_busy", "fastest_mean", "cheapest")
BAND_REQUESTS_MIN: Final = 200  # Fewer have no 95th percentile; then all are judged.
SUFFERS_S: Final = 1.5  # Times the best of the others: then (a) suffers.


class Row(Struct, frozen=True):
    """One requirement in one scenario."""

    figure: str
    where: str
    ours: str
    bar: str
    met: bool


def judge(figures: Sequence[Figures]) -> Iterator[Row]:
    """Every row of the table, for one trace."""
    by: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for one in figures:
        by[one.scenario, one.player].append(one)
    for scenario in dict.fromkeys(one.scenario for one in figures):
        ours = by[scenario, "ours"]
        others = {name: by[scenario, name] for name in ("fixed", *OTHERS)}
        yield from _scenario(scenario, ours, others)


def _scenario(
    scenario: str, ours: list[Figures], others: dict[str, list[Figures]]
) -> Iterator[Row]:
    banded = ours[0].band_requests >= BAND_REQUESTS_MIN
    mean = {
        n: _mean(f.band_p95_s if banded else f.p95_s for f in fs)
        for n, fs in others.items()
    }
    mine = _mean(f.band_p95_s if banded else f.p95_s for f in ours)
    best = min(OTHERS, key=mean.__getitem__)
    what = "p95, prompts of 8K to 32K" if banded else "p95"
    if scenario in LATENCY_SCENARIOS and mean["fixed"] > SUFFERS_S * mean[best]:
        yield Row(
            what,
            scenario,
            f"{mine:.2f} s",
            f"<= half of fixed: {mean['fixed'] / 2:.2f} s",
            mine <= mean["fixed"] / 2,
        )
    if scenario != "hard_cap":
        yield Row(
            what,
            scenario,
            f"{mine:.2f} s",
            f"<= best of the others ({best}): {mean[best]:.2f} s",
            mine <= mean[best],
        )
    if scenario not in ("all_down", "hard_cap"):
        failed = sum(f.failed for f in ours)
        yield Row("requests that fail", scenario, str(failed), "0", failed == 0)
    calls = max(f.calls_per_request_outside_faults for f in ours)
    yield Row(
        "calls a request, outside faults",
        scenario,
        f"{calls:.3f}",
        "<= 1.05",
        calls <= 1.05,
    )
    recoveries = [v for f in ours for v in f.recovery.values()]
    if recoveries and scenario != "all_down":
        worst = _mean(recoveries)
        yield Row(
            "share 60 s after a fault, of the former",
            scenario,
            f"{worst:.2f}",
            ">= 0.5",
            worst >= 0.5,
        )
    if scenario == "price_peak":
        variance = _mean(f.hourly_variance for f in ours)
        theirs = _mean(f.hourly_variance for f in others["fixed"])
        yield Row(
            "variance of hourly cost",
            scenario,
            f"{variance:.3g}",
            f"<= 40 % of fixed: {0.4 * theirs:.3g}",
            variance <= 0.4 * theirs,
        )
        cost = _mean(f.mean_cost_usd for f in ours)
        theirs = _mean(f.mean_cost_usd for f in others["fixed"])
        yield Row(
            "mean cost",
            scenario,
            f"${cost * 1000:.3f}/1000",
            f"< fixed: ${theirs * 1000:.3f}/1000",
            cost < theirs,
        )
    if scenario == "steady":
        cost = _mean(f.mean_cost_usd for f in ours)
        theirs = _mean(f.mean_cost_usd for f in others["cheapest"])
        yield Row(
            "mean cost",
            scenario,
            f"${cost * 1000:.3f}/1000",
            f"<= 1.25 x cheapest: ${1250 * theirs:.3f}/1000",
            cost <= 1.25 * theirs,
        )
    if scenario == "all_down":
        lost = _mean(f.failed for f in ours)
        least = min(_mean(f.failed for f in fs) for fs in others.values())
        yield Row(
            "requests that fail",
            scenario,
            f"{lost:.0f}",
            f"<= the least of the others: {least:.0f}",
            lost <= least,
        )
        retries = max(f.retries / f.requests for f in ours)
        yield Row(
            "retries a request",
            scenario,
            f"{retries:.4f}",
            "<= 0.1 (budget)",
            retries <= 0.1,
        )
    if scenario == "hard_cap":
        over = max(f.overspent_usd for f in ours)
        refused = sum(f.refused for f in ours)
        yield Row(
            "spend over a hard cap",
            scenario,
            f"${max(0.0, over):.6f} ({refused} refused)",
            "$0",
            over <= 0,
        )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fmean(found) if found else 0.0
