"""Small JSON requests: how many a second, at what CPU, how much later.

    python -m bench.unary [--quick]

The stock pair, Stagedoor and the mock alone take turns in one run, round by round,
so that a busy machine is busy for all of them. The gateway has one core, mock and
load share another. Every answer is checked to the byte.
"""

from __future__ import annotations

import argparse
from functools import partial

from bench.lib import gateways, profiler, report
from bench.lib.gateways import Gateway
from bench.lib.load import UnaryLoad, UnaryResult

CONNECTIONS = 32
PROMPT_BYTES = 65_536  # a document or a long conversation
PROMPT_CONNECTIONS = 8
WARM_S = 0.3  # pools fill, caches warm


def main() -> None:
    parser = gateways.options(__doc__)
    parser.add_argument("--seconds", type=float, help="length of one measurement")
    parser.add_argument(
        "--connections", type=int, default=CONNECTIONS, help="of the closed loop"
    )
    chosen = parser.parse_args()
    rounds = chosen.rounds or (2 if chosen.quick else 7)
    duration_s = chosen.seconds or (0.7 if chosen.quick else 2.0)
    count = chosen.connections
    numbers = report.Report("small JSON")
    with gateways.all_started(chosen) as (direct, measured):
        for gateway in measured:
            _memory(numbers, gateway, "memory, idle")
        for number in range(rounds):
            report.progress(chosen, [f"round {number + 1}/{rounds}:"])
            alone = _latency(direct, duration_s)
            numbers.add(
                direct.name,
                f"requests/s, {count} connections",
                "1/s",
                _rate(direct, count, duration_s),
            )
            _note_latency(numbers, direct, alone)
            for gateway in measured:
                if numbers.failed(gateway):
                    continue
                report.progress(chosen, [f"round {number + 1}/{rounds}:", gateway.name])
                with numbers.guard(gateway):
                    _throughput(numbers, gateway, count, duration_s)
                    _added(numbers, gateway, alone, duration_s)
                    _prompts(numbers, gateway, duration_s)
        for gateway in measured:
            if not numbers.failed(gateway):
                _memory(numbers, gateway, "memory, after the load")
        report.progress(chosen, [])
        _profile(chosen, measured, numbers)
        numbers.finish(chosen)


def _rate(gateway: Gateway, count: int, duration_s: float) -> float:
    with UnaryLoad(gateway.target, count) as load:
        load.run(WARM_S)
        return load.run(duration_s).per_second


def _throughput(
    numbers: report.Report, gateway: Gateway, count: int, duration_s: float
) -> None:
    assert gateway.process is not None
    with UnaryLoad(gateway.target, count) as load:
        load.run(WARM_S)
        before_s = gateway.process.cpu_s()
        result = load.run(duration_s)
        cpu_s = gateway.process.cpu_s() - before_s
    name = gateway.name
    cpu_us = cpu_s * 1e6 / result.requests
    numbers.add(name, f"requests/s, {count} connections", "1/s", result.per_second)
    numbers.add(name, f"CPU a request, {count} connections", "µs", cpu_us)
    # Well below 100: something else was on its core, and requests/s is too low.
    share = 100 * cpu_s / result.elapsed_s
    numbers.add(
        name, f"share of its core, {count} connections", "%", share, compare=False
    )
    numbers.add(
        name, f"latency p99, {count} connections", "µs", result.latency_us(0.99)
    )


def _added(
    numbers: report.Report, gateway: Gateway, alone: UnaryResult, duration_s: float
) -> None:
    behind = _latency(gateway, duration_s)
    _note_latency(numbers, gateway, behind)
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        added_us = behind.latency_us(quantile) - alone.latency_us(quantile)
        measure = f"added latency {name}, 1 connection"
        numbers.add(gateway.name, measure, "µs", added_us)


def _latency(gateway: Gateway, duration_s: float) -> UnaryResult:
    with UnaryLoad(gateway.target, 1) as load:
        load.run(WARM_S)
        return load.run(duration_s)


def _prompts(numbers: report.Report, gateway: Gateway, duration_s: float) -> None:
    assert gateway.process is not None
    with UnaryLoad(
        gateway.target, PROMPT_CONNECTIONS, prompt_bytes=PROMPT_BYTES
    ) as load:
        load.run(WARM_S)
        before_s = gateway.process.cpu_s()
        result = load.run(duration_s)
        cpu_us = (gateway.process.cpu_s() - before_s) * 1e6 / result.requests
    measure = "CPU a request, 64 KiB prompt, 8 connections"
    numbers.add(gateway.name, measure, "µs", cpu_us)


def _note_latency(
    numbers: report.Report, gateway: Gateway, result: UnaryResult
) -> None:
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        measure = f"latency {name}, 1 connection"
        numbers.add(gateway.name, measure, "µs", result.latency_us(quantile))


def _memory(numbers: report.Report, gateway: Gateway, measure: str) -> None:
    assert gateway.process is not None
    mib = gateway.process.rss_bytes() / 2**20
    numbers.add(gateway.name, measure, "MiB", mib)


def _profile(
    chosen: argparse.Namespace, measured: list[Gateway], numbers: report.Report
) -> None:
    if not chosen.profile:
        return
    for gateway in measured:
        with (
            numbers.guard(gateway),
            UnaryLoad(gateway.target, chosen.connections) as load,
        ):
            profiler.profile(
                gateway, chosen.profile, "unary", partial(load.run, WARM_S)
            )


if __name__ == "__main__":
    main()
