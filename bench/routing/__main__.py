"""Judge the router in a simulated day.

python -m bench.routing SCENARIO.toml --trace FILE --seed N --json
python -m bench.routing --all [--seeds N] [--traces NAME,…]   RESULTS.md and plots
python -m bench.routing --all --players ours   the others' figures stay as they are
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean

import msgspec

from bench.routing.bound import Bound, bound
from bench.routing.figures import PLAYERS, Figures, play
from bench.routing.judge import Row, judge
from bench.routing.load import find_trace, read_trace
from bench.routing.plots import plot_all
from bench.routing.scenario import (
    Scenario,
    all_scenarios,
    load_scenario,
)

OUT = Path(__file__).with_name("RESULTS.md")
DOCS = Path(__file__).parents[2] / "docs" / "routing"
FIGURES = Path(__file__).with_name(".figures")
TRACES = ("long_context", "chat", "code")


class Kept(msgspec.Struct):
    """The figures of one player, with one trace, in one scenario."""

    trace: str
    requests: int
    cpu_s: float
    figures: list[Figures]


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.routing", description=__doc__
    )
    parser.add_argument("scenario", nargs="?", help="a TOML file, or a shipped name")
    parser.add_argument("--trace", default="long_context", help="a file, or a name")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--players", default=",".join(PLAYERS))
    parser.add_argument("--json", action="store_true", help="figures as JSON lines")
    parser.add_argument("--rate", type=float, help="mean requests a second")
    parser.add_argument("--all", action="store_true", help="judge everything")
    parser.add_argument("--report", action="store_true", help="of what was played")
    parser.add_argument("--seeds", type=int, default=10, help="for --all")
    parser.add_argument("--traces", default=",".join(TRACES), help="for --all")
    parser.add_argument("--only", help="for --all: scenarios by name; the rest stays")
    args = parser.parse_args()
    if args.all:
        only = args.only.split(",") if args.only else []
        players = args.players.split(",")
        judge_all(args.traces.split(","), args.seeds, args.rate, only, players)
        return
    if args.report:
        report()
        return
    if args.scenario is None:
        parser.error("name a scenario, or use --all")
    scenario = _rated(find_scenario(args.scenario), args.rate)
    trace = read_trace(find_trace(args.trace))
    for player in args.players.split(","):
        figures = play(scenario, trace, Path(args.trace).stem, player, args.seed)
        if args.json:
            print(msgspec.json.encode(figures).decode())
        else:
            print(_line(figures))


def find_scenario(name: str) -> Scenario:
    """By path, or by the name of one that is shipped."""
    path = Path(name)
    if not path.exists():
        shipped = {p.stem.partition("_")[2]: p for p in all_scenarios()}
        if name not in shipped:
            sys.exit(f"there is no scenario {name}; shipped: {', '.join(shipped)}")
        path = shipped[name]
    return load_scenario(path)


def judge_all(
    traces: list[str],
    seeds: int,
    rate: float | None,
    only: list[str],
    players: list[str],
) -> None:
    """Every scenario, every player, every seed; then the table and the plots."""
    FIGURES.mkdir(exist_ok=True)
    for name in traces:
        trace = read_trace(find_trace(name))
        for path in all_scenarios():
            scenario = _rated(load_scenario(path), rate)
            if only and scenario.name not in only:
                continue
            began = time.perf_counter()
            for player in players:
                if scenario.cap_usd is not None and player != "ours":
                    continue  # Without a ledger it would be the steady day again.
                used = time.process_time()
                figures = [
                    play(scenario, trace, name, player, seed)
                    for seed in range(1, seeds + 1)
                ]
                count = sum(one.requests for one in figures)
                kept = Kept(name, count, time.process_time() - used, figures)
                file = FIGURES / f"{name}.{path.stem}.{player}.json"
                file.write_bytes(msgspec.json.encode(kept))
            took_s = time.perf_counter() - began
            print(f"{name} {scenario.name} {took_s:.0f} s", flush=True)
    if set(players) == set(PLAYERS):
        report()


def report() -> None:
    """RESULTS.md and the plots, from the figures of the last runs."""
    kept = [
        msgspec.json.decode(path.read_bytes(), type=Kept)
        for path in sorted(FIGURES.glob("*.json"))
    ]
    figures: dict[str, list[Figures]] = defaultdict(list)
    for one in kept:
        figures[one.trace] += one.figures
    for ones in figures.values():
        ones.sort(key=lambda one: list(PLAYERS).index(one.player))
    names = [name for name in TRACES if name in figures]
    names += [name for name in figures if name not in names]
    count = sum(figure.requests for one in kept for figure in one.figures)
    timed = sum(one.requests for one in kept)
    used = sum(one.cpu_s for one in kept)
    head = _PREFACE.format(
        machine=f"{platform.machine()}, Python {platform.python_version()}",
        count=count,
        rate=timed / used * 60,
    )
    OUT.write_text(head + "\n".join(_section(name, figures[name]) for name in names))
    DOCS.mkdir(parents=True, exist_ok=True)
    plot_all([f for f in figures[names[0]] if f.seed == 1], DOCS)
    print(f"wrote {OUT}")


_PREFACE = """\
# Results of the routing simulation

