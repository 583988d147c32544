"""One provider inside the gateway, without its actor: the same policies, obeyed.

`actors/provider/actor.py` obeys them with messages and supervision; here the event loop
does, so that a day takes seconds. Every verdict is the product's own code.
"""

from __future__ import annotations

from collections import deque
from random import Random

from actors.provider import admission, breaker
from actors.provider.limits import Allowances
from actors.provider.messages import Load, Outcome
from actors.router.book import Book
from runtime.spec import Backoff
from wire.ratelimits import RateWindow

KEY = "key"


class GatewayProvider:
    """Admission and health of one deployment."""

    def __init__(
        self,
        name: str,
        book: Book,
        limits: admission.Limits,
        backoff: Backoff,
        rng: Random,
    ) -> None:
        self.name = name
        self.book = book
        self.limits = limits
        self.backoff = backoff
        self.rng = rng
        self.load = Load(in_flight_max=limits.in_flight_max)
        self.health = breaker.born(probation=False)
        self.allowances = Allowances()
        self.epoch = 1
        self.attempt = 0
        self.open_until: float | None = None
        self.probes: set[int] = set()
        self.queue: deque[object] = deque()
        # Who waits elsewhere, and since when: served when nobody waits here.
        self.standby: deque[tuple[object, float]] = deque()
        self.permits = 0
        book.opened(name, self.load)

    def admit(self, now: float, prompt_tokens: int, queued: int | None = None) -> str:
        """permit, probe, queue, or why not. `queued` is 0 for whose turn it is."""
        if self.open_until is not None:
            return "open"
        return admission.admit(
            self.health,
            self.limits,
            in_flight=self.load.in_flight,
            probing=len(self.probes),
            queued=len(self.queue) if queued is None else queued,
            now=now,
            key_retry_at=0.0,
            rate_full_until=self.allowances.full_until(KEY, prompt_tokens, now),
        )

    def permit(self, decision: str, prompt_tokens: int, now: float) -> int:
        """Count the call in."""
        self.permits += 1
        self.load.in_flight += 1
        self.allowances.take(KEY, prompt_tokens, now)
        self.load.rate_full_until = self.allowances.full_until(KEY, 0, now) or 0.0
        if decision == "probe":
            self.probes.add(self.permits)
            self.load.probing = True
        return self.permits

    def release(self, permit: int) -> None:
        """Count the call out, whatever came of it."""
        self.load.in_flight -= 1
        self.load.waiting.pop(permit, None)
        self.probes.discard(permit)
        self.load.probing = bool(self.probes)

    def outcome(
        self, outcome: Outcome, rates: tuple[RateWindow, ...], now: float
    ) -> float | None:
        """Obey the breaker; when it trips, the time of the next life."""
        if rates:
            self.allowances.learn(KEY, rates, now)
        self.load.rate_full_until = self.allowances.full_until(KEY, 0, now) or 0.0
        if outcome.epoch != self.epoch or self.open_until is not None:
            return None
        before = self.health
        self.health, verdict = breaker.record(before, outcome, now)
        if self.health.cooling_until != before.cooling_until:
            self.book.shut(self.name, self.health.cooling_until, "rate")
        if verdict == "promote":
            self._promote()
        if verdict == "trip":
            pause_s = self.backoff.pause_s(self.attempt, self.rng)
            self.attempt += 1
            self.epoch += 1
            self.open_until = now + pause_s
            self.book.shut(self.name, self.open_until)
            return self.open_until
        return None

    def proven(self, permit: int, epoch: int) -> None:
        """A probe's first content came: that is enough."""
        if permit in self.probes and epoch == self.epoch:
            self.health, verdict = breaker.proven(self.health)
            if verdict == "promote":
                self._promote()

    def _promote(self) -> None:
        self.attempt = 0
        self.probes.clear()
        self.load.probation = self.load.probing = False
        self.book.opened(self.name)

    def reborn(self) -> None:
        """The next life begins, on probation."""
        self.open_until = None
        self.health = breaker.born(probation=True)
        self.probes.clear()
        self.load.probation = True
        self.load.probing = False
        self.book.opened(self.name)
