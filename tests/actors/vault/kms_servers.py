"""Real KMS servers for the tests: moto with IAM enforced, OpenBao's own binary.

Both live in an environment of their own (their dependencies are not ours), made once
from requirements/kms.lock in `.venv-kms`. STAGEDOOR_KMS_VENV names another one.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]
LOCK: Final = ROOT / "requirements" / "kms.lock"
START_S: Final = 60.0  # A cold start on a busy machine.


def venv() -> Path:
    """The environment with both servers; made on first use, by one process."""
    named = os.environ.get("STAGEDOOR_KMS_VENV")
    if named:
        return Path(named)
    folder = ROOT / ".venv-kms"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # Tests run in several processes, and half an installation has no moto.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    stamp = folder / "installed"
    if not stamp.exists() or stamp.stat().st_mtime < LOCK.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [
                folder / "bin" / "pip",
                "--disable-pip-version-check",
                "install",
                "--quiet",
                "--require-hashes",
                "-r",
                LOCK,
            ],
            check=True,
        )
        stamp.touch()


@contextmanager
def process(*command: str | Path, env: Mapping[str, str]) -> Iterator[Any]:
    """A server of ours, ended by its own handle."""
    with subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            yield server
        finally:
            server.terminate()
            assert server.stdout is not None
            server.stdout.read()


def free_port() -> int:
    """A port that the system had free a moment ago."""
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ask(
    url: str, value: Any = None, *, method: str = "", headers: Any = None
) -> dict[str, Any]:
    """JSON to a server of ours, to set it up."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    request = urllib.request.Request(  # noqa: S310 - our own server
        url,
        data=data if value is not None else None,
        method=method or ("POST" if value is not None else "GET"),
        headers=headers or {},
    )
    with urllib.request.urlopen(request, timeout=START_S) as response:  # noqa: S310
        body = response.read()
    return json.loads(body) if body.strip().startswith(b"{") else {}


def until_up(url: str) -> None:
    """Wait for a server to answer anything at all."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            ask(url)
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # A process starts; nothing here can tell us when.
        else:
            return
