"""Who answers in real time: a served gateway, or a client that chooses by itself.

Each has stubs of its own, so that none warms a cache for another. The gateway runs in a
process of its own.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import IO, Final

import attrs
import httpx
import trio

from bench.routing.load import Arrival
from bench.routing.scenario import Scenario
from bench.routing.stubs import Stub

RETRIES: Final = 2
READY_S: Final = 30.0
STOP_S: Final = 10.0
IN_FLIGHT_OF_CAPACITY: Final = 3.0  # As in `ours.py`.


@attrs.define
class Served:
    """What came of one request."""

    arrival: Arrival
    ok: bool
    latency_s: float


Ask = Callable[[Arrival, bytes], Awaitable[Served]]


class Direct:
    """A client that chooses by itself."""

    def __init__(self, stubs: list[Stub], pick: str, client: httpx.AsyncClient) -> None:
        self.stubs = stubs
        self.pick = pick
        self.client = client
        self.in_flight: Counter[str] = Counter()
        self.rng = Random(1)

    def __repr__(self) -> str:
        return f"<Direct {self.pick}>"

    async def ask(self, arrival: Arrival, body: bytes) -> Served:
        """Try, and try again: the fixed one there, the other elsewhere."""
        tried: set[str] = set()
        for _ in range(1 + RETRIES):
            left = [stub for stub in self.stubs if stub.server.name not in tried]
            stub = self.stubs[0] if self.pick == "fixed" else self._least(left)
            name = stub.server.name
            tried.add(name)
            self.in_flight[name] += 1
            try:
                if await streamed(self.client, f"http://127.0.0.1:{stub.port}", body):
                    return Served(arrival, ok=True, latency_s=0)
            finally:
                self.in_flight[name] -= 1
        return Served(arrival, ok=False, latency_s=0)

    def _least(self, stubs: list[Stub]) -> Stub:
        low = min(self.in_flight[stub.server.name] for stub in stubs)
        return self.rng.choice(
            [stub for stub in stubs if self.in_flight[stub.server.name] == low]
        )


async def streamed(
    client: httpx.AsyncClient, base: str, body: bytes, key: str = "none"
) -> bool:
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    url = f"{base}/v1/chat/completions"
    try:
        async with client.stream("POST", url, content=body, headers=headers) as answer:
            text = await answer.aread()
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and b'"finish_reason":"stop"' in text


_CONFIG: Final = """\
[server]
bind = "127.0.0.1:{port}"
state_dir = "{folder}/state"
[server.deadlines]
connect_s = {connect_s}
headers_s = {headers_s}
first_content_s = {first_content_s}
idle_s = {total_s}
total_s = {call_s}
[[sites]]
name = "bench"
keys = ["{key}"]
[[models]]
name = "m"
route = [{route}]
[models.routing]
prefer = "{prefer}"
"""
_PROVIDER: Final = """\
[[providers]]
name = "{name}"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
models = ["m"]
in_flight_max = {in_flight_max}
key_env = "STUB_KEY"
[providers.prices."m"]
input_usd_per_mtok = "{input_usd}"
output_usd_per_mtok = "{output_usd}"
cached_input_usd_per_mtok = "{cached_usd}"
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _config(
    scenario: Scenario,
    stubs: list[Stub],
    pace: float,
    *,
    folder: str,
    port: int,
    key: str,
) -> str:
    first_s = scenario.deadlines.first_content_s / pace
    total_s = scenario.deadlines.total_s / pace
    names = [stub.server.name for stub in stubs]
    head = _CONFIG.format(
        port=port,
        folder=folder,
        key=key,
        connect_s=first_s / 4,
        headers_s=first_s * 0.9,
        first_content_s=first_s,
        total_s=total_s,
        call_s=total_s * 2,
        route=", ".join(f'"{name}/m"' for name in names),
        prefer=scenario.prefer,
    )
    return head + "".join(
        _PROVIDER.format(
            name=stub.server.name,
            port=stub.port,
            in_flight_max=max(4, round(IN_FLIGHT_OF_CAPACITY * stub.server.capacity)),
            input_usd=stub.server.model.input_usd,
            output_usd=stub.server.model.output_usd,
            cached_usd=stub.server.model.cached_usd or stub.server.model.input_usd,
        )
        for stub in stubs
    )


@asynccontextmanager
async def gateway(
    scenario: Scenario, stubs: list[Stub], pace: float, client: httpx.AsyncClient
) -> AsyncGenerator[Ask]:
    """`stagedoor serve`, in a process of its own, until the block ends."""
    key = f"sk-bench-{secrets.token_hex(16)}"
    port = _free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        config = _config(scenario, stubs, pace, folder=folder, port=port, key=key)
        path, log = _written(folder, config)
        with log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "gateway.cli", "serve", "--config", str(path)],
                env={**os.environ, "STUB_KEY": "sk-stub-0123456789abcdef"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            with trio.move_on_after(READY_S) as patience:
                while not await _is_ready(client, base):  # noqa: ASYNC110 - a process
                    await trio.sleep(0.2)
            if patience.cancelled_caught:
                raise SystemExit(f"the gateway was not ready in {READY_S:g} s")

            async def ask(arrival: Arrival, body: bytes) -> Served:
                ok = await streamed(client, base, body, key)
                return Served(arrival, ok=ok, latency_s=0)

            yield ask
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(STOP_S) as patience:
                process.send_signal(signal.SIGTERM)
                await process.wait()
            if patience.cancelled_caught:
                process.kill()


def _written(folder: str, config: str) -> tuple[Path, IO[bytes]]:
    Path(folder, "state").mkdir(mode=0o700)
    path = Path(folder, "stagedoor.toml")
    path.touch(mode=0o600)  # It holds a key.
    path.write_text(config)
    return path, Path(folder, "log").open("wb")


async def _is_ready(client: httpx.AsyncClient, base: str) -> bool:
    try:
        return (await client.get(f"{base}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False
