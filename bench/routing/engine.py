"""The event loop of the simulation: one heap, no trio, a day in seconds.

Owns: time, calls under way, what each request came to. Never decides: players do
(`players.py`, `ours.py`), through `begin`, `first` and `over`.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Literal, Protocol

import attrs
from msgspec.structs import replace

from actors.ledger.messages import Price
from actors.ledger.pricing import cost
from bench.routing.load import HOUR_S, Arrival, Traced, arrivals, mean_rate
from bench.routing.scenario import Scenario
from bench.routing.world import Call, Fault, Model, Server
from wire.events import Usage

PEAK_FROM_H = 9.0
PEAK_TO_H = 17.0
NANOUSD = 1_000_000_000

Timer = tuple[float, int, Callable[..., None], tuple[object, ...]]
End = Literal["ok", "cut", "error", "refused", "throttled", "timeout", "broken"]
Result = Literal["ok", "cut", "failed", "refused"]


@attrs.define(eq=False)
class Request:
    """One client's request and what came of it."""

    arrival: Arrival
    calls: int = 0
    current: Call | None = None
    result: Result | None = None
    latency_s: float = 0.0
    first_s: float = 0.0
    nanousd: int = 0
    server: str = ""
    first_choice: str = ""
    state: object = None


class Player(Protocol):
    """Whoever decides where a request goes."""

    def begin(self, request: Request, now: float) -> None:
        """A request came."""
        ...

    def first(self, request: Request, call: Call, now: float) -> None:
        """Its first content came."""
        ...

    def over(
        self,
        request: Request,
        call: Call,
        end: End,
        now: float,
        retry_after_s: float | None,
    ) -> None:
        """A call is over; the request may not be."""
        ...

    def abandoned(self, request: Request, now: float) -> None:
        """The request's total deadline passed."""
        ...

    def changed(self, now: float) -> None:
        """Prices or deployments changed."""
        ...


