"""How many requests nobody could have served in time, whatever his policy.

All deployments become one machine of their summed speed, as of each moment: whatever
they can do side by side it can do one after the other. Each answer takes as long as on
the deployment that suits it best; no noise, no retries. Arrivals and deadlines are in
the same order, so serving in order of arrival is best, and once an answer would be late
somebody has to be left out: the one whose absence helps most (Kise, Ibaraki and Mine
1978: the least late jobs on one machine whose release dates and due dates agree).

`must_fail` knows each answer's length before it begins, and leaves out the longest. A
gateway knows none, and to leave out the long ones for good would be no service.
`late_in_order` is the same machine with one queue that leaves out nobody.

    python -m bench.routing.bound [SCENARIO …] [--traces NAME,…] [--seeds N]
"""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import msgspec

from bench.routing.load import (
    HOUR_S,
    Traced,
    arrivals,
    find_trace,
    mean_rate,
    read_trace,
)
from bench.routing.scenario import Scenario, all_scenarios, load_scenario
from bench.routing.world import SOFT_SLOPE, Model

FAULTS_COUNTED: Final = ("outage", "brownout")  # The others leave the speed as it is.


class Bound(msgspec.Struct, frozen=True):
    """Of one day: requests that come too late, at the least."""

    scenario: str
    trace: str
    seed: int
    requests: int
    must_fail: int
    late_in_order: int


def bound(scenario: Scenario, trace: list[Traced], name: str, seed: int) -> Bound:
    """Of the same arrivals that players get."""
    speed = _Speed(scenario, trace)
    came = arrivals(
        trace,
        from_s=scenario.from_h * HOUR_S,
        until_s=scenario.to_h * HOUR_S,
        rate=scenario.requests_per_s / mean_rate(trace),
        seed=seed,
    )
    deadline_s = scenario.deadlines.total_s
    jobs = [
        (
            speed.done_by(one.at),
            speed.done_by(one.at + deadline_s),
            speed.work(
                one.prompt_tokens, min(one.output_tokens, scenario.output_bound)
            ),
        )
        for one in came
    ]
    return Bound(
        scenario.name, name, seed, len(jobs), must_fail(jobs), late_in_order(jobs)
    )


Job = tuple[float, float, float]  # Its arrival, its deadline, its work.


def must_fail(jobs: Iterable[Job]) -> int:
    """The least number of late ones on one machine of speed 1."""
    busy: list[Job] = []  # Those that the machine has not been idle since.
    end = 0.0
    left_out = 0
    for job in jobs:
        came, due, work = job
        if came >= end:
            busy = []
        busy.append(job)
        end = max(end, came) + work
        if end > due:
            end, worst = min(
                (without, index) for index, without in enumerate(_ends(busy))
            )
            del busy[worst]
            left_out += 1
    return left_out


def late_in_order(jobs: Iterable[Job]) -> int:
    """How many are late when all are served, in the order in which they came."""
    end = 0.0
    late = 0
    for came, due, work in jobs:
        end = max(end, came) + work
        late += end > due
    return late


def _ends(busy: list[Job]) -> Iterator[float]:
    """When the machine is done without each of these."""
    # From job i on: the work of all, and the end if it begins when each may.
    rest = [0.0] * (len(busy) + 1)
    idle = [0.0] * (len(busy) + 1)
    for index in range(len(busy) - 1, -1, -1):
        came, _, work = busy[index]
        rest[index] = rest[index + 1] + work
        idle[index] = max(came + rest[index], idle[index + 1])
    end = 0.0
    for index, (came, _, work) in enumerate(busy):
        yield max(end + rest[index + 1], idle[index + 1], end)
        end = max(end, came) + work


class _Speed:
    """What all deployments can do together, from one time to another."""

    def __init__(self, scenario: Scenario, trace: list[Traced]) -> None:
        capacity = scenario.capacity(trace) / (1.0 + SOFT_SLOPE)
        self.models = scenario.deployments
        bound_tokens = scenario.output_bound
        self.means = {
            model.name: sum(
                _work(
                    model, line.prompt_tokens, min(line.completion_tokens, bound_tokens)
                )
                for line in trace
            )
            / len(trace)
            for model in self.models
        }
        changes = {scenario.from_h, scenario.to_h + 1.0}
        changes |= {model.from_h for model in self.models}
        faults = [f for f in scenario.faults if f.kind in FAULTS_COUNTED]
        changes |= {at for fault in faults for at in (fault.from_h, fault.to_h)}
        self.times = sorted(at * HOUR_S for at in changes if at >= scenario.from_h)
        self.speeds: list[float] = []
        self.done = [0.0]
        for begin, end in pairwise([*self.times, self.times[-1]]):
            speed = 0.0
            for model in self.models:
                if model.from_h * HOUR_S > begin:
                    continue
                share = 1.0
                for fault in faults:
                    on = fault.from_h * HOUR_S <= begin < fault.to_h * HOUR_S
                    if on and fault.deployment == model.name:
                        share *= fault.factor if fault.kind == "brownout" else 0.0
                speed += share * model.capacity * capacity / self.means[model.name]
            self.speeds.append(speed)
            self.done.append(self.done[-1] + speed * (end - begin))

    def done_by(self, at: float) -> float:
        """How much work it can have done by then."""
        index = bisect_right(self.times, at) - 1
        return self.done[index] + self.speeds[index] * (at - self.times[index])

    def work(self, prompt_tokens: int, output_tokens: int) -> float:
        """Of one answer, where it is least: in mean answers of that deployment."""
        return min(
            _work(model, prompt_tokens, output_tokens) / self.means[model.name]
            for model in self.models
        )


def _work(model: Model, prompt_tokens: int, output_tokens: int) -> float:
    return (
        model.overhead_s
        + prompt_tokens / model.prefill_tokens_per_s
        + output_tokens / model.decode_tokens_per_s
    )


def main() -> None:
    """Parse, compute, say."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing.bound")
    parser.add_argument("scenarios", nargs="*")
    parser.add_argument("--traces", default="code")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    for name in args.traces.split(","):
        trace = read_trace(find_trace(name))
        for path in all_scenarios():
            scenario = load_scenario(path)
            if args.scenarios and scenario.name not in args.scenarios:
                continue
            for seed in range(1, args.seeds + 1):
                print(msgspec.json.encode(bound(scenario, trace, name, seed)).decode())


if __name__ == "__main__":
    main()
