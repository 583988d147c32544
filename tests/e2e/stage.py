"""A real gateway process in front of a mock upstream, for tests from outside.

Both listen on loopback ports of the system's choice and end with their block.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from bench.lib import gateways, procs, shape
from bench.lib.load import Target
from bench.lib.probe import counters
from bench.lib.upstream import Counters

KEY = "sk-acme-made-up-0001"
UPSTREAM_KEY = "sk-upstream-made-up"
WAIT_MAX_S = 20.0  # "It happened": a machine that is busy may take long, not for ever.
POLL_S = 0.01


@attrs.define
class Stage:
    """The running pair."""

    port: int
    config: Path
    state_dir: Path
    process: subprocess.Popen[bytes]
    upstream: Target
    log: Path

    @property
    def base_url(self) -> str:
        """What a client of OpenAI's is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def seen(self) -> Counters:
        """What the upstream has seen."""
        return counters(self.upstream)

    def until(self, what: str, check: Callable[[], object]) -> None:
        """Wait until `check` is true."""
        end = time.monotonic() + WAIT_MAX_S
        while not check():
            if time.monotonic() > end:
                raise AssertionError(f"not within {WAIT_MAX_S} s: {what}")
            time.sleep(POLL_S)

    def get(self, path: str, key: str = KEY) -> tuple[int, Any]:
        """One GET and its JSON."""
        status, _, body = self.ask("GET", path, key=key)
        return status, json.loads(body)

    def ask(
        self, method: str, path: str, body: object = None, key: str | None = KEY
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        try:
            raw = body if isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, raw if body is not None else None, headers)
            response = connection.getresponse()
            found = {k.lower(): v for k, v in response.getheaders()}
            return response.status, found, response.read()
        finally:
            connection.close()

    def tree(self) -> dict[str, Any]:
        """The live tree, as the control socket tells it."""
        done = subprocess.run(
            [
                gateways.stagedoor(),
                "tree",
                "--json",
                "--state-dir",
                str(self.state_dir),
            ],
            capture_output=True,
            check=True,
            timeout=30,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def actors(self) -> list[str]:
        """The ids of all actors."""

        def walk(node: dict[str, Any]) -> Generator[str, None, None]:
            yield node["id"]
            for child in node["children"]:
                yield from walk(child)

        return list(walk(self.tree()))

    def is_idle(self) -> bool:
        """No stream, no lease, no permit: everything is back."""
        busy = [a for a in self.actors() if a.startswith(("streams/", "vault/"))]
        return not busy and "in_flight': '0/" in str(self.tree())

    def open_stream(self, tag: str, deltas: int, gap_us: int) -> socket.socket:
        """A raw client whose answer has begun."""
        directive = shape.Directive(tag, stream=True, deltas=deltas, gap_us=gap_us)
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        host = f"127.0.0.1:{self.port}"
        sock.sendall(shape.request(directive, host=host, key=KEY))
        first = sock.recv(4096)
        assert first.startswith(b"HTTP/1.1 200"), first
        return sock

    def sockets_to_upstream(self) -> int:
        """Established connections from the gateway to its upstream, by the kernel."""
        wanted = f":{self.upstream.port:04X}"
        inodes = set()
        for fd in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                match = re.match(r"socket:\[(\d+)\]", str(fd.readlink()))
            except OSError:
                continue
            if match:
                inodes.add(match[1])
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return sum(
            row.split()[9] in inodes
            and row.split()[2].endswith(wanted)
            and row.split()[3] == "01"
            for row in rows
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_MAX_S)


def config_text(
    port: int,
    state_dir: Path,
    upstream: int,
    extra: str = "",
    *,
    server: str = "",
    site: str = "",
    deadlines: str = "",
) -> str:
    """One site, one provider, one model."""
    return f"""
[server]
bind = "127.0.0.1:{port}"
state_dir = "{state_dir}"
{server}
[server.deadlines]
write_s = 1.0
drain_s = 3.0
request_head_s = 1.0
{deadlines}
[[sites]]
name = "acme"
keys = ["{KEY}"]
{site}
[[providers]]
name = "mock"
kind = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
key_env = "E2E_UPSTREAM_KEY"
models = ["gpt-mock"]
[[models]]
name = "bench"
route = ["mock/gpt-mock"]
{extra}
"""


@contextmanager
def staged(
    folder: Path,
    extra: str = "",
    *,
    server: str = "",
    site: str = "",
    deadlines: str = "",
) -> Generator[Stage, None, None]:
    """Start both; end both. The last three hold further lines of their tables."""
    upstream = [sys.executable, "-m", "bench.lib.upstream"]
    with procs.started("mock", upstream, core=None, pipe_stdout=True) as mock:
        assert mock.popen.stdout is not None
        upstream_port = int(json.loads(mock.popen.stdout.readline())["port"])
        port = procs.free_port()
        state_dir = folder / "state"
        config = folder / "stagedoor.toml"
        config.write_text(
            config_text(
                port,
                state_dir,
                upstream_port,
                extra,
                server=server,
                site=site,
                deadlines=deadlines,
            )
        )
        log = folder / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [gateways.stagedoor(), "serve", "--config", str(config)],
                stdout=sink,
                stderr=sink,
                env={**os.environ, "E2E_UPSTREAM_KEY": UPSTREAM_KEY},
            )
        stage = Stage(
            port,
            config,
            state_dir,
            process,
            Target("127.0.0.1", upstream_port),
            log,
        )
        try:
            stage.until("the gateway listens", lambda: b"serves on" in log.read_bytes())
            yield stage
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(WAIT_MAX_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