class Engine:
    """One day with one player."""

    def __init__(
        self,
        scenario: Scenario,
        trace: list[Traced],
        seed: int,
        make: Callable[[Engine], Player],
    ) -> None:
        self.scenario = scenario
        self.now = scenario.from_h * HOUR_S
        self.until = scenario.to_h * HOUR_S
        self.seed = seed
        self._heap: list[Timer] = []
        self._sequence = 0
        capacity = scenario.capacity(trace)
        # The world's dice do not depend on who plays, nor on the order he calls in.
        self.servers = {
            model.name: Server(
                model, model.capacity * capacity, Random(f"{model.name} {seed}")
            )
            for model in scenario.deployments
        }
        self.requests: list[Request] = []
        self.spent_by_hour = [0] * 24
        self.calls = 0
        self.player = make(self)
        self._arrivals = arrivals(
            trace,
            from_s=self.now,
            until_s=self.until,
            rate=scenario.requests_per_s / mean_rate(trace),
            seed=seed,
        )
        a_minute = 60.0 * scenario.requests_per_s
        for planned in scenario.faults:
            per_minute = max(1, int(planned.share * a_minute))
            fault = replace(planned, per_minute=per_minute)
            self.at(fault.from_h * HOUR_S, self._fault, fault, True)
            self.at(fault.to_h * HOUR_S, self._fault, fault, False)
        hours = {PEAK_FROM_H, PEAK_TO_H, *(m.from_h for m in scenario.deployments)}
        for hour in sorted(hours):
            if hour * HOUR_S > self.now:
                self.at(hour * HOUR_S, self._changed)

    def __repr__(self) -> str:
        return f"<Engine {self.scenario.name} at {self.now / HOUR_S:.2f} h>"

    def run(self) -> None:
        """Until the last request is over."""
        heap = self._heap
        self._next_arrival()
        while heap:
            at, _, action, given = heappop(heap)
            self.now = at
            action(*given)

    def at(self, when: float, action: Callable[..., None], *given: object) -> None:
        """Do it then."""
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, action, given))

    # -- what players use --------------------------------------------------------

    def exists(self, model: Model) -> bool:
        """Whether it has joined by now."""
        return model.from_h * HOUR_S <= self.now

    def price(self, model: Model) -> Price:
        """Right now."""
        hour = self.now / HOUR_S % 24.0
        factor = model.peak_factor if PEAK_FROM_H <= hour < PEAK_TO_H else 1.0
        cached = model.cached_usd
        return Price(
            round(model.input_usd * factor * NANOUSD),
            round(model.output_usd * factor * NANOUSD),
            None if cached is None else round(cached * factor * NANOUSD),
        )

    def call(self, request: Request, server: Server, first_content_s: float) -> Call:
        """Send it there."""
        now = self.now
        call = Call(request.arrival, server, now)
        request.current = call
        request.calls += 1
        if not request.first_choice:
            request.first_choice = server.name
        self.calls += 1
        refusal = server.refuses(now)
        if refusal is None:
            server.start(call, now)
            self._wake(server)
        elif refusal[0] != "hang":
            kind, after_s, retry_after_s = refusal
            self.at(now + after_s, self._refused, request, call, kind, retry_after_s)
        self.at(now + first_content_s, self._too_slow, request, call)
        return call

    def cancel(self, call: Call) -> None:
        """Stop it."""
        if not call.ended:
            call.server.leave(call, self.now)
            self._wake(call.server)

    def fail(self, request: Request, result: Result = "failed") -> None:
        """There is no answer: it counts as long as the deadline."""
        if request.result is None:
            request.result = result
            request.latency_s = self.scenario.deadlines.total_s

    # -- events ------------------------------------------------------------------

    def _next_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self.at(arrival.at, self._arrive, arrival)

    def _arrive(self, arrival: Arrival) -> None:
        request = Request(arrival)
        self.requests.append(request)
        self.at(self.now + self.scenario.deadlines.total_s, self._abandon, request)
        self.player.begin(request, self.now)
        self._next_arrival()

    def _abandon(self, request: Request) -> None:
        if request.result is not None:
            return
        call = request.current
        if call is not None and not call.ended:
            self.cancel(call)
            self._bill(request, call, 0)
        self.player.abandoned(request, self.now)
        # After the first content nobody else could go on.
        begun = call is not None and call.first_at is not None
        self.fail(request, "cut" if begun else "failed")

    def _wake(self, server: Server) -> None:
        when = server.next_at()
        if when is not None:
            self.at(when, self._due, server, server.version)

    def _due(self, server: Server, version: int) -> None:
        if version != server.version:
            return  # The number of calls changed: another event knows better.
        server.advance(self.now)
        found = server.pop()
        if found is None:
            server.version += 1
            self._wake(server)
            return
        moment, call = found
        request = self._request_of(call)
        if moment == "first":
            call.first_at = self.now
            server.went_on(call)
            server.version += 1
            self._wake(server)
            self.player.first(request, call, self.now)
            return
        server.leave(call, self.now)
        self._wake(server)
        arrival = call.arrival
        # No answer is longer than it was asked to be, whoever asks.
        output = min(arrival.output_tokens, self.scenario.output_bound)
        if call.cut:
            assert call.first_at is not None
            output = int(output * 0.5)
        self._bill(request, call, output)
        request.result = "cut" if call.cut else "ok"
        request.latency_s = self.now - arrival.at
        assert call.first_at is not None
        request.first_s = call.first_at - arrival.at
        request.server = server.name
        self.player.over(request, call, "cut" if call.cut else "ok", self.now, None)

    def _refused(
        self, request: Request, call: Call, kind: End, retry_after_s: float | None
    ) -> None:
        if call.ended:
            return
        call.ended = True
        if request.result is None:
            self.player.over(request, call, kind, self.now, retry_after_s)

    def _too_slow(self, request: Request, call: Call) -> None:
        if call.ended or call.first_at is not None:
            return
        self.cancel(call)
        self._bill(request, call, 0)
        if request.result is None:
            self.player.over(request, call, "timeout", self.now, None)

    def _fault(self, fault: Fault, begins: bool) -> None:
        server = self.servers[fault.deployment]
        server.advance(self.now)
        if begins:
            server.faults.append(fault)
        else:
            server.faults.remove(fault)
        if fault.kind == "brownout":
            server.speed = fault.factor if begins else 1.0
        server.version += 1
        if begins and fault.kind == "outage":
            for call in list(server.calls):
                server.leave(call, self.now)
                request = self._request_of(call)
                self._bill(request, call, 0)
                if call.first_at is not None:
                    # The client has seen content: nobody else can go on.
                    request.result = "cut"
                    request.latency_s = self.now - request.arrival.at
                    request.server = server.name
                self.player.over(request, call, "broken", self.now, None)
        self._wake(server)

    def _changed(self) -> None:
        self.player.changed(self.now)

    def _request_of(self, call: Call) -> Request:
        return self.requests[call.arrival.id]

    def _bill(self, request: Request, call: Call, output: int) -> None:
        usage = Usage(
            prompt=call.arrival.prompt_tokens,
            cached=call.cached_tokens,
            completion=output,
        )
        nanousd = cost(self.price(call.server.model), usage)
        request.nanousd += nanousd
        self.spent_by_hour[int(self.now / HOUR_S) % 24] += nanousd
