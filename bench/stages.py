"""Where a request's time goes, stage by stage: calls, and shares of the loop's time.

    python -m bench.stages [--quick]

The gateway runs under cProfile behind the load of `bench.unary`. Counts of calls do not
depend on what else the machine does, so they tell whether a change made a request
cheaper when clocks cannot. System calls are the sockets' own and epoll's; what a stage
waits for another thread to let go of the interpreter is in there too.
"""

from __future__ import annotations

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
from bench.lib.load import UnaryLoad

CONNECTIONS: Final = 32
WARM_S: Final = 3.0  # The tokenizer loads after the first answer, in a thread.
WRITE_S_MAX: Final = 20.0

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


def main() -> None:
    """Profile, and print the table."""
    parser = gateways.options(__doc__)
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
                os.kill(pid, signal.SIGUSR2)
                load.run(seconds)
                os.kill(pid, signal.SIGUSR2)
            _wait_for(out)
        if chosen.markdown:
            quick = " --quick" if chosen.quick else ""
            print(f"`python -m bench.stages --markdown{quick}`\n")
        _print(pstats.Stats(str(out)))


def _wait_for(out: Path) -> None:
    until = time.monotonic() + WRITE_S_MAX
    while not out.exists():
        if time.monotonic() > until:
            raise SystemExit(f"no profile after {WRITE_S_MAX:g} s")
        time.sleep(0.1)


def _print(stats: pstats.Stats) -> None:
    table: Mapping[Key, tuple[int, int, float, float, Mapping[Key, Of]]]
    table = stats.stats  # type: ignore[attr-defined]  # There, and not in typeshed.
    times_s: defaultdict[str, float] = defaultdict(float)
    ours: Counter[str] = Counter()
    builtins: Counter[str] = Counter()
    requests = 0
    for (file, _, function), (_, calls, own_s, _, callers) in table.items():
        if file.endswith(ONCE[0]) and function == ONCE[1]:
            requests = calls
        if file != "~":
            stage = stage_of(file)
            times_s[stage] += own_s
            ours[stage] += calls
        elif SYSTEM_CALL.search(function):
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
            f"| {stage} | {100 * own_s / total_s:.1f} % | {ours[stage] / requests:.0f} "
            f"| {builtins[stage] / requests:.0f} |"
        )
    print(
        f"| together, a request | | {sum(ours.values()) / requests:.0f} "
        f"| {sum(builtins.values()) / requests:.0f} |"
    )


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
