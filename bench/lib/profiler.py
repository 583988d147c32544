"""A py-spy flame graph of a gateway under load, when py-spy is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.lib.gateways import Gateway

PROFILE_S = 5
RATE_HZ = 200  # each sample stops the gateway for a moment; this tells a 1 % function


def profile(
    gateway: Gateway, folder: str, name: str, load: Callable[[], object]
) -> None:
    """Record PROFILE_S seconds while ``load`` is called again and again."""
    if gateway.process is None:
        return
    beside = Path(sys.executable).with_name("py-spy")
    command = str(beside) if beside.exists() else shutil.which("py-spy")
    if command is None:
        raise SystemExit("--profile needs py-spy: install it beside this Python")
    out = Path(folder) / f"{name}-{gateway.name}.svg"
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [command, "record", "--pid", str(gateway.process.popen.pid)]
    words += ["--output", str(out), "--duration", str(PROFILE_S)]
    words += [
        "--rate",
        str(RATE_HZ),
    ]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as recorder:
        while recorder.poll() is None:
            load()
        assert recorder.stderr is not None
        said = recorder.stderr.read().decode(errors="replace")
    if recorder.returncode:
        raise SystemExit(f"py-spy failed ({recorder.returncode}): {said.strip()}")
    print(f"wrote {out}", file=sys.stderr)
