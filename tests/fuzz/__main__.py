"""Fuzz every target for a bounded time, led by coverage: `make fuzz`.

    python -m tests.fuzz --seconds 60            # all targets together
    python -m tests.fuzz --only sse --seconds 600
    python -m tests.fuzz --only sse --replay FILE

Each target runs in a process of its own, seeded from the recordings; what libFuzzer
finds worth keeping stays in the corpus folder for the next time. Exits 1 when a target
broke its promise, and says which input to replay.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

INPUT_BYTES_MAX = 8192  # Long enough for a stream of some events, short to mutate.
HANG_S = 10  # One input; a bound that does not hold shows as a hang.
MEMORY_MB_MAX = 2048


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for all together")
    parser.add_argument("--only", default="", help="one target")
    parser.add_argument("--corpus", type=Path, help="kept between runs")
    parser.add_argument("--replay", type=Path, help="run one input of --only")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return _inside(given.only, given.corpus, given.seconds)
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - atheris is first inside

    if given.replay is not None:
        TARGETS[given.only](given.replay.read_bytes())
        print(f"{given.only}: holds")
        return 0
    names = [given.only] if given.only else list(TARGETS)
    with tempfile.TemporaryDirectory() as made:
        corpus = given.corpus or Path(made)
        each_s = max(1, given.seconds // len(names))
        broken = [name for name in names if not _run(name, corpus / name, each_s)]
    print(f"{len(names) - len(broken)} of {len(names)} targets held")
    return 1 if broken else 0


def _run(name: str, corpus: Path, seconds: int) -> bool:
    from tests.fuzz.targets import seeds  # noqa: PLC0415 - see above

    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds(name):
        short = seed[:INPUT_BYTES_MAX]
        (corpus / hashlib.sha256(short).hexdigest()).write_bytes(short)
    asked = ["--inside", "--only", name, "--corpus", str(corpus)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *asked, "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds + 120,  # Imports are instrumented, which takes seconds.
    )
    lines = done.stdout.splitlines()
    told = [line for line in lines if line.startswith("Done")]
    print(f"{name:24} {told[-1] if told else f'BROKEN (exit {done.returncode})'}")
    if done.returncode:
        print("\n".join(lines[-40:]))
    return done.returncode == 0


def _inside(name: str, corpus: Path, seconds: int) -> int:
    import atheris  # type: ignore[import-not-found]  # noqa: PLC0415 - make fuzz has it

    with atheris.instrument_imports(include=["wire"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented

    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={INPUT_BYTES_MAX}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MB_MAX}",
            f"-artifact_prefix=fuzz-{name}-",
            str(corpus),
        ],
        TARGETS[name],
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
