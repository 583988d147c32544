"""Thousands of open streams at a delta a second: order, lateness, memory.

    python -m bench.streams [--streams 5000] [--quick]
    python -m bench.streams --streams 9900 --only stagedoor --leaving .05 --stalled .01

All are open at once, all are read to their end, every delta is checked; but those that
leave at a random delta, or stop reading at one. When the clients have gone, a gateway
that shows its metrics must hold nothing any more. The stock pair gets a tenth of them:
it does not keep up with more, and its memory a stream can be read from that.
"""

from __future__ import annotations

from bench.lib import gateways, report
from bench.lib.drained import Held, held, wait_drained
from bench.lib.gateways import Gateway
from bench.lib.load import StreamLoad, StreamResult, Target, allow_files
from bench.lib.verify import AnswerError

STREAMS = 5_000
GAP_US = 1_000_000
OPENED_PER_S = 500  # slow on purpose: what opening costs is a row of its own
MANY = 5_000  # more than these are most of a core's work: they are opened slower
OPENED_PER_S_OF_MANY = 250
FILES_SPARE = 100  # what a gateway has open besides
LATE = 1.5  # opening may take this much longer than the ramp, and all are still open
STAY_DELTAS = 6  # after the last stream has opened


def main() -> None:
    parser = gateways.options(__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--stock-streams", type=int, help="default: a tenth")
    parser.add_argument(
        "--leaving", type=float, default=0.0, help="a share of them leaves at random"
    )
    parser.add_argument(
        "--stalled", type=float, default=0.0, help="a share of them stops reading"
    )
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
        for gateway in measured:  # What is loaded once is no stream's memory.
            _first(gateway.target)
        idle = {gateway.name: _rss_bytes(gateway) for gateway in measured}
        waywards = {"leaving": chosen.leaving, "stalled": chosen.stalled}
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
                    before = _held(gateway, direct)
                    load = _load(gateway.target, count, **waywards)
                    result = _measure(
                        numbers, gateway, load, idle_bytes=idle[gateway.name]
                    )
                    if before is not None:
                        drained_s = wait_drained(gateway, direct.target, before)
                        numbers.add(gateway.name, "holds nothing after", "s", drained_s)
                    added_ms = result.steady.gap_ms(0.99) - alone.steady.gap_ms(0.99)
                    numbers.add(gateway.name, "added gap p99, all open", "ms", added_ms)
        report.progress(chosen, [])
        numbers.finish(chosen)


def _held(gateway: Gateway, direct: Gateway) -> Held | None:
    """What it holds now, where it can be asked."""
    return held(gateway, direct.target) if gateway.actors() else None


def _load(
    target: Target, streams: int, *, leaving: float = 0.0, stalled: float = 0.0
) -> StreamLoad:
    ramp_s = streams / (OPENED_PER_S if streams <= MANY else OPENED_PER_S_OF_MANY)
    deltas = STAY_DELTAS + int(LATE * ramp_s * 1e6 / GAP_US) + 1
    return StreamLoad(
        target,
        streams=streams,
        deltas=deltas,
        gap_us=GAP_US,
        ramp_s=ramp_s,
        leaving=leaving,
        stalled=stalled,
    )


def _first(target: Target) -> None:
    StreamLoad(target, streams=1, deltas=2, gap_us=0, ramp_s=0).run()


def _rss_bytes(gateway: Gateway) -> int:
    assert gateway.process is not None
    return gateway.process.rss_bytes()


def _measure(
    numbers: report.Report, gateway: Gateway, load: StreamLoad, *, idle_bytes: int
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

    end_s = 0.0

    def first_end() -> None:
        nonlocal end_s
        end_s = process.cpu_s()

    result = load.run(look, first_end)
    streams = result.streams
    if result.open_peak < streams:
        raise AnswerError(
            f"only {result.open_peak} of {streams} streams were open at once, the "
            "first ended before the last began; try fewer --streams on this machine"
        )
    delta_us = (end_s - open_s) * 1e6 / result.deltas_steady
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
    if result.left or result.stalled:
        numbers.add(name, "left early", "", result.left, compare=False)
        numbers.add(name, "stopped reading", "", result.stalled, compare=False)
    for title, quantile in (("p50", 0.5), ("p99", 0.99)):
        measure = f"a delta's way {title}, all open"
        numbers.add(name, measure, "ms", result.steady.delay_ms(quantile))


if __name__ == "__main__":
    main()
