"""The gateway under cProfile: SIGUSR2 begins, the next one ends and writes.

    python -m bench.lib.profiled CONFIG OUT

The profile is of the loop's thread alone, and makes every Python call some 0.4 us
dearer: shares and counts are to be read from it, not microseconds.
"""

from __future__ import annotations

import cProfile
import signal
import sys
from pathlib import Path

from gateway.cli import main as cli


def main() -> None:
    """Serve until SIGTERM."""
    config, out = sys.argv[1:]
    profile = cProfile.Profile()
    running = False

    def toggle(_signal: int, _frame: object) -> None:
        nonlocal running
        if running:
            profile.disable()
            profile.dump_stats(f"{out}.part")
            Path(f"{out}.part").replace(out)  # Whole, or not there.
        else:
            profile.enable()
        running = not running

    signal.signal(signal.SIGUSR2, toggle)
    sys.argv = ["stagedoor", "serve", "--config", config]
    cli()


if __name__ == "__main__":
    main()
