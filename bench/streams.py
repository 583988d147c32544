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

STREAMS = 5_000
GAP_US = 1_000_000
OPENED_PER_S = 1_500  # the ramp: opening is measured elsewhere
FILES_SPARE = 100  # what a gateway has open besides
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
                    added_ms = result.gap_ms(0.99) - alone.gap_ms(0.99)
                    numbers.add(gateway.name, "added gap p99", "ms", added_ms)
        report.progress(chosen, [])
        numbers.finish(chosen)


def _load(target: Target, streams: int) -> StreamLoad:
    ramp_s = streams / OPENED_PER_S
    deltas = STAY_DELTAS + int(ramp_s * 1e6 / GAP_US) + 1
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
    open_bytes = 0

    def look() -> None:
        nonlocal open_bytes
        open_bytes = process.rss_bytes()

    result = _load(gateway.target, streams).run(look)
    cpu_us = (process.cpu_s() - before_s) * 1e6 / (streams * result.deltas)
    kib = (open_bytes - idle_bytes) / streams / 1024
    numbers.add(gateway.name, "memory, idle", "MiB", idle_bytes / 2**20)
    numbers.add(gateway.name, "memory a stream", "KiB", kib)
    numbers.add(gateway.name, "CPU a delta, opening included", "µs", cpu_us)
    _note(numbers, gateway, result)
    return result


def _note(numbers: report.Report, gateway: Gateway, result: StreamResult) -> None:
    name = gateway.name
    numbers.add(name, "streams, all in order", "", result.streams)
    numbers.add(name, "open at once", "", result.open_peak)
    numbers.add(name, "a delta's way p50", "ms", result.delay_ms(0.5))
    numbers.add(name, "a delta's way p99", "ms", result.delay_ms(0.99))


if __name__ == "__main__":
    main()
