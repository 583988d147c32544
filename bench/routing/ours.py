"""Ours: the product's own policies, obeyed by the event loop instead of by actors.

Driven as they are: the router's book and decision, the stream's next step, patience and
retry budget, the provider's admission, breaker and allowances, the supervisor's
backoff, the ledger's accounts and prices.
"""

from __future__ import annotations

from random import Random
from typing import Final

import attrs

from actors.provider.admission import PROBING_RETRY_S, Limits
from actors.provider.messages import Outcome, OutcomeKind
from actors.router import policy as routing
from actors.router.book import Book
from actors.router.messages import (
    Candidate,
    Deployment,
    DeploymentFacts,
    MakePlan,
    NoRoute,
    Observed,
    Plan,
    RoutePolicy,
    RouteTable,
    SitePolicy,
    Wishes,
)
from actors.stream import policy
from actors.stream.budget import Budget
from actors.stream.policy import Failure
from actors.stream.policy import Final as Ended
from bench.routing.engine import End, Engine, Request
from bench.routing.providers import GatewayProvider
from bench.routing.till import SITE, Till
from bench.routing.world import Call
from runtime.spec import Backoff
from wire.events import Fault
from wire.ratelimits import RateWindow

MODEL: Final = "model"
ESTIMATE_ERROR: Final = 0.15  # Of prompt tokens, either way.
IN_FLIGHT_OF_CAPACITY: Final = 3.0  # What an operator sets; beyond it, calls queue.
BACKOFF: Final = Backoff(first_s=1.0, cap_s=15.0)

KIND_OF_END: Final[dict[End, OutcomeKind]] = {
    "ok": "ok",
    "cut": "failed",
    "error": "failed",
    "refused": "failed",
    "throttled": "throttled",
    "timeout": "slow",
    "broken": "failed",
}


@attrs.define(eq=False)
class Going:
    """A request under way."""

    plan: Plan
    estimate: int
    failures: list[Failure] = attrs.field(factory=list[Failure])
    candidate: int = -1
    permit: int = 0
    epoch: int = 0
    hold: int = 0
    settled: int = 0
    queued_at: float | None = None


