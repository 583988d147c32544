"""Streams: one at full speed, a hundred at a model's pace, some left or not read.

    python -m bench.stream [--quick]

Every stream is read to its end and every delta checked for order, loss and doubling.
Each delta carries the moment the mock wrote it, so that its way through the gateway
is known to the microsecond.
"""

from __future__ import annotations

import argparse
from functools import partial

from bench.lib import aborts, gateways, hooked, probe, profiler, report
from bench.lib.gateways import Gateway
from bench.lib.load import StreamLoad, StreamResult, burst
from bench.lib.sockets import socket_burst

STREAMS = 100
GAP_US = 20_000  # 50 tokens a second: a fast hosted model
BURST_PROBE = 2_000  # tells how many deltas make a burst of about a second
BURST_MAX = 131_072  # 40 MB: what the mock and the reader hold at once
ALL_OPEN_S = 0.1  # a thousand requests a second: what opening costs, they wait for
TURNOVERS = 3  # How often a hundred streams are replaced by others, one by one
PROFILED_DELTAS = 50  # a second: the recorder is asked whether it is done after each
ABORTS = 200  # a round, of each kind: enough for a p99
ABORTS_QUICK = 40


def main() -> None:
    chosen = gateways.options(__doc__).parse_args()
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    deltas = 40 if chosen.quick else 100
    numbers = report.Report("streams")
    with gateways.all_started(chosen, extra=hooked.CONFIG) as (direct, measured):
        for number in range(rounds):
            report.progress(chosen, [f"round {number + 1}/{rounds}"])
            alone = _pace(direct, deltas)
            _note_pace(numbers, direct, alone)
            alone_coming = _come_and_go(direct, deltas)
            for gateway in measured:
                if numbers.failed(gateway):
                    continue
                report.progress(chosen, [f"round {number + 1}/{rounds}", gateway.name])
                with numbers.guard(gateway):
                    _burst(numbers, gateway, quick=chosen.quick)
                    if gateway.state_dir is not None and gateway.name != "stock":
                        _socket_burst(numbers, gateway, quick=chosen.quick)
                        _hooked_burst(numbers, gateway, quick=chosen.quick)
                    _paced(numbers, gateway, deltas, alone)
                    _note_first(
                        numbers,
                        gateway,
                        "one opens as another ends",
                        _come_and_go(gateway, deltas),
                        alone_coming,
                    )
                    _aborted(numbers, gateway, direct, quick=chosen.quick)
                    _stalled(numbers, gateway, direct)
        report.progress(chosen, [])
        _profile(chosen, measured, numbers)
        numbers.finish(chosen)


def _burst(numbers: report.Report, gateway: Gateway, *, quick: bool) -> None:
    rate = burst(gateway.target, BURST_PROBE)
    most = BURST_MAX // 8 if quick else BURST_MAX
    # A power of two, so that rounds ask for the same stream and the mock has it ready.
    deltas = max(BURST_PROBE, min(most, 1 << int(rate).bit_length() - 1))
    assert gateway.process is not None
    before_s = gateway.process.cpu_s()
    rate = burst(gateway.target, deltas)
    cpu_us = (gateway.process.cpu_s() - before_s) * 1e6 / deltas
    numbers.add(gateway.name, "one stream at full speed", "deltas/s", rate)
    numbers.add(gateway.name, "one stream at full speed: CPU a delta", "µs", cpu_us)


def _socket_burst(numbers: report.Report, gateway: Gateway, *, quick: bool) -> None:
    """The same over a WebSocket, where the gateway has them."""
    rate = socket_burst(gateway.target, BURST_PROBE)
    if rate is None:
        return
    most = BURST_MAX // 8 if quick else BURST_MAX
    deltas = max(BURST_PROBE, min(most, 1 << int(rate).bit_length() - 1))
    assert gateway.process is not None
    before_s = gateway.process.cpu_s()
    rate = socket_burst(gateway.target, deltas)
    assert rate is not None
    cpu_us = (gateway.process.cpu_s() - before_s) * 1e6 / deltas
    name = gateway.name
    numbers.add(name, "one WebSocket at full speed", "deltas/s", rate)
    numbers.add(name, "one WebSocket at full speed: CPU a delta", "µs", cpu_us)


