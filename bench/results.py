"""Measure over HTTP, on this machine, now; renew those sections of RESULTS.md.

    python -m bench.results [options of the measurements, as --also NAME=COMMAND]

Sections of other measurements stay as they are.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OUT = Path(__file__).with_name("RESULTS.md")

PREFACE = """\
# Results

Written by `python -m bench.results`; each section names its own command.

How it is measured: everything in one run, the programs taking turns round by round,
so that whatever else the machine does hits all of them. The gateway is one process on
one core; mock upstream and load share another. Every answer and every delta is
checked; a wrong one fails the run. `stock` is hypercorn's trio worker and a shared
`httpx.AsyncClient` as they come, passing bytes through (bench/lib/stock.py): no
routing, no limits, no logs. `direct` is the mock with nothing in front. A number is
the median over rounds, with the smallest and the largest; `= 6x` compares with stock.
Where "share of its core" is well below 100 %, other programs had the rest: then CPU a
request and the ratios count, and rates and latencies are too pessimistic for both.

"""

SECTIONS = {
    "bench.unary": "Small JSON",
    "bench.stages": "Where the microseconds go",
    "bench.stages --deltas": "Where those of a delta go",
    "bench.stream": "Streams",
    "bench.streams": "Thousands of open streams",
}


def main() -> None:
    """Measure, and write only when everything was measured."""
    measured: dict[str, str] = {}
    for words, title in SECTIONS.items():
        module, *own = words.split()
        command = [sys.executable, "-m", module, *own, "--markdown", *sys.argv[1:]]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if ran.returncode:
            raise SystemExit(f"{module} failed; {OUT.name} is as it was\n{ran.stdout}")
        measured[title] = ran.stdout
    OUT.write_text(renewed(OUT.read_text() if OUT.exists() else "", measured))
    print(f"wrote {OUT}")


def renewed(old: str, measured: Mapping[str, str]) -> str:
    """The results with these sections in their places, new ones at the end."""
    sections: dict[str, str] = {}
    for part in f"\n{old}".split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        sections[title] = body.strip("\n")
    sections |= {title: body.strip("\n") for title, body in measured.items()}
    told = [f"## {title}\n\n{body}\n" for title, body in sections.items()]
    return PREFACE + "\n".join(told)


if __name__ == "__main__":
    main()