class Ours:
    """The gateway."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rng = Random(f"player {engine.seed}")
        self.book = Book(self._table())
        self.retries = Budget()
        self.retries_made = 0
        self.till = Till(engine.scenario.cap_usd)
        self.providers = {
            name: GatewayProvider(
                name,
                self.book,
                Limits(max(4, round(IN_FLIGHT_OF_CAPACITY * server.capacity))),
                BACKOFF,
                self.rng,
            )
            for name, server in engine.servers.items()
        }

    def __repr__(self) -> str:
        return f"<Ours {self.book!r}>"

    def begin(self, request: Request, now: float) -> None:
        """Plan, then try."""
        arrival = request.arrival
        wrong = 1.0 + self.rng.uniform(-ESTIMATE_ERROR, ESTIMATE_ERROR)
        estimate = max(1, int(arrival.prompt_tokens * wrong))
        plan = routing.plan(
            self.book,
            MakePlan(
                site=SITE,
                model=MODEL,
                dialect="openai-chat",
                prompt_tokens=estimate,
                output_tokens_max=self.engine.scenario.output_bound,
                needs=frozenset(),
                stream=True,
                affinity=arrival.affinity,
            ),
            now,
            self.rng,
        )
        self.retries.request(now)
        if isinstance(plan, NoRoute):
            self.engine.fail(request, "refused")
            return
        request.state = Going(plan, estimate)
        self._next(request, now)

    def first(self, request: Request, call: Call, now: float) -> None:
        """It waits no more."""
        going = request.state
        assert isinstance(going, Going)
        provider = self.providers[call.server.name]
        provider.load.waiting.pop(going.permit, None)
        provider.proven(going.permit, going.epoch)

    def over(
        self,
        request: Request,
        call: Call,
        end: End,
        now: float,
        retry_after_s: float | None,
    ) -> None:
        """Give back, learn, and go on where that may be."""
        going = request.state
        assert isinstance(going, Going)
        kind = KIND_OF_END[end]
        self._give_back(
            request, going, call, kind, now=now, retry_after_s=retry_after_s
        )
        if request.result is None:
            going.failures.append(Failure(going.candidate, _fault(end, retry_after_s)))
            self._next(request, now)

    def abandoned(self, request: Request, now: float) -> None:
        """Too late for anybody."""
        going = request.state
        if not isinstance(going, Going):
            return
        if going.queued_at is not None:
            going.queued_at = None
            self._of(going).queue.remove(request)
        elif going.permit and request.current is not None:
            self._give_back(request, going, request.current, "slow", now=now)

    def changed(self, now: float) -> None:
        """Another table, as after a reload."""
        del now
        self.book.set_table(self._table())

    # -- inside ------------------------------------------------------------------

    def _table(self) -> RouteTable:
        engine = self.engine
        models = [s.model for s in engine.servers.values() if engine.exists(s.model)]
        deployments = tuple(Deployment(m.name, "m") for m in models)
        return RouteTable(
            routes={MODEL: deployments},
            sites={SITE: SitePolicy(SITE, capped=engine.scenario.cap_usd is not None)},
            facts={
                deployment: DeploymentFacts(price=engine.price(model))
                for deployment, model in zip(deployments, models, strict=True)
            },
            policies={
                MODEL: RoutePolicy(Wishes(prefer=engine.scenario.prefer))  # type: ignore[arg-type]
            },
        )

    def _next(self, request: Request, now: float) -> None:
        going = request.state
        assert isinstance(going, Going)
        while request.result is None:
            step = policy.next_step(
                going.plan.candidates,
                going.failures,
                self.rng,
                may_retry=self.retries.has(now),
            )
            if isinstance(step, Ended):
                self.engine.fail(
                    request, "refused" if step.fault.code == "spend_cap" else "failed"
                )
                return
            going.candidate = step.candidate
            if step.retry:
                self.retries.take(now)
                self.retries_made += 1
            if step.pause_s:
                self.engine.at(now + step.pause_s, self._retry, request)
                return
            fault = self._try(request, going, now)
            if fault is None:
                return
            going.failures.append(Failure(step.candidate, fault))

    def _retry(self, request: Request) -> None:
        going = request.state
        assert isinstance(going, Going)
        if request.result is not None:
            return
        fault = self._try(request, going, self.engine.now)
        if fault is not None:
            going.failures.append(Failure(going.candidate, fault))
            self._next(request, self.engine.now)

    def _try(self, request: Request, going: Going, now: float) -> Fault | None:
        """Ask the provider; None while a call or a place in its queue is held."""
        provider = self._of(going)
        decision = provider.admit(now, going.estimate)
        match decision:
            case "permit" | "probe":
                return self._send(request, going, decision, now)
            case "queue":
                provider.queue.append(request)
                going.queued_at = now
                wait_s = policy.turn_s(
                    going.plan.candidates,
                    going.candidate,
                    going.failures,
                    now - request.arrival.at,
                )
                self.engine.at(
                    now + wait_s,
                    self._waited_enough,
                    request,
                    now,
                )
                others = policy.elsewhere(
                    going.plan.candidates, going.candidate, going.failures
                )
                if others:
                    later = now + policy.ELSEWHERE_AFTER_S
                    self.engine.at(later, self._stand_by, request, now, others)
                return None
            case _:
                return _refusal(provider, decision, now)

    def _send(
        self, request: Request, going: Going, decision: str, now: float
    ) -> Fault | None:
        provider = self._of(going)
        candidate = going.plan.candidates[going.candidate]
        server = self.engine.servers[provider.name]
        held = self.till.hold(
            request.arrival,
            provider.name,
            self.engine.price(server.model),
            prompt_tokens_max=going.estimate * 3 // 2 + 16,
            output_tokens_max=self.engine.scenario.output_bound,
            now=now,
        )
        if held is None:
            return Fault("ours", "cap", 429, code="spend_cap")
        going.hold = held
        going.permit = provider.permit(decision, going.estimate, now)
        going.epoch = provider.epoch
        provider.load.waiting[going.permit] = (now, now + candidate.first_content_s)
        deadlines = self.engine.scenario.deadlines
        first_s = deadlines.first_content_s
        patience_s = policy.patience_s(candidate, others_left=self._others_left(going))
        if patience_s is not None and self.retries.has(now):
            first_s = min(first_s, patience_s)
        request.state = going
        before = request.nanousd
        self.engine.call(request, server, first_s)
        assert request.nanousd == before
        return None

    def _others_left(self, going: Going) -> bool:
        tried = {failure.candidate for failure in going.failures}
        return any(
            index not in tried
            and index != going.candidate
            and self.providers[one.deployment.provider].open_until is None
            for index, one in enumerate(going.plan.candidates)
        )

    def _stand_by(
        self, request: Request, since: float, others: tuple[Candidate, ...]
    ) -> None:
        """Any place will do by now."""
        going = request.state
        assert isinstance(going, Going)
        now = self.engine.now
        if going.queued_at != since or request.result is not None:
            return
        for other in others:
            provider = self.providers[other.deployment.provider]
            decision = provider.admit(now, going.estimate)
            if decision in ("permit", "probe"):
                self._move(request, going, other)
                self._go(request, going, decision, now)
                return
            if decision in ("queue", "busy"):
                provider.standby.append((request, since))

    def _move(self, request: Request, going: Going, to: Candidate) -> None:
        """Leave its queue for a place elsewhere."""
        self._of(going).queue.remove(request)
        going.queued_at = None
        going.candidate = going.plan.candidates.index(to)

    def _go(self, request: Request, going: Going, decision: str, now: float) -> None:
        fault = self._send(request, going, decision, now)
        if fault is not None:
            going.failures.append(Failure(going.candidate, fault))
            self._next(request, now)

    def _waited_enough(self, request: Request, since: float) -> None:
        going = request.state
        assert isinstance(going, Going)
        if going.queued_at != since or request.result is not None:
            return
        going.queued_at = None
        self._of(going).queue.remove(request)
        going.failures.append(
            Failure(going.candidate, Fault("ours", "busy", 503, code="provider_busy"))
        )
        self._next(request, self.engine.now)

    def _give_back(
        self,
        request: Request,
        going: Going,
        call: Call,
        kind: OutcomeKind,
        *,
        now: float,
        retry_after_s: float | None = None,
    ) -> None:
        provider = self._of(going)
        candidate: Candidate = going.plan.candidates[going.candidate]
        provider.release(going.permit)
        arrival = call.arrival
        first_s = None if call.first_at is None else call.first_at - call.sent_at
        left = call.server.rate_left(now)
        rates = () if left is None else (RateWindow("requests", "minute", *left),)
        cost = request.nanousd - going.settled
        output = arrival.output_tokens if kind == "ok" else 0
        self.till.settle(going.hold, cost, output, now)
        going.settled = request.nanousd
        if request.result is not None:
            self.till.leave(arrival, now)
        outcome = Outcome(
            permit=going.permit,
            epoch=going.epoch,
            kind=kind,
            retry_after_s=retry_after_s,
            first_content_s=first_s,
            total_s=now - call.sent_at,
        )
        going.permit = 0
        reborn_at = provider.outcome(outcome, rates, now)
        self.book.observe(
            Observed(
                deployment=candidate.deployment,
                outcome=kind,
                prompt_tokens=arrival.prompt_tokens,
                output_tokens=arrival.output_tokens,
                first_content_s=first_s,
                total_s=now - call.sent_at,
                cached_tokens=call.cached_tokens,
                in_flight=candidate.in_flight,
                affinity=arrival.affinity,
                model=MODEL,
            ),
            now,
        )
        if reborn_at is not None:
            self.engine.at(reborn_at, provider.reborn)
        self._serve_queue(provider, now)

    def _serve_queue(self, provider: GatewayProvider, now: float) -> None:
        while (
            (provider.queue or provider.standby)
            and not provider.health.probation
            and provider.load.in_flight < provider.limits.in_flight_max
        ):
            if provider.queue:
                request = provider.queue.popleft()
                assert isinstance(request, Request)
                going = request.state
                assert isinstance(going, Going)
                going.queued_at = None
            else:
                request, since = provider.standby.popleft()
                assert isinstance(request, Request)
                going = request.state
                assert isinstance(going, Going)
                if going.queued_at != since or request.result is not None:
                    continue  # It has found a place, or given up.
                self._move(request, going, self._at(going, provider))
            decision = provider.admit(now, going.estimate, queued=0)
            if decision == "permit":
                self._go(request, going, decision, now)
            else:
                fault = _refusal(provider, decision, now)
                going.failures.append(Failure(going.candidate, fault))
                self._next(request, now)

    def _at(self, going: Going, provider: GatewayProvider) -> Candidate:
        for one in going.plan.candidates:
            if one.deployment.provider == provider.name:
                return one
        raise AssertionError(provider.name)

    def _of(self, going: Going) -> GatewayProvider:
        deployment = going.plan.candidates[going.candidate].deployment
        return self.providers[deployment.provider]


def _refusal(provider: GatewayProvider, decision: str, now: float) -> Fault:
    """As stream/faults.py words what a provider answers."""
    match decision:
        case "cooling" | "rate_limited":
            cooled = provider.health.cooling_until or now
            return _fault("throttled", max(0.1, cooled - now))
        case "busy":
            return Fault("ours", "busy", 503, code="provider_busy")
        case _:
            until = provider.open_until
            if decision == "probing":
                until = now + PROBING_RETRY_S
            return Fault(
                "ours",
                decision,
                503,
                code="provider_unavailable",
                retry_after_s=None if until is None else max(0.0, until - now),
            )


def _fault(end: End, retry_after_s: float | None) -> Fault:
    """As wire/errors.py classes them."""
    if end == "throttled":
        return Fault(
            "throttle",
            "429",
            429,
            code="rate_limit_exceeded",
            retry_after_s=retry_after_s,
        )
    code = "upstream_timeout" if end == "timeout" else "server_error"
    return Fault("transient", end, 500, code=code)
