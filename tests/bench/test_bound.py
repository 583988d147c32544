"""The bound that no policy can beat: right on small days, by trying everything."""

from __future__ import annotations

from itertools import combinations
from random import Random

from msgspec.structs import replace

from bench.routing.bound import bound, late_in_order, must_fail
from bench.routing.load import Traced
from bench.routing.scenario import Scenario
from bench.routing.world import Fault, Model


def test_no_choice_of_jobs_loses_fewer() -> None:
    """Against every subset, served in order: that is the best order for it."""
    rng = Random(5)
    for _ in range(200):
        at = 0.0
        jobs: list[tuple[float, float, float]] = []
        for _ in range(rng.randrange(1, 9)):
            at += rng.expovariate(1.0)
            jobs.append((at, at + 2.0, rng.uniform(0.1, 2.5)))
        least = next(
            lost
            for lost in range(len(jobs) + 1)
            if any(
                not late_in_order(kept) for kept in combinations(jobs, len(jobs) - lost)
            )
        )
        assert must_fail(jobs) == least, jobs


def test_what_comes_while_nothing_works_is_lost_and_the_rest_is_not() -> None:
    """Two hours of outage of the only deployment: its own arrivals, no others."""
    trace = [
        Traced(1000 * n, prompt_tokens=100, completion_tokens=60) for n in range(60)
    ]
    alpha = (Model("alpha", noise=0.0),)
    calm = Scenario("calm", "", alpha, requests_per_s=0.1, utilisation=0.3)
    outage = Fault("alpha", "outage", from_h=10, to_h=12)
    gone = replace(calm, faults=(outage,))
    free = bound(calm, trace, "made", 1)
    assert free.must_fail == free.late_in_order == 0
    # Some 960 come in it; those of its last two minutes can still be answered.
    assert 900 < bound(gone, trace, "made", 1).must_fail < 1000