Written by `python -m bench.routing --all`. Each day is simulated with several seeds and
six players: ours, and five baselines (`baselines.py` says how they choose and retry).
What is simulated is the world (`world.py`); every decision of ours is the product's own
code. Scenarios and all their parameters are the files in `scenarios/`; the first
deployment alone would carry the trace's mean load at 70 % of its capacity, the day
swings by half around its mean, and a trace's gaps are stretched to a mean of
`requests_per_s`. A request that fails counts as long as its deadline, 120 s. After how
long a request stands by elsewhere was chosen on seeds 11 and 12 of `code`; how long it
may wait in all (100 s), earlier, on its seed 1, which is among these.

{count:,} requests, {rate:,.0f} a minute of CPU ({machine}).

"""


def _section(name: str, figures: list[Figures]) -> str:
    seeds = max(one.seed for one in figures)
    bounds = _bounds(name, figures)
    lines = [f"## {name}, {seeds} seeds", "", "### The bar", ""]
    lines += ["| figure | scenario | ours | must be | |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.figure} | {r.where} | {r.ours} | {r.bar} | {_verdict(r, bounds)} |"
        for r in judge(figures)
    ]
    lines += ["", "### Everybody", ""]
    lines += [
        (
            "| scenario | player | p50 s | p95 s | p95 s, 8K-32K (min-max) | failed "
            "| cut | calls a request | $ a 1000 requests | hourly variance |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for one in figures:
        by[one.scenario, one.player].append(one)
    for (scenario, player), ones in by.items():
        band = [f.band_p95_s for f in ones]
        lines.append(
            f"| {scenario} | {player} | {fmean(f.p50_s for f in ones):.2f} "
            f"| {fmean(f.p95_s for f in ones):.2f} "
            f"| {fmean(band):.2f} ({min(band):.2f}-{max(band):.2f}) "
            f"| {fmean(f.failed for f in ones):.1f} "
            f"| {fmean(f.cut for f in ones):.1f} "
            f"| {fmean(f.calls_per_request for f in ones):.3f} "
            f"| {1000 * fmean(f.mean_cost_usd for f in ones):.3f} "
            f"| {fmean(f.hourly_variance for f in ones):.3g} |"
        )
    lines += _possible(bounds, figures)
    return "\n".join(lines) + "\n"


_BOUND = (
    "Failed or cut, all seeds together, beside what nobody could have done better "
    "(`bound.py`): one machine of the summed speed of all deployments, that knows how "
    "long each answer will be and leaves out the longest; and the same machine with "
    "one queue, which leaves out nobody. Of faults only outages and brownouts count "
    "against it: it is never told 429."
)


def _bounds(name: str, figures: list[Figures]) -> dict[str, list[Bound]]:
    """Where ours left requests without an answer: what nobody could have done."""
    lost = {
        one.scenario
        for one in figures
        if one.player == "ours" and one.failed + one.cut and one.scenario != "hard_cap"
    }
    shown = {p.stem.partition("_")[2]: p for p in all_scenarios()}
    seeds = sorted({one.seed for one in figures})
    trace = read_trace(find_trace(name))
    return {
        scenario: [
            bound(load_scenario(shown[scenario]), trace, name, seed) for seed in seeds
        ]
        for scenario in shown
        if scenario in lost
    }


def _possible(bounds: dict[str, list[Bound]], figures: list[Figures]) -> list[str]:
    lost: dict[str, Counter[str]] = defaultdict(Counter)
    for one in figures:
        lost[one.scenario][one.player] += one.failed + one.cut
    lines: list[str] = []
    for scenario, least in bounds.items():
        by = lost[scenario]
        player = min((p for p in by if p != "ours"), key=by.__getitem__)
        lines.append(
            f"| {scenario} | {sum(b.requests for b in least):,} "
            f"| {sum(b.must_fail for b in least):,} "
            f"| {sum(b.late_in_order for b in least):,} | {by['ours']:,} "
            f"| {by[player]:,} ({player}) |"
        )
    if not lines:
        return []
    return [
        "",
        "### Without a whole answer in time",
        "",
        _BOUND,
        "",
        "| scenario | requests | at the least | perfect queue | ours | best other |",
        "|---|---|---|---|---|---|",
        *lines,
    ]


def _verdict(row: Row, bounds: dict[str, list[Bound]]) -> str:
    if row.met:
        return "met"
    least = sum(one.must_fail for one in bounds.get(row.where, ()))
    if row.figure == "requests that fail" and least and row.bar == "0":
        return f"not met; nobody can: at least {least}"
    return "NOT MET"


def _line(one: Figures) -> str:
    shares = " ".join(f"{name}={share:.2f}" for name, share in one.shares.items())
    return (
        f"{one.player:13} {one.requests:6} requests  p95 {one.p95_s:7.2f} s  "
        f"8K-32K {one.band_p95_s:7.2f} s  failed {one.failed:5}  cut {one.cut:4}  "
        f"calls {one.calls_per_request:.3f}  ${1000 * one.mean_cost_usd:.3f}/1000  "
        f"{shares}"
    )


def _rated(scenario: Scenario, rate: float | None) -> Scenario:
    return (
        scenario
        if rate is None
        else msgspec.structs.replace(scenario, requests_per_s=rate)
    )


if __name__ == "__main__":
    main()
