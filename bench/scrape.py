"""How long a scrape of `/metrics` holds the loop, at the most labels there can be.

    python -m bench.scrape                # a table, ms
    python -m bench.scrape --json

A registry at its bounds (2,000 kinds of traffic, 200 of timings, an exemplar in every
bucket) is scraped again and again while a task of the same loop comes back every
millisecond and measures how late it is. "snapshot" is what runs on the loop itself;
"late" is what the rendering thread costs it besides, through the interpreter's lock,
counted in the process's own CPU time: what else runs on the machine is not in it. The
bound is on the median of the rounds' worst. Exits 1 when that is over 5 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Final

import trio

from gateway import collector
from gateway.metrics import Mark, Metrics
from gateway.metrics.registry import HANDLES_MAX, TIMINGS_MAX
from gateway.serve import SWITCH_S

ROUNDS: Final = 5
HELD_MS_MAX: Final = 5.0
PROBE_S: Final = 0.001


def filled() -> Metrics:
    """As many labels as there may be."""
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 10.0  # So that no text is kept.
        return now_s

    metrics = Metrics(clock=clock)
    for number in range(HANDLES_MAX):
        model = f"model-{number % TIMINGS_MAX}"
        traffic = metrics.traffic(f"site-{number}", model, "chat", "main", "m")
        for place in range(8):
            duration_s = 0.02 * 2**place
            mark = Mark(f"req_{number:024x}", f"{number:032x}", 1.8e9)
            traffic.record(
                "ok",
                duration_s,
                first_content_s=duration_s / 2,
                tokens_in=100,
                tokens_out=20,
                spend_nanousd=1,
                mark=mark,
            )
    return metrics


async def late_ms(metrics: Metrics | None, accept: str) -> tuple[float, float]:
    """The latest that the probe was (CPU), and how long it was watched; in ms."""
    worst = 0.0
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:

        async def probe() -> None:
            nonlocal worst
            while True:
                began = time.process_time()
                await trio.sleep(PROBE_S)
                worst = max(worst, time.process_time() - began - PROBE_S)

        nursery.start_soon(probe)
        await trio.sleep(0.01)
        if metrics is None:
            await trio.sleep(0.3)
        else:
            await metrics.scrape(accept)
        nursery.cancel_scope.cancel(reason="scraped")
    return worst * 1e3, (time.perf_counter() - began) * 1e3


def measured() -> dict[str, float]:
    """Medians of the rounds, in ms."""
    sys.setswitchinterval(SWITCH_S)
    metrics = filled()
    collector.settle()  # As a gateway has it.
    snapshots: list[float] = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        metrics.snapshot()
        snapshots.append((time.thread_time() - began) * 1e3)
    found = {"snapshot": statistics.median(snapshots)}
    idle = [trio.run(late_ms, None, "")[0] for _ in range(ROUNDS)]
    found["late, no scrape"] = statistics.median(idle)
    for name, accept in (("text", ""), ("OpenMetrics", "application/openmetrics-text")):
        rounds = [trio.run(late_ms, metrics, accept) for _ in range(ROUNDS)]
        found[f"late, {name}"] = statistics.median(one[0] for one in rounds)
        found[f"whole scrape, {name}"] = statistics.median(one[1] for one in rounds)
    return found


def main() -> int:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    found = measured()
    if parser.parse_args().json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:28} {value:8.2f} ms")
    held = max(found["late, text"], found["late, OpenMetrics"])
    return int(held > HELD_MS_MAX)


if __name__ == "__main__":
    sys.exit(main())