def _hooked_burst(numbers: report.Report, gateway: Gateway, *, quick: bool) -> None:
    """The same through every shipped hook, of prose: they read and edit it."""
    rate = hooked.hooked_burst(gateway.target, BURST_PROBE)
    most = BURST_MAX // 8 if quick else BURST_MAX // 2
    deltas = max(BURST_PROBE, min(most, 1 << int(rate).bit_length() - 1))
    assert gateway.process is not None
    before_s = gateway.process.cpu_s()
    rate = hooked.hooked_burst(gateway.target, deltas)
    cpu_us = (gateway.process.cpu_s() - before_s) * 1e6 / deltas
    name = gateway.name
    numbers.add(name, "one stream with all hooks at full speed", "deltas/s", rate)
    numbers.add(name, "one stream with all hooks: CPU a delta", "µs", cpu_us)


def _pace(gateway: Gateway, deltas: int) -> StreamResult:
    load = StreamLoad(
        gateway.target,
        streams=STREAMS,
        deltas=deltas,
        gap_us=GAP_US,
        ramp_s=ALL_OPEN_S,
    )
    return load.run()


def _come_and_go(gateway: Gateway, deltas: int) -> StreamResult:
    """A hundred at a time, when about each of them ends another one opens."""
    lasts_s = deltas * GAP_US / 1e6
    load = StreamLoad(
        gateway.target,
        streams=STREAMS * (1 + TURNOVERS),
        deltas=deltas,
        gap_us=GAP_US,
        ramp_s=lasts_s * (1 + TURNOVERS),
        warm=STREAMS,
    )
    return load.run()


def _note_first(
    numbers: report.Report,
    gateway: Gateway,
    how: str,
    result: StreamResult,
    alone: StreamResult,
) -> None:
    for title, quantile in (("p50", 0.5), ("p99", 0.99)):
        added_ms = result.first_ms(quantile) - alone.first_ms(quantile)
        measure = f"100 streams, 20 ms, {how}: added time to first content {title}"
        numbers.add(gateway.name, measure, "ms", added_ms)


def _paced(
    numbers: report.Report, gateway: Gateway, deltas: int, alone: StreamResult
) -> None:
    assert gateway.process is not None
    before_s = gateway.process.cpu_s()
    result = _pace(gateway, deltas)
    cpu_us = (gateway.process.cpu_s() - before_s) * 1e6 / (STREAMS * deltas)
    name = gateway.name
    numbers.add(name, "100 streams, 20 ms: CPU a delta", "µs", cpu_us)
    _note_first(numbers, gateway, "all open within 0.1 s", result, alone)
    _note_pace(numbers, gateway, result)


def _note_pace(numbers: report.Report, gateway: Gateway, result: StreamResult) -> None:
    for title, quantile in (("p50", 0.5), ("p99", 0.99)):
        measure = f"100 streams, 20 ms: a delta's way {title}"
        numbers.add(gateway.name, measure, "ms", result.seen.delay_ms(quantile))


def _aborted(
    numbers: report.Report, gateway: Gateway, direct: Gateway, *, quick: bool
) -> None:
    """Clients that leave, by each way of reading that this gateway has."""
    ours = gateway.name != "stock" and gateway.state_dir is not None
    for kind, begin in aborts.KINDS.items():
        if kind != "SSE" and not ours:
            continue
        times = [
            aborts.abort_ms(begin, gateway.target, direct.target)
            for _ in range(ABORTS_QUICK if quick else ABORTS)
        ]
        times.sort()
        for title, quantile in (("p50", 0.5), ("p99", 0.99)):
            measure = f"client leaves ({kind}): upstream is left after {title}"
            at = times[min(len(times) - 1, int(len(times) * quantile))]
            numbers.add(gateway.name, measure, "ms", at)


def _stalled(numbers: report.Report, gateway: Gateway, direct: Gateway) -> None:
    assert gateway.process is not None
    before_bytes = gateway.process.rss_bytes()
    stalled = probe.stalled(gateway.target, direct.target)
    grown_mib = (gateway.process.rss_bytes() - before_bytes) / 2**20
    measure = "client reads nothing: taken from upstream"
    numbers.add(gateway.name, measure, "MiB", stalled.taken_bytes / 2**20)
    measure = "client reads nothing: memory grown"
    numbers.add(gateway.name, measure, "MiB", grown_mib, compare=False)


def _profile(
    chosen: argparse.Namespace, measured: list[Gateway], numbers: report.Report
) -> None:
    if not chosen.profile:
        return
    for gateway in measured:
        load = partial(_pace, gateway, PROFILED_DELTAS)
        with numbers.guard(gateway):
            profiler.profile(gateway, chosen.profile, "stream", load)


if __name__ == "__main__":
    main()
