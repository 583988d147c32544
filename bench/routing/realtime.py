"""The same scenarios in real time: a gateway, sockets, and stub providers over HTTP.

    python -m bench.routing.realtime [SCENARIO …] [--seconds 36] [--rounds 2] [--plot]

Measures the whole product and not its policies alone: `stagedoor serve` in a process of
its own is asked by a client over TCP, and asks stubs over TCP. The stubs are the
simulation's deployments (`world.py`) on a real clock. A day is shortened to `--seconds`
and faults come at the same parts of it; deployments work `--pace` times as fast, and
deadlines shrink as much. The gateway's own times (probes, breaker, patience) are real,
so the shape is to be compared, not the seconds.

Beside it, from the same arrivals and with stubs of their own: one fixed deployment with
naive retries, and the least busy one with exact counts, both called directly. All play
the same days, in turns, round by round, so that what else the machine does meets each;
all have the same warm-up before each day. The gateway, which lives through all rounds
as one does, has another before its first: what it learns once is no part of a day.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import AsyncExitStack
from random import Random
from typing import Final

import attrs
import httpx
import msgspec
import trio
from msgspec.structs import replace

from bench.routing.__main__ import DOCS, find_scenario
from bench.routing.figures import BAND_FROM, BAND_TO, quantile
from bench.routing.load import Arrival, Traced, find_trace, mean_rate, read_trace
from bench.routing.players import Ask, Direct, Served, gateway
from bench.routing.plots import plot_realtime
from bench.routing.scenario import Scenario
from bench.routing.stubs import Stub, asked
from bench.routing.world import Fault, Server

SECONDS: Final = 36.0
SECONDS_MAX: Final = 900.0
ROUNDS: Final = 2
WARM_S: Final = 5.0  # Before each day, of the same arrivals; not counted.
FIRST_WARM_S: Final = 45.0  # Three calls of each deployment, twelve seconds apart.
PACE: Final = 5.0
REQUESTS_PER_S: Final = 1.6  # Of the simulation's seconds; times `pace` in real ones.
REQUESTS_MAX: Final = 20_000
SCENARIOS: Final = ("brownout",)
PLAYERS: Final = ("gateway", "least_busy", "fixed")


class Result(msgspec.Struct, frozen=True):
    """One player's figures of all rounds, in the simulation's seconds."""

    scenario: str
    player: str
    rounds: int
    requests: int
    failed: int
    p50_s: float
    p95_s: float
    p95_by_round_s: tuple[float, ...]
    band_p95_s: float
    calls_per_request: float
    shares: dict[str, float]
    tenths_p95_s: tuple[float, ...]


@attrs.frozen
class Days:
    """How long, how often, how fast."""

    seconds: float = SECONDS
    rounds: int = ROUNDS
    pace: float = PACE
    warm_s: float = WARM_S
    first_warm_s: float = FIRST_WARM_S


class Stage:
    """One player with its stubs, through all rounds."""

    def __init__(
        self, player: str, scenario: Scenario, trace: list[Traced], days: Days
    ) -> None:
        self.player = player
        self.scenario = replace(scenario, requests_per_s=REQUESTS_PER_S)
        self.trace = trace
        self.days = days
        self.rounds: list[list[Served]] = []
        self.calls: Counter[str] = Counter()
        self.began = trio.current_time()
        capacity = self.scenario.capacity(trace)
        self.stubs = [
            Stub(
                Server(model, model.capacity * capacity, Random(f"{model.name} 1")),
                self.clock,
                days.pace,
            )
            for model in scenario.deployments
        ]

    def __repr__(self) -> str:
        return f"<Stage {self.player} {len(self.rounds)} rounds>"

    def clock(self) -> float:
        """The simulation's seconds since the start."""
        return max(0.0, trio.current_time() - self.began) * self.days.pace

    async def warm(self, ask: Ask, seconds: float) -> None:
        """Arrivals that nobody counts."""
        await self._send(ask, self._arrivals(seconds), [])

    async def day(self, ask: Ask) -> None:
        """The warm-up, then all arrivals of one day, until the last is answered."""
        await self.warm(ask, self.days.warm_s)
        before = self._called()
        served: list[Served] = []
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            for fault in self.scenario.faults:
                nursery.start_soon(self._fault, fault, began)
            nursery.start_soon(
                self._send, ask, self._arrivals(self.days.seconds), served
            )
        self.calls += self._called() - before
        self.rounds.append(served)

    async def _send(
        self, ask: Ask, arrivals: list[Arrival], served: list[Served]
    ) -> None:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for arrival in arrivals:
                await trio.sleep_until(began + arrival.at / self.days.pace)
                nursery.start_soon(self._one, ask, arrival, served)

    async def _one(self, ask: Ask, arrival: Arrival, into: list[Served]) -> None:
        body = asked(arrival, self.scenario.output_bound)
        began = trio.current_time()
        served = Served(arrival, ok=False, latency_s=0)
        pace, total_s = self.days.pace, self.scenario.deadlines.total_s
        with trio.move_on_after(total_s / pace):
            served = await ask(arrival, body)
        served.latency_s = (trio.current_time() - began) * pace
        if not served.ok:
            served.latency_s = total_s
        into.append(served)

    async def _fault(self, fault: Fault, began: float) -> None:
        a_minute = 60.0 * self.scenario.requests_per_s
        fault = replace(fault, per_minute=max(1, int(fault.share * a_minute)))
        stub = next(s for s in self.stubs if s.server.name == fault.deployment)
        await trio.sleep_until(began + fault.from_h / 24.0 * self.days.seconds)
        stub.fault(fault, begins=True)
        await trio.sleep_until(began + fault.to_h / 24.0 * self.days.seconds)
        stub.fault(fault, begins=False)

    def _arrivals(self, seconds: float) -> list[Arrival]:
        """The trace from its start, without a day curve: a day is too short for one."""
        stretch = mean_rate(self.trace) / self.scenario.requests_per_s / 1000.0
        found: list[Arrival] = []
        for line in self.trace[:REQUESTS_MAX]:
            at = line.at_ms * stretch
            if at >= seconds * self.days.pace:
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

    def _called(self) -> Counter[str]:
        return Counter({stub.server.name: stub.calls for stub in self.stubs})

    def result(self) -> Result:
        """What all rounds came to."""
        served = [one for day in self.rounds for one in day]
        band = [s for s in served if BAND_FROM <= s.arrival.prompt_tokens <= BAND_TO]
        tenth = self.days.seconds * self.days.pace / 10.0
        tenths: list[list[float]] = [[] for _ in range(10)]
        for one in served:
            tenths[min(9, int(one.arrival.at / tenth))].append(one.latency_s)
        total = self.calls.total()
        return Result(
            scenario=self.scenario.name,
            player=self.player,
            rounds=len(self.rounds),
            requests=len(served),
            failed=sum(not one.ok for one in served),
            p50_s=round(quantile([s.latency_s for s in served], 0.5), 2),
            p95_s=round(quantile([s.latency_s for s in served], 0.95), 2),
            p95_by_round_s=tuple(
                round(quantile([s.latency_s for s in day], 0.95), 2)
                for day in self.rounds
            ),
            band_p95_s=round(quantile([s.latency_s for s in band], 0.95), 2),
            calls_per_request=round(total / max(1, len(served)), 3),
            shares={
                stub.server.name: round(self.calls[stub.server.name] / max(1, total), 3)
                for stub in self.stubs
            },
            tenths_p95_s=tuple(round(quantile(t, 0.95), 2) for t in tenths),
        )


