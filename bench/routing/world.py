"""The world outside: deployments with a speed, a capacity, limits and bad days.

A deployment shares its processor among the calls it has: each gets the same rate, which
falls with their number, softly up to `capacity` and in proportion beyond. Time is
virtual time per deployment, so an event costs O(log calls), exactly.

    work of a call   overhead + uncached prompt / prefill speed + output / decode speed
    rate of a call   speed of the day / ((1 + 0.6 load) x max(1, load))
    load             calls / capacity
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush
from random import Random
from typing import Final, Literal

import attrs
from msgspec import Struct

from bench.routing.load import BLOCK_TOKENS, Arrival

SOFT_SLOPE: Final = 0.6
CACHE_S: Final = 300.0
CACHE_BLOCKS_MAX: Final = 40_000

Moment = Literal["first", "end"]


class Fault(Struct, frozen=True):
    """What is wrong with a deployment, from one time of day to another.

    kinds: `outage` (connections refused, `hang` = nobody answers), `brownout` (slower
    by `factor`), `errors` (a share fails with 500 after `after_s`), `ratelimit`
    (`share` of the mean traffic's requests a minute, then 429 with Retry-After), `cuts`
    (a share of streams ends in the middle).
    """

    deployment: str
    kind: Literal["outage", "brownout", "errors", "ratelimit", "cuts"]
    from_h: float
    to_h: float
    factor: float = 1.0
    share: float = 0.0
    after_s: float = 0.3
    hang: bool = False
    per_minute: float = 0.0


class Model(Struct, frozen=True):
    """One deployment as it is on a good day. Prices are dollars a million tokens."""

    name: str
    capacity: float = 1.0  # Relative to the first deployment's.
    prefill_tokens_per_s: float = 8000.0
    decode_tokens_per_s: float = 60.0
    overhead_s: float = 0.25
    input_usd: float = 1.0
    output_usd: float = 4.0
    cached_usd: float | None = None
    peak_factor: float = 1.0  # On prices, from 9 to 17.
    from_h: float = 0.0  # It joins the route then.
    noise: float = 0.15  # Of a call's work, log-normal.


@attrs.define(eq=False)
class Call:
    """One call to a deployment."""

    arrival: Arrival
    server: Server
    sent_at: float
    cached_tokens: int = 0
    first_at: float | None = None
    ended: bool = False
    cut: bool = False
    work_first: float = 0.0
    work_end: float = 0.0
    attempt: object = None


class Server:
    """One deployment."""

    def __init__(self, model: Model, capacity: float, rng: Random) -> None:
        self.model = model
        self.name = model.name
        self.capacity = capacity
        self.rng = rng
        # In their order: a set's would be that of addresses, another in each run.
        self.calls: dict[Call, None] = {}
        self.virtual = 0.0
        self.at = 0.0
        self.speed = 1.0
        self.version = 0
        self.faults: list[Fault] = []
        self.window_at = 0.0
        self.window_calls = 0
        self._due: list[tuple[float, int, Moment, Call]] = []
        self._sequence = 0
        self._cache: OrderedDict[int, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Server {self.name} calls={len(self.calls)}/{self.capacity:.1f}>"

    def rate(self) -> float:
        """Of each call."""
        load = len(self.calls) / self.capacity
        return self.speed / ((1.0 + SOFT_SLOPE * min(1.0, load)) * max(1.0, load))

    def advance(self, now: float) -> None:
        """Let time pass."""
        if now > self.at:
            self.virtual += (now - self.at) * self.rate()
            self.at = now

    def next_at(self) -> float | None:
        """When the next call reaches a moment."""
        due = self._due
        while due and due[0][3].ended:
            heappop(due)
        if not due:
            return None
        return self.at + max(0.0, due[0][0] - self.virtual) / self.rate()

    def pop(self) -> tuple[Moment, Call] | None:
        """The moment that has come, if one has."""
        due = self._due
        while due and due[0][3].ended:
            heappop(due)
        if due and due[0][0] <= self.virtual + 1e-9:
            _, _, moment, call = heappop(due)
            return moment, call
        return None

    def work(self, arrival: Arrival, cached: int) -> tuple[float, float]:
        """To its first content, and after it."""
        model = self.model
        noise = self.rng.lognormvariate(0.0, model.noise)
        first = (
            model.overhead_s
            + (arrival.prompt_tokens - cached) / model.prefill_tokens_per_s
        )
        return first * noise, arrival.output_tokens / model.decode_tokens_per_s * noise

    def start(self, call: Call, now: float) -> None:
        """Take a call in."""
        self.advance(now)
        call.cached_tokens = self._cached(call.arrival, now)
        first, rest = self.work(call.arrival, call.cached_tokens)
        call.work_first = self.virtual + first
        call.work_end = call.work_first + rest
        for fault in self.faults:
            if fault.kind == "cuts" and self.rng.random() < fault.share:
                call.cut = True
                call.work_end = call.work_first + rest * self.rng.random()
        self.calls[call] = None
        self._sequence += 1
        heappush(self._due, (call.work_first, self._sequence, "first", call))
        self.version += 1

    def went_on(self, call: Call) -> None:
        """Its first content came; next is its end."""
        self._sequence += 1
        heappush(self._due, (call.work_end, self._sequence, "end", call))

    def leave(self, call: Call, now: float) -> None:
        """It ended, however."""
        self.advance(now)
        call.ended = True
        self.calls.pop(call, None)
        self.version += 1

    def refuses(self, now: float) -> tuple[str, float, float | None] | None:
        """What it answers instead of working: (kind, after, Retry-After)."""
        for fault in self.faults:
            if fault.kind == "outage":
                return ("hang" if fault.hang else "refused"), 0.05, None
            if fault.kind == "errors" and self.rng.random() < fault.share:
                return "error", fault.after_s, None
            if fault.kind == "ratelimit":
                if now - self.window_at >= 60.0:
                    self.window_at = now
                    self.window_calls = 0
                if self.window_calls >= fault.per_minute:
                    return "throttled", 0.1, max(1.0, self.window_at + 60.0 - now)
                self.window_calls += 1
        return None

    def rate_left(self, now: float) -> tuple[int, int, float] | None:
        """What its headers say: limit, requests left, seconds until the reset."""
        for fault in self.faults:
            if fault.kind == "ratelimit":
                limit = int(fault.per_minute)
                left = max(0, limit - self.window_calls)
                return limit, left, max(0.0, self.window_at + 60.0 - now)
        return None

    def _cached(self, arrival: Arrival, now: float) -> int:
        cache = self._cache
        hit = 0
        for block in arrival.blocks:
            if cache.get(block, -1.0) < now:
                break
            hit += 1
        until = now + CACHE_S
        for block in arrival.blocks:
            cache[block] = until
            cache.move_to_end(block)
        while len(cache) > CACHE_BLOCKS_MAX:
            cache.popitem(last=False)
        return min(hit * BLOCK_TOKENS, max(0, arrival.prompt_tokens - 1))
