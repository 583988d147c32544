"""The same scenarios in real time: a gateway, sockets, and stub providers over HTTP.

    python -m bench.routing.realtime [SCENARIO …] [--seconds 120] [--pace 5] [--json]

What the simulation drives as policy runs here as the product: `stagedoor serve` in a
process of its own, called over TCP, calling five stubs over TCP. The stubs are the
simulation's deployments (`world.py`) on a real clock. A day is shortened to `--seconds`
and faults come at the same parts of it; deployments work `--pace` times as fast, and
deadlines shrink as much. The gateway's own times (probes, breaker, patience) are real,
so the shape is to be compared, not the seconds.

Beside it, from the same arrivals and with stubs of their own: one fixed deployment with
naive retries, and the least busy one with exact counts, both called directly.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import IO, Final

import attrs
import httpx
import msgspec
import trio
from msgspec.structs import replace

from bench.routing.__main__ import find_scenario
from bench.routing.figures import BAND_FROM, BAND_TO, quantile
from bench.routing.load import Arrival, Traced, find_trace, mean_rate, read_trace
from bench.routing.scenario import Scenario
from bench.routing.stubs import Stub, asked
from bench.routing.world import Fault, Server

SECONDS: Final = 120.0
SECONDS_MAX: Final = 900.0
PACE: Final = 5.0
REQUESTS_PER_S: Final = 1.6  # Of the simulation's seconds; times `pace` in real ones.
REQUESTS_MAX: Final = 20_000
SCENARIOS: Final = ("steady", "brownout", "error_burst", "outage")
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
    server: str = ""
    calls: int = 1


class Result(msgspec.Struct, frozen=True):
    """One player's figures, in the simulation's seconds."""

    scenario: str
    player: str
    requests: int
    failed: int
    p50_s: float
    p95_s: float
    band_p95_s: float
    calls_per_request: float
    shares: dict[str, float]
    tenths_p95_s: tuple[float, ...]


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
        for count in range(1, RETRIES + 2):
            left = [stub for stub in self.stubs if stub.server.name not in tried]
            stub = self.stubs[0] if self.pick == "fixed" else self._least(left)
            name = stub.server.name
            tried.add(name)
            self.in_flight[name] += 1
            try:
                if await _streamed(self.client, f"http://127.0.0.1:{stub.port}", body):
                    return Served(
                        arrival, ok=True, latency_s=0, server=name, calls=count
                    )
            finally:
                self.in_flight[name] -= 1
        return Served(arrival, ok=False, latency_s=0, calls=RETRIES + 1)

    def _least(self, stubs: list[Stub]) -> Stub:
        low = min(self.in_flight[stub.server.name] for stub in stubs)
        return self.rng.choice(
            [stub for stub in stubs if self.in_flight[stub.server.name] == low]
        )


async def _streamed(
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


class Run:
    """One scenario, one player, its stubs and its clock."""

    def __init__(
        self, scenario: Scenario, trace: list[Traced], seconds: float, pace: float
    ) -> None:
        self.scenario = replace(scenario, requests_per_s=REQUESTS_PER_S)
        self.trace = trace
        self.seconds = seconds
        self.pace = pace
        self.served: list[Served] = []
        self.began = 0.0
        capacity = self.scenario.capacity(trace)
        self.stubs = [
            Stub(
                Server(model, model.capacity * capacity, Random(f"{model.name} 1")),
                self.clock,
                pace,
            )
            for model in scenario.deployments
        ]

    def __repr__(self) -> str:
        return f"<Run {self.scenario.name} {len(self.served)} served>"

    def clock(self) -> float:
        """The simulation's seconds since the start."""
        return max(0.0, trio.current_time() - self.began) * self.pace

    async def play(self, ask: Ask) -> None:
        """All arrivals, then until the last is answered."""
        self.began = trio.current_time()
        for stub in self.stubs:
            stub.server.at = 0.0
        total_s = self.scenario.deadlines.total_s / self.pace
        async with trio.open_nursery() as nursery:
            for fault in self.scenario.faults:
                nursery.start_soon(self._fault, fault)
            for arrival in self._arrivals():
                await trio.sleep_until(self.began + arrival.at / self.pace)
                nursery.start_soon(self._one, ask, arrival, total_s)

    async def _one(self, ask: Ask, arrival: Arrival, total_s: float) -> None:
        body = asked(arrival, self.scenario.output_bound)
        began = trio.current_time()
        served = Served(arrival, ok=False, latency_s=0)
        with trio.move_on_after(total_s):
            served = await ask(arrival, body)
        served.latency_s = (trio.current_time() - began) * self.pace
        if not served.ok:
            served.latency_s = self.scenario.deadlines.total_s
        self.served.append(served)

    async def _fault(self, fault: Fault) -> None:
        a_minute = 60.0 * self.scenario.requests_per_s
        fault = replace(fault, per_minute=max(1, int(fault.share * a_minute)))
        stub = next(s for s in self.stubs if s.server.name == fault.deployment)
        await trio.sleep_until(self.began + fault.from_h / 24.0 * self.seconds)
        stub.fault(fault, begins=True)
        await trio.sleep_until(self.began + fault.to_h / 24.0 * self.seconds)
        stub.fault(fault, begins=False)

    def _arrivals(self) -> list[Arrival]:
        """The trace from its start, without a day curve: a day is too short for one."""
        stretch = mean_rate(self.trace) / self.scenario.requests_per_s / 1000.0
        found: list[Arrival] = []
        for line in self.trace[:REQUESTS_MAX]:
            at = line.at_ms * stretch
            if at >= self.seconds * self.pace:
                break
            found.append(
                Arrival(
                    len(found),
                    at,
                    line.prompt_tokens,
                    line.completion_tokens,
                    line.prefix_blocks,
                    0,
                )
            )
        return found

    def result(self, player: str) -> Result:
        """What it came to."""
        served = self.served
        band = [s for s in served if BAND_FROM <= s.arrival.prompt_tokens <= BAND_TO]
        tenth = self.seconds * self.pace / 10.0
        tenths: list[list[float]] = [[] for _ in range(10)]
        for one in served:
            tenths[min(9, int(one.arrival.at / tenth))].append(one.latency_s)
        calls = Counter({stub.server.name: stub.calls for stub in self.stubs})
        total = max(1, calls.total())
        return Result(
            scenario=self.scenario.name,
            player=player,
            requests=len(served),
            failed=sum(not one.ok for one in served),
            p50_s=round(quantile([s.latency_s for s in served], 0.5), 2),
            p95_s=round(quantile([s.latency_s for s in served], 0.95), 2),
            band_p95_s=round(quantile([s.latency_s for s in band], 0.95), 2),
            calls_per_request=round(sum(s.calls for s in served) / len(served), 3),
            shares={name: round(n / total, 3) for name, n in calls.items()},
            tenths_p95_s=tuple(round(quantile(t, 0.95), 2) for t in tenths),
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _config(run: Run, folder: str, port: int, key: str) -> str:
    scenario, pace = run.scenario, run.pace
    first_s = scenario.deadlines.first_content_s / pace
    total_s = scenario.deadlines.total_s / pace
    names = [stub.server.name for stub in run.stubs]
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
        for stub in run.stubs
    )


