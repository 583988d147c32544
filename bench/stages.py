"""Where a request's time goes, stage by stage: calls, and shares of the loop's time.

    python -m bench.stages [--quick]
    python -m bench.stages --deltas [--streams 100] [--gap-ms 20]

The gateway runs under cProfile behind the load of `bench.unary`; with `--deltas`, while
so many streams are open and none begins or ends: what a delta costs. Counts of calls do
not depend on what else the machine does, so they tell whether a change made a request
cheaper when clocks cannot. System calls are the sockets' own and epoll's; what a stage
waits for another thread to let go of the interpreter is in there too. Of deltas at
their pace epoll's are counted and not timed: that is mostly waiting for the next.
"""

from __future__ import annotations

import argparse
import os
import pstats
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.lib import gateways
from bench.lib.gateways import Gateway
from bench.lib.load import StreamLoad, UnaryLoad

CONNECTIONS: Final = 32
WARM_S: Final = 3.0  # The tokenizer loads after the first answer, in a thread.
WRITE_S_MAX: Final = 20.0
STREAMS: Final = 100
GAP_MS: Final = 20.0
RAMP_S: Final = 2.0  # Not all in one tick.

STAGES: Final = {
    "edge (sockets, HTTP/1.1)": r"^gateway/(http11|listen)",
    "routes and auth": r"^gateway/(http/|sites|access|roster)",
    "log line and metrics": r"^gateway/",
    "stream: plan to record": r"^actors/stream/",
    "token count": r"^actors/(router/)?tokens/|splintr",
    "router": r"^actors/router/",
    "ledger": r"^actors/ledger/",
    "vault and lease": r"^actors/vault/",
    "records and audit log": r"^(actors/(auditor|archivist|herald)|storage)/",
    "provider's admission": r"^actors/provider/(actor|admission|breaker|fair|limits)",
    "transport to the provider": r"^actors/provider/|httpx/",
    "wire dialects": r"^wire/",
    "actor kernel": r"^runtime/",
    "trio": r"trio/|outcome/|contextlib|attrs generated",
}
SYSTEM_CALL: Final = re.compile(r"'(?:send|recv|poll)' of '(?:_socket|select)")
SYSTEM_CALLS: Final = "system calls"
ELSEWHERE: Final = "elsewhere"
# Called once a request, whatever becomes of it.
ONCE: Final = ("actors/stream/attempt.py", "_give_back")

Key = tuple[str, int, str]
Of = tuple[int, int, float, float]
Table = Mapping[Key, tuple[int, int, float, float, Mapping[Key, Of]]]
FINE: Final = 20  # Below this, a tenth of a call is told.


def main() -> None:
    """Profile, and print the table."""
    parser = gateways.options(__doc__)
    parser.add_argument("--deltas", action="store_true", help="of open streams")
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--gap-ms", type=float, default=GAP_MS)
    chosen = parser.parse_args()
    seconds = 3.0 if chosen.quick else 10.0
    with tempfile.TemporaryDirectory(prefix="stagedoor-stages-") as folder:
        out = Path(folder, "profile")
        command = f"{sys.executable} -m bench.lib.profiled {{config}} {out}"
        chosen.also, chosen.only = [f"profiled={command}"], "profiled"
        with gateways.all_started(chosen) as (_, [gateway]):
            assert gateway.process is not None
            pid = gateway.process.popen.pid
            with UnaryLoad(gateway.target, CONNECTIONS) as load:
                load.run(WARM_S)
                if not chosen.deltas:
                    os.kill(pid, signal.SIGUSR2)
                    load.run(seconds)
                    os.kill(pid, signal.SIGUSR2)
            deltas = _stream(gateway, chosen, seconds, pid) if chosen.deltas else 0
            _wait_for(out)
        if chosen.markdown:
            print(f"`python -m bench.stages {' '.join(sys.argv[1:])}`\n")
        stats = pstats.Stats(str(out))
        if deltas:
            _print(stats, "delta", deltas, waits=True)
        else:
            _print(stats, "request", _requests(stats))


def _stream(
    gateway: Gateway, chosen: argparse.Namespace, seconds: float, pid: int
) -> int:
    """Profile while all are open; how many deltas came meanwhile."""
    load = StreamLoad(
        gateway.target,
        streams=chosen.streams,
        deltas=int((seconds + 2 * RAMP_S) * 1e3 / chosen.gap_ms),
        gap_us=int(chosen.gap_ms * 1e3),
        ramp_s=RAMP_S,
    )

    def toggle() -> None:
        os.kill(pid, signal.SIGUSR2)

    return load.run(toggle, toggle).deltas_steady


def _wait_for(out: Path) -> None:
    until = time.monotonic() + WRITE_S_MAX
    while not out.exists():
        if time.monotonic() > until:
            raise SystemExit(f"no profile after {WRITE_S_MAX:g} s")
        time.sleep(0.1)


def _table(stats: pstats.Stats) -> Table:
    table: Table = stats.stats  # type: ignore[attr-defined]  # Not in typeshed.
    return table


def _requests(stats: pstats.Stats) -> int:
    for (file, _, function), (_, calls, _, _, _) in _table(stats).items():
        if file.endswith(ONCE[0]) and function == ONCE[1]:
            return calls
    raise SystemExit("no request came to its end while it was looked at")


def _print(stats: pstats.Stats, what: str, times: int, *, waits: bool = False) -> None:
    times_s: defaultdict[str, float] = defaultdict(float)
    ours: Counter[str] = Counter()
    builtins: Counter[str] = Counter()
    for (file, _, function), (_, calls, own_s, _, callers) in _table(stats).items():
        if file != "~":
            stage = stage_of(file)
            times_s[stage] += own_s
            ours[stage] += calls
        elif SYSTEM_CALL.search(function):
            if not (waits and "poll" in function):
                times_s[SYSTEM_CALLS] += own_s
            builtins[SYSTEM_CALLS] += calls
        else:  # A built-in function is its caller's.
            for (caller, _, _), (_, count, of_it_s, _) in callers.items():
                times_s[stage_of(caller)] += of_it_s
                builtins[stage_of(caller)] += count
    total_s = sum(times_s.values())
    print("| stage | share of the loop's time | Python calls | built-in calls |")
    print("|---|---|---|---|")
    for stage, own_s in sorted(times_s.items(), key=lambda one: -one[1]):
        print(
            f"| {stage} | {100 * own_s / total_s:.1f} % | {_per(ours[stage], times)} "
            f"| {_per(builtins[stage], times)} |"
        )
    print(
        f"| together, a {what} | | {_per(sum(ours.values()), times)} "
        f"| {_per(sum(builtins.values()), times)} |"
    )


def _per(count: int, times: int) -> str:
    each = count / times
    return f"{each:.0f}" if each >= FINE else f"{each:.1f}"


def stage_of(file: str) -> str:
    """The stage that a source file belongs to."""
    where = file
    for mark in ("site-packages/", f"{Path.cwd()}/"):
        where = where.rpartition(mark)[2]
    for stage, pattern in STAGES.items():
        if re.search(pattern, where):
            return stage
    return ELSEWHERE


if __name__ == "__main__":
    main()
