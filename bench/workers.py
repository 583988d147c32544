"""Two workers against one: CPU a request, and how even connections are shared.

    python -m bench.workers [--quick]

Gateways with one and with two workers take turns in one run, so that a busy machine is
busy for both: read the ratio, not the rates. All processes share all cores: what is
measured is what a request costs, not how many a second a small machine can do.
"""

from __future__ import annotations

import http.client
import re

from bench.lib import gateways, report
from bench.lib.gateways import Gateway
from bench.lib.load import Target, UnaryLoad

CONNECTIONS = 32
WARM_S = 0.3
COUNTS = (1, 2)

_REQUESTS = re.compile(rb'stagedoor_requests_total{[^}]*worker="(\d+)"[^}]*} ([0-9.]+)')


def main() -> None:
    parser = gateways.options(__doc__)
    parser.add_argument("--seconds", type=float, help="length of one measurement")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (3 if chosen.quick else 9)
    duration_s = chosen.seconds or (0.7 if chosen.quick else 2.0)
    numbers = report.Report("workers", where="all on all cores")
    costs_us: dict[int, list[float]] = {count: [] for count in COUNTS}
    with gateways.workers_started(COUNTS) as measured:
        for number in range(rounds):
            report.progress(chosen, [f"round {number + 1}/{rounds}"])
            for count, gateway in measured.items():
                cost_us = _cost_us(numbers, gateway, duration_s)
                costs_us[count].append(cost_us)
        for gateway in measured.values():
            _shares(numbers, gateway)
        report.progress(chosen, [])
    # Round by round: what disturbed one gateway disturbed the other, most likely.
    pairs = zip(*costs_us.values(), strict=True)
    for one, two in pairs:
        numbers.add(
            "2 workers", "CPU a request, as a multiple of one's", "x", two / one
        )
    numbers.finish(chosen)


def _cost_us(numbers: report.Report, gateway: Gateway, duration_s: float) -> float:
    assert gateway.process is not None
    with UnaryLoad(gateway.target, CONNECTIONS) as load:
        load.run(WARM_S)
        before_s = gateway.process.cpu_s()
        result = load.run(duration_s)
        cpu_s = gateway.process.cpu_s() - before_s
    cost_us = cpu_s * 1e6 / result.requests
    numbers.add(gateway.name, "CPU a request, 32 connections", "µs", cost_us)
    numbers.add(gateway.name, "requests/s, 32 connections", "1/s", result.per_second)
    return cost_us


def _shares(numbers: report.Report, gateway: Gateway) -> None:
    """The busiest worker's part of all requests; with one, all of them."""
    counts: dict[str, float] = {}
    for number, count in _REQUESTS.findall(_metrics(gateway.target)):
        counts[number.decode()] = counts.get(number.decode(), 0.0) + float(count)
    if counts:
        share = 100 * max(counts.values()) / sum(counts.values())
        numbers.add(gateway.name, "requests of the busiest worker", "%", share)


def _metrics(target: Target) -> bytes:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()


if __name__ == "__main__":
    main()
