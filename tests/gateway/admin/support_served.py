"""A real `stagedoor serve` in a process of its own, with an owner's token."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parents[3]
START_S: Final = 60.0  # On a busy machine; it takes two.
TOKEN: Final = "sk-test-owner-0123456789abcdef"
TENANT_TOKEN: Final = "sk-test-tenant-0123456789abcdef"
SITE_KEY: Final = "sk-acme-dev-0001"

CONFIG: Final = """
[server]
bind = "127.0.0.1:0"
state_dir = "{state}"
[database]
{database}
[[admin.tokens]]
name = "root"
keys = ["{token}"]
role = "owner"
[[admin.tokens]]
name = "tenant"
keys = ["{tenant_token}"]
role = "owner"
tenants = ["t1"]
[[tenants]]
name = "t1"
[[sites]]
name = "acme"
keys = ["{site_key}"]
[[sites]]
name = "shop"
tenant = "t1"
[[providers]]
name = "main"
kind = "simulated"
models = ["m"]
[[models]]
name = "fast"
route = ["main/m"]
"""


@attrs.frozen
class Served:
    """A running gateway."""

    url: str
    folder: Path
    log: Path
    is_sqlite: bool = True

    @property
    def config(self) -> Path:
        """Its file."""
        return self.folder / "stagedoor.toml"

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / "state"


@contextmanager
def served(folder: Path, database: str = "", **env: str) -> Iterator[Served]:
    """Run it around the body; ended by its process id."""
    state = folder / "state"
    config = folder / "stagedoor.toml"
    config.write_text(
        CONFIG.format(
            state=state,
            database=f'url = "{database}"' if database else "",
            token=TOKEN,
            tenant_token=TENANT_TOKEN,
            site_key=SITE_KEY,
        )
    )
    log = folder / "log"
    with log.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=err,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        )  # fmt: skip
    try:
        yield Served(_url(process), folder, log, not database)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _url(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    until = time.monotonic() + START_S
    told = b""
    while time.monotonic() < until and process.poll() is None:
        if select.select([process.stdout], [], [], 1.0)[0]:
            told += os.read(process.stdout.fileno(), 65536)
            if found := re.search(rb"http://127\.0\.0\.1:\d+", told):
                return found[0].decode()
    raise AssertionError(f"it did not start: {told!r}")
