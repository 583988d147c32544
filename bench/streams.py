"""Thousands of open streams at a delta a second: order, lateness, memory.

    python -m bench.streams [--streams 5000] [--quick]

All are open at once, all are read to their end, every delta is checked. The stock
pair gets a tenth of them: it does not keep up with more, and its memory a stream
can be read from that.
"""

from __future__ import annotations

from bench.lib import gateways, report
from bench.lib.gateways import Gateway
from bench.lib.load import StreamLoad, StreamResult, Target, allow_files
from bench.lib.verify import AnswerError

STREAMS = 5_000
GAP_US = 1_000_000
OPENED_PER_S = 500  # slow on purpose: what opening costs is a row of its own
FILES_SPARE = 100  # what a gateway has open besides
LATE = 1.5  # opening may take this much longer than the ramp, and all are still open
STAY_DELTAS = 6  # after the last stream has opened


def main() -> None:
    parser = gateways.options(__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--stock-streams", type=int, help="default: a tenth")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    streams = chosen.streams // 5 if chosen.quick else chosen.streams
    files = allow_files()
    if 2 * streams + FILES_SPARE > files:
        raise SystemExit(
            f"{streams} streams are {2 * streams} sockets for a gateway, the limit of "
            f"open files is {files}; raise it (ulimit -Hn) or ask for fewer --streams"
        )
    numbers = report.Report("open streams, a delta a second")
    with gateways.all_started(chosen) as (direct, measured):
        idle = {gateway.name: _rss_bytes(gateway) for gateway in measured}
        for number in range(rounds):
            report.progress(chosen, [f"round {number + 1}/{rounds}"])
            alone = _load(direct.target, streams).run()
            _note(numbers, direct, alone)
            for gateway in measured:
                if numbers.failed(gateway):
                    continue
                report.progress(chosen, [f"round {number + 1}/{rounds}", gateway.name])
                count = streams
                if gateway.name == "stock":
                    count = chosen.stock_streams or max(1, streams // 10)
                with numbers.guard(gateway):
                    result = _measure(numbers, gateway, count, idle[gateway.name])
                    added_ms = result.steady.gap_ms(0.99) - alone.steady.gap_ms(0.99)
                    numbers.add(gateway.name, "added gap p99, all open", "ms", added_ms)
        report.progress(chosen, [])
        numbers.finish(chosen)


def _load(target: Target, streams: int) -> StreamLoad:
    ramp_s = streams / OPENED_PER_S
    deltas = STAY_DELTAS + int(LATE * ramp_s * 1e6 / GAP_US) + 1
    return StreamLoad(
        target, streams=streams, deltas=deltas, gap_us=GAP_US, ramp_s=ramp_s
    )


def _rss_bytes(gateway: Gateway) -> int:
    assert gateway.process is not None
    return gateway.process.rss_bytes()


def _measure(
    numbers: report.Report, gateway: Gateway, streams: int, idle_bytes: int
) -> StreamResult:
    """One round. Memory grows from the idle start: what a round leaves is not free."""
    process = gateway.process
    assert process is not None
    before_s = process.cpu_s()
    open_s = 0.0
    open_bytes = 0

    def look() -> None:
        nonlocal open_bytes, open_s
        open_bytes = process.rss_bytes()
        open_s = process.cpu_s()

    result = _load(gateway.target, streams).run(look)
    if result.open_peak < streams:
        raise AnswerError(
            f"only {result.open_peak} of {streams} streams were open at once, the "
            "first ended before the last began; try fewer --streams on this machine"
        )
    delta_us = (process.cpu_s() - open_s) * 1e6 / result.deltas_steady
    opened_us = (open_s - before_s) * 1e6 / streams
    kib = (open_bytes - idle_bytes) / streams / 1024
    numbers.add(gateway.name, "memory, idle", "MiB", idle_bytes / 2**20)
    numbers.add(gateway.name, "memory a stream", "KiB", kib)
    numbers.add(gateway.name, "CPU to open a stream", "µs", opened_us)
    numbers.add(gateway.name, "CPU a delta, all open", "µs", delta_us)
    _note(numbers, gateway, result)
    return result


def _note(numbers: report.Report, gateway: Gateway, result: StreamResult) -> None:
    name = gateway.name
    numbers.add(name, "streams, all in order", "", result.streams, compare=False)
    numbers.add(name, "open at once", "", result.open_peak, compare=False)
    for title, quantile in (("p50", 0.5), ("p99", 0.99)):
        measure = f"a delta's way {title}, all open"
        numbers.add(name, measure, "ms", result.steady.delay_ms(quantile))


if __name__ == "__main__":
    main()
