"""The router's book: its routes, and what it knows of each deployment.

Owns: the living state behind the views. Pure: time and chance are arguments, so that
the simulation (bench/routing) drives exactly what the actor drives. Never decides:
`decide.py` does, from the plain numbers that are read off here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from math import exp
from random import Random
from typing import Final

import msgspec

from actors.directory.policy import may_ask
from actors.provider.messages import Load
from actors.router import gates, thrift
from actors.router.affinity import Affinity
from actors.router.health import ERROR_FORGET_S, Known
from actors.router.latency import PACE_QUIET, SURE_WEIGHT, bucket_of
from actors.router.messages import (
    Deployment,
    Heard,
    MakePlan,
    Observed,
    On,
    RoutePolicy,
    RouteTable,
    Share,
    SitePolicy,
    Weights,
    Wishes,
)
from actors.router.options import NO_FACTS, Option, Route, worst_nanousd
from actors.router.views import NEVER, Inputs, View
from actors.router.wishes import allowed, output_bound, resolve

PROMPT_ERROR: Final = 1.5  # An estimate's worst: half as many again (stream/tokens.py).

EXPECTED_STEP: Final = 0.05
TYPICAL_STEP: Final = 0.02

PROBE_EVERY_S: Final = 12.0  # So that a recovery is known, and used, within a minute.
REVISIT_EVERY_S: Final = 60.0  # For those that are merely not chosen.
PROBES_SHARE: Final = 0.05  # Of requests: what learning may cost at the most,
PROBES_SAVED_MAX: Final = 3.0  # and how many of them may come in a row.
UNKNOWN_CALLS_MAX: Final = 2  # At once, until three have told how fast it is.
ILL_PACE: Final = 1.5  # Half as slow again as usual, or
ILL_ERRORS: Final = 0.1  # a tenth of the calls failing: worth looking after.


class Book:
    """Routes, sites, and what was learned; replaced tables keep what was learned."""

    def __init__(self, table: RouteTable) -> None:
        self._options: dict[Deployment, Option] = {}
        self._loads: dict[str, Load] = {}
        self._shut: dict[str, tuple[float, str]] = {}
        self.affinity = Affinity()
        self._numbers = 0
        self.routes: dict[str, Route] = {}
        self.set_table(table)

    def __repr__(self) -> str:
        return f"<Book routes={len(self.routes)} shut={sorted(self._shut)}>"

    # -- what it is told ---------------------------------------------------------

    def set_table(self, table: RouteTable) -> None:
        """Take another table. What is known of deployments that stay, stays."""
        self.table = table
        before = self._options
        self._options = {}
        wanted = {one for route in table.routes.values() for one in route}
        for policy in table.policies.values():
            wanted |= {s.deployment for s in (*policy.canary, *policy.mirror)}
        for deployment in sorted(wanted, key=str):
            facts = table.facts.get(deployment, NO_FACTS)
            option = before.get(deployment)
            if option is None:
                load = self._loads.setdefault(deployment.provider, Load())
                option = Option(self._numbers, deployment, Known(facts), load)
                self._numbers += 1
            option.set_facts(facts)
            self._options[deployment] = option
        old = self.routes
        self.routes = {name: self._route(name) for name in table.routes}
        for name, route in self.routes.items():
            if name in old:
                route.expected_tokens = old[name].expected_tokens
                route.typical_tokens = old[name].typical_tokens
        self._wishes: dict[tuple[str, str], tuple[Wishes, Weights | None]] = {}
        self._allows: dict[tuple[str, str], bool] = {}

    @contextmanager
    def as_if(self, site: SitePolicy) -> Generator[None]:
        """Within it, this site has this policy. What is known stays."""
        kept = self.table, self._wishes, self._allows
        sites = {**self.table.sites, site.name: site}
        self.table = msgspec.structs.replace(self.table, sites=sites)
        self._wishes, self._allows = {}, {}
        try:
            yield
        finally:
            self.table, self._wishes, self._allows = kept

    def shut(self, provider: str, until: float | None, why: str = "open") -> None:
        """It takes no calls before then; None: nobody knows."""
        self._shut[provider] = (NEVER if until is None else until, why)

    def opened(self, provider: str, load: Load | None = None) -> None:
        """It takes calls. A new `load` comes with each provider's first life."""
        self._shut.pop(provider, None)
        if load is not None:
            self._loads[provider] = load
        for option in self._options.values():
            if option.deployment.provider == provider:
                if load is not None:
                    option.load = load
                option.known.renewed()

    def observe(self, seen: Observed, now: float) -> None:
        """Take the end of one attempt."""
        option = self._options.get(seen.deployment)
        if option is None:
            return
        option.known.observe(seen, now)
        if seen.outcome == "ok":
            route = self.routes.get(seen.model)
            if route is not None and seen.output_tokens:
                # The next answers may be as long.
                longer = seen.output_tokens - route.expected_tokens
                route.expected_tokens += EXPECTED_STEP * longer
            shut = self._shut.get(seen.deployment.provider) if self._shut else None
            if shut is not None and shut[1] != "paused":  # A call begun before goes on.
                del self._shut[seen.deployment.provider]
            self.affinity.sent(
                seen.affinity,
                option.number,
                seen.prompt_tokens,
                seen.cached_tokens,
                now,
            )

    # -- what it answers ---------------------------------------------------------

    def heard(self, now: float) -> dict[Deployment, Heard]:
        """When each deployment was last heard of, and how its provider is."""
        found: dict[Deployment, Heard] = {}
        for deployment, option in self._options.items():
            until, _ = self._shut.get(deployment.provider, (0.0, ""))
            found[deployment] = Heard(
                at=max(option.known.latency.heard_at, option.known.error_at),
                shut=until == NEVER or now < until,
                probation=option.load.probation,
            )
        return found

    def inputs(self, ask: MakePlan, now: float, rng: Random) -> Inputs | None:
        """The inputs of a decision; None: no such model for this site."""
        name = self.table.aliases.get(ask.model, ask.model)
        route = self.routes.get(name)
        # A reload may have taken the site away while its client sent the body.
        site = self.table.sites.get(ask.site)
        if route is None or site is None or not self._allowed(site, ask.model, name):
            # One answer for all: an allowlist is not an oracle.
            return None
        if ask.terms is not None and not may_ask(ask.terms, (ask.model, name)):
            return None
        wishes, weights = self._wanted(site, route)
        weights = thrift.pressed(weights, ask.thrift)
        bound = output_bound(site, ask.output_tokens_max)
        prompt = ask.prompt_tokens
        views = self._views(
            route,
            ask,
            wishes,
            now,
            bound=bound,
            warm=self.affinity.warm(ask.affinity, now) if ask.affinity else {},
            capped=site.capped,
        )
        return Inputs(
            route.name,
            wishes,
            weights,
            bound,
            views,
            route.canaries,
            route.mirrors,
            (rng.random(), rng.random(), rng.random(), rng.random()),
            route.probes_saved >= 1.0 and prompt <= route.typical_tokens,
            route.policy.hedge,
            site.explain,
            now,
        )

    def planned(
        self, model: str, prompt_tokens: int, *, probe: Deployment | None, now: float
    ) -> None:
        """A plan was made of it: count it, and the probe that it is."""
        route = self.routes.get(model)
        if route is None:
            return
        typical = route.typical_tokens
        # A running median: sizes span four orders of magnitude.
        step = TYPICAL_STEP * max(typical, 64.0)
        route.typical_tokens = (
            float(prompt_tokens)
            if not typical
            else typical + (step if prompt_tokens > typical else -step)
        )
        route.probes_saved = min(PROBES_SAVED_MAX, route.probes_saved + PROBES_SHARE)
        if probe is not None:
            route.probes_saved -= 1.0
            self._options[probe].known.probed_at = now

    # -- inside ------------------------------------------------------------------

    def _views(
        self,
        route: Route,
        ask: MakePlan,
        wishes: Wishes,
        now: float,
        *,
        bound: int | None,
        warm: dict[int, int],
        capped: bool,
    ) -> tuple[View, ...]:
        prompt = ask.prompt_tokens
        prompt_max = ask.prompt_tokens_max or int(prompt * PROMPT_ERROR) + 16
        choices = ask.choices
        output = route.expected_tokens * choices
        if bound is not None:
            output = min(output, bound * choices)
        output_max = None if bound is None else bound * choices
        needs = ask.needs
        # Without wishes, needs and windows no gate has anything to look at.
        bounded = bool(needs) or capped or wishes.cost_nanousd_max is not None
        bounded = bounded or bool(wishes.regions)
        dear = ask.thrift.output_nanousd_per_mtok_max
        shut = self._shut
        views: list[View] = []
        plain_bucket = bucket_of(prompt)
        for on, option in route.options:
            known = option.known
            latency = known.latency
            load = option.load
            window = option.window
            cached = warm.get(option.number, 0) if warm else 0
            if cached:
                cached = min(cached, prompt)
                bucket = bucket_of(prompt - cached)
            else:
                bucket = plain_bucket
            gate = why = ""
            if bounded or (window and prompt_max + (bound or 0) > window // 2):
                found = gates.hard(
                    option.facts,
                    wishes,
                    needs=needs,
                    prompt_tokens_max=prompt_max,
                    output_tokens_max=bound,
                    worst_nanousd=worst_nanousd(option, prompt_max, output_max),
                    capped=capped,
                )
                if found is not None:
                    gate, why = found
            if dear is not None and not gate:
                output_price = option.output_price if option.price >= 0 else None
                why = thrift.too_dear(output_price, dear)
                gate = "class" if why else ""
            shut_until = 0.0
            shut_why = ""
            provider = option.deployment.provider
            if shut and provider in shut:
                until, shut_why = shut[provider]
                if until == NEVER or now < until:
                    shut_until = until
            if load.probing and not shut_until:
                shut_until, shut_why = NEVER, "open"
            if load.rate_full_until > now and not shut_until:
                shut_until, shut_why = load.rate_full_until, "rate"
            left = load.tokens_left
            if left is not None and left < prompt and now < load.tokens_reset_at:
                shut_until, shut_why = load.tokens_reset_at, "rate"
            in_flight = load.in_flight
            slow = 1.0 + latency.slope * in_flight
            pace = 1.0
            if latency.pace_log > PACE_QUIET or latency.pace_log < -PACE_QUIET:
                pace = latency.pace(now)
                slow *= pace
            first = latency.first_p95_s[bucket] * slow
            if load.waiting:
                sent, due = next(iter(load.waiting.values()))
                if now > due > sent:
                    # Somebody waits longer than he should: so would this one.
                    overdue = (now - sent) / (due - sent)
                    first *= overdue
                    slow *= overdue
                    pace *= overdue
            total = first + output * latency.token_p95_s[plain_bucket] * slow
            if in_flight >= load.in_flight_max:
                total *= 1.0 + (load.queued + 1) / load.in_flight_max
            errors = known.error_rate
            if errors:
                errors *= exp((known.error_at - now) / ERROR_FORGET_S)
            cost = -1
            if option.price >= 0:
                cost = (
                    int(
                        (prompt - cached) * option.price
                        + cached * option.cached_price
                        + output * option.output_price
                    )
                    // 1_000_000
                )
            doubt = 0
            if load.probation:
                doubt = 2
            elif pace > ILL_PACE or errors > ILL_ERRORS:
                # Bad numbers are true as long as they are fresh.
                if now - max(latency.heard_at, known.probed_at) > PROBE_EVERY_S:
                    doubt = 2
            elif latency.calls < SURE_WEIGHT:
                if in_flight >= UNKNOWN_CALLS_MAX:
                    doubt = 1
                elif now - max(latency.heard_at, known.probed_at) > PROBE_EVERY_S:
                    doubt = 3
            elif now - max(latency.heard_at, known.probed_at) > REVISIT_EVERY_S:
                doubt = 3  # Nobody chose it for so long: is it still as it was?
            views.append(
                View(
                    option.deployment,
                    on,
                    gate,
                    why,
                    shut_until,
                    shut_why,
                    first,
                    total,
                    errors,
                    (prompt + (bound or output)) / window if window else 0.0,
                    cost,
                    in_flight,
                    load.in_flight_max,
                    load.queued,
                    cached,
                    window,
                    doubt,
                )
            )
        return tuple(views)

    def _allowed(self, site: SitePolicy, model: str, name: str) -> bool:
        """Matched once for each site and name that leads to a route."""
        key = (site.name, model)
        found = self._allows.get(key)
        if found is None:
            found = self._allows[key] = allowed(site, model, name)
        return found

    def _wanted(self, site: SitePolicy, route: Route) -> tuple[Wishes, Weights | None]:
        key = (site.name, route.name)
        found = self._wishes.get(key)
        if found is None:
            found = self._wishes[key] = resolve(site.wishes, route.policy.wishes)
        return found

    def _route(self, name: str) -> Route:
        table = self.table
        policy = table.policies.get(name, RoutePolicy())
        options: list[tuple[On, Option]] = []
        seen: set[Deployment] = set()

        def add(on: On, deployments: tuple[Deployment, ...]) -> None:
            for deployment in deployments:
                if deployment not in seen:
                    seen.add(deployment)
                    options.append((on, self._options[deployment]))

        def shares(of: tuple[Share, ...], on: On) -> tuple[tuple[int, float], ...]:
            add(on, tuple(share.deployment for share in of))
            places = {option.deployment: i for i, (_, option) in enumerate(options)}
            return tuple((places[s.deployment], s.percent) for s in of)

        add("any", table.routes[name])
        canaries = shares(policy.canary, "any")
        for other in policy.fallbacks:
            add("any", table.routes[other])
        for other in policy.context_fallbacks:
            add("context", table.routes[other])
        for other in policy.content_fallbacks:
            add("content", table.routes[other])
        # Last: a mirror that is a fallback too stays one.
        mirrors = shares(policy.mirror, "mirror")
        return Route(name, policy, tuple(options), canaries, mirrors)