async def _gateway(run: Run, client: httpx.AsyncClient) -> None:
    """Play through `stagedoor serve`, in a process of its own."""
    key = f"sk-bench-{secrets.token_hex(16)}"
    port = _free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        path, log = _written(folder, _config(run, folder, port, key))
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
                ok = await _streamed(client, base, body, key)
                return Served(arrival, ok=ok, latency_s=0)

            await run.play(ask)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(STOP_S) as patience:
                process.send_signal(signal.SIGTERM)
                await process.wait()
            if patience.cancelled_caught:
                process.kill()
    calls = sum(stub.calls for stub in run.stubs)
    for one in run.served:  # The gateway's calls are counted where they arrive.
        one.calls = 0
    if run.served:
        run.served[0].calls = calls


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


async def play(
    scenario: Scenario, trace: list[Traced], player: str, seconds: float, pace: float
) -> Result:
    """One scenario with one player."""
    run = Run(scenario, trace, seconds, pace)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with (
        httpx.AsyncClient(
            timeout=None,  # noqa: S113 - the deadlines are those of `play`
            limits=limits,
            trust_env=False,
        ) as client,
        trio.open_nursery() as nursery,
    ):
        for stub in run.stubs:
            await nursery.start(stub.run)
        if player == "gateway":
            await _gateway(run, client)
        else:
            await run.play(Direct(run.stubs, player, client).ask)
        nursery.cancel_scope.cancel()
    return run.result(player)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing.realtime")
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--trace", default="long_context")
    parser.add_argument("--players", default="gateway,least_busy,fixed")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--pace", type=float, default=PACE)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not 1.0 <= args.seconds <= SECONDS_MAX:
        parser.error(f"--seconds is from 1 to {SECONDS_MAX:g}")
    trace = read_trace(find_trace(args.trace))
    for name in args.scenarios:
        for player in args.players.split(","):
            result = trio.run(
                play, find_scenario(name), trace, player, args.seconds, args.pace
            )
            if args.json:
                print(msgspec.json.encode(result).decode(), flush=True)
                continue
            shares = " ".join(f"{n}={s:.2f}" for n, s in result.shares.items())
            print(
                f"{name:12} {player:10} {result.requests:5} requests  "
                f"p95 {result.p95_s:6.2f} s  8K-32K {result.band_p95_s:6.2f} s  "
                f"failed {result.failed:4}  calls {result.calls_per_request:.3f}  "
                f"{shares}",
                flush=True,
            )


if __name__ == "__main__":
    main()