async def play(
    scenario: Scenario, trace: list[Traced], players: list[str], days: Days
) -> list[Result]:
    """One scenario with all players, in turns."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    stages = [Stage(player, scenario, trace, days) for player in players]
    async with (
        httpx.AsyncClient(
            timeout=None,  # noqa: S113 - the deadlines are those of `Stage`
            limits=limits,
            trust_env=False,
        ) as client,
        trio.open_nursery() as nursery,
        AsyncExitStack() as open_,
    ):
        playing: list[tuple[Stage, Ask]] = []
        for stage in stages:
            for stub in stage.stubs:
                await nursery.start(stub.run)
            if stage.player != "gateway":
                ask: Ask = Direct(stage.stubs, stage.player, client).ask
            else:
                served = gateway(stage.scenario, stage.stubs, days.pace, client)
                ask = await open_.enter_async_context(served)
                await stage.warm(ask, days.first_warm_s)
            playing.append((stage, ask))
        for _ in range(days.rounds):
            for stage, ask in playing:
                await stage.day(ask)
            playing.append(playing.pop(0))  # Nobody is always first.
        await open_.aclose()
        nursery.cancel_scope.cancel()
    return [stage.result() for stage in stages]


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing.realtime")
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--trace", default="long_context")
    parser.add_argument("--players", default=",".join(PLAYERS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a day")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pace", type=float, default=PACE)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", action="store_true", help="into docs/routing")
    args = parser.parse_args()
    if not 1.0 <= args.seconds <= SECONDS_MAX:
        parser.error(f"--seconds is from 1 to {SECONDS_MAX:g}")
    trace = read_trace(find_trace(args.trace))
    days = Days(args.seconds, args.rounds, args.pace)
    for name in args.scenarios:
        players = args.players.split(",")
        results = trio.run(play, find_scenario(name), trace, players, days)
        for result in results:
            print(_json(result) if args.json else _line(result), flush=True)
        if args.plot:
            tenths = {one.player: one.tenths_p95_s for one in results}
            plot_realtime(name, tenths, DOCS / f"realtime_{name}.png")


def _json(result: Result) -> str:
    return msgspec.json.encode(result).decode()


def _line(one: Result) -> str:
    shares = " ".join(f"{name}={share:.2f}" for name, share in one.shares.items())
    rounds = " ".join(f"{value:.1f}" for value in one.p95_by_round_s)
    return (
        f"{one.scenario:12} {one.player:10} {one.requests:5} requests  "
        f"failed {one.failed:4}  p50 {one.p50_s:6.2f} s  p95 {one.p95_s:6.2f} s "
        f"({rounds})  8K-32K {one.band_p95_s:6.2f} s  "
        f"calls {one.calls_per_request:.3f}  {shares}"
    )


if __name__ == "__main__":
    main()
