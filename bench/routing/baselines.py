"""What others do: five ways to choose, each with the retries that go with it.

(a) `fixed`: one provider, retried at once. (b) `random`: weighted by true capacity.
(c) `least_busy`: the fewest calls in flight, counted without leaks.
(d) `fastest_mean`: the lowest mean latency of the last 20 calls, failures counted at
the deadline. (e) `cheapest`: the lowest price of this request now. All but (a) retry
elsewhere: twice, never where they have just failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from actors.ledger.pricing import cost
from bench.routing.engine import End, Engine, Request
from bench.routing.world import Call, Server
from wire.events import Usage

RETRIES: Final = 2
REMEMBERED: Final = 20


class Baseline:
    """Picks, calls, retries."""

    def __init__(self, engine: Engine, *, elsewhere: bool = True) -> None:
        self.engine = engine
        self.elsewhere = elsewhere
        self.rng = Random(f"player {engine.seed}")
        self.in_flight = dict.fromkeys(engine.servers, 0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def pick(self, request: Request, servers: list[Server]) -> Server:
        """One of these."""
        raise NotImplementedError

    def learn(self, call: Call, end: End, now: float) -> None:
        """A call is over."""

    def begin(self, request: Request, now: float) -> None:
        """A request came."""
        request.state = set[str]()
        self._try(request)

    def first(self, request: Request, call: Call, now: float) -> None:
        """Nothing to learn from it."""

    def over(
        self,
        request: Request,
        call: Call,
        end: End,
        now: float,
        retry_after_s: float | None,
    ) -> None:
        """Learn, and retry what may be retried."""
        self.in_flight[call.server.name] -= 1
        self.learn(call, end, now)
        if request.result is not None:
            return
        if request.calls > RETRIES:
            self.engine.fail(request)
            return
        self._try(request)

    def abandoned(self, request: Request, now: float) -> None:
        """Its total deadline passed."""
        if request.current is not None:
            self.in_flight[request.current.server.name] -= 1
            self.learn(request.current, "timeout", now)

    def changed(self, now: float) -> None:
        """Looked up at each pick."""

    def _try(self, request: Request) -> None:
        engine = self.engine
        tried = request.state
        assert isinstance(tried, set)
        servers = [
            server
            for server in engine.servers.values()
            if engine.exists(server.model)
            and not (self.elsewhere and server.name in tried)
        ]
        if not servers:
            engine.fail(request)
            return
        server = self.pick(request, servers)
        tried.add(server.name)
        self.in_flight[server.name] += 1
        engine.call(request, server, engine.scenario.deadlines.first_content_s)


class Fixed(Baseline):
    """(a), as configured."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, elsewhere=False)

    def pick(self, request: Request, servers: list[Server]) -> Server:
        """The first."""
        return servers[0]


class WeightedRandom(Baseline):
    """(b), by what an operator would write."""

    def pick(self, request: Request, servers: list[Server]) -> Server:
        """By capacity."""
        return self.rng.choices(servers, [s.capacity for s in servers])[0]


class LeastBusy(Baseline):
    """(c), with exact counts."""

    def pick(self, request: Request, servers: list[Server]) -> Server:
        """The fewest calls in flight."""
        low = min(self.in_flight[s.name] for s in servers)
        return self.rng.choice([s for s in servers if self.in_flight[s.name] == low])


class FastestMean(Baseline):
    """(d), over all prompt sizes."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.seen: dict[str, deque[float]] = {
            name: deque(maxlen=REMEMBERED) for name in engine.servers
        }

    def pick(self, request: Request, servers: list[Server]) -> Server:
        """The lowest mean; the unknown first."""
        means = [
            sum(seen) / len(seen) if (seen := self.seen[s.name]) else 0.0
            for s in servers
        ]
        low = min(means)
        return self.rng.choice(
            [s for s, mean in zip(servers, means, strict=True) if mean == low]
        )

    def learn(self, call: Call, end: End, now: float) -> None:
        """Its latency, or the deadline."""
        failed_s = self.engine.scenario.deadlines.total_s
        self.seen[call.server.name].append(
            now - call.sent_at if end == "ok" else failed_s
        )


class Cheapest(Baseline):
    """(e), peak hours included."""

    def pick(self, request: Request, servers: list[Server]) -> Server:
        """The lowest price of this request."""
        arrival = request.arrival
        usage = Usage(prompt=arrival.prompt_tokens, completion=arrival.output_tokens)
        prices = [cost(self.engine.price(s.model), usage) for s in servers]
        low = min(prices)
        return self.rng.choice(
            [s for s, price in zip(servers, prices, strict=True) if price == low]
        )


BASELINES: Final[dict[str, Callable[[Engine], Baseline]]] = {
    "fixed": Fixed,
    "random": WeightedRandom,
    "least_busy": LeastBusy,
    "fastest_mean": FastestMean,
    "cheapest": Cheapest,
}
