"""One decision: from the candidates' numbers to a plan. Pure, and replayable.

Facts and gates are settled in the views; here is scored, chosen and ranked. The rest of
the ranking is the fallback chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from actors.router import choose, score
from actors.router.messages import Candidate, Gated, NoRoute, Plan
from actors.router.views import NEVER, Inputs, View, inputs_of

# Each gate's answer when it is the reason that nobody is left: status and code.
_REFUSALS: Final = {
    "region": (403, "region_not_allowed"),
    "capability": (400, "unsupported_feature"),
    "window": (400, "context_length_exceeded"),
    "unpriced": (429, "unpriced"),
    "price": (400, "request_too_expensive"),
    "class": (429, "too_dear"),
}
# And its words, of all deployments or of some.
_WHY: Final = {
    "region": "{who} in a region that this site allows.",
    "capability": "{who} able to do what the request needs.",
    "window": "{who} large enough for the prompt and the answer's bound; shorten one "
    "of them.",
    "unpriced": "{who} priced, and what this site's requests cost must be bounded; "
    "give the model a price in the config.",
    "price": "{who} sure to cost no more than one request may; shorten the prompt or "
    "the answer's bound.",
    "class": "{who} cheap enough for a site so near a spend cap; ask for another "
    "model, or have the cap raised.",
}


def decide(inputs: Inputs) -> Plan | NoRoute:
    """Plan one request."""
    gated: list[Gated] = []
    open_views: list[View] = []
    shut: list[View] = []
    special: list[View] = []  # Only after a failure that they cure.
    for view in inputs.views:
        if view.on == "mirror":
            continue
        if view.gate:
            gated.append(Gated(view.deployment, view.gate, view.why))
        elif view.shut_until:
            gated.append(
                Gated(view.deployment, view.shut_why, _until(view, inputs.now))
            )
            if view.on == "any":
                shut.append(view)
        elif view.on == "any":
            open_views.append(view)
        else:
            special.append(view)
    if not open_views and not shut:
        # Nothing of the route itself: what was kept for long prompts may fit.
        open_views = [view for view in special if view.on == "context"]
        special = [view for view in special if view.on != "context"]
        if not open_views:
            return _no_route(inputs, gated)
    lead = None
    if inputs.canaries:
        open_views, shut, lead = _canaries_apart(inputs, open_views, shut)
    ranked = _rank(inputs, open_views, lead)
    shut.sort(key=_reopens)
    candidates = (
        *ranked,
        *_bare(shut),
        *_bare(special),
    )
    return Plan(
        model=inputs.model,
        candidates=candidates,
        gated=tuple(gated),
        output_tokens_max=inputs.output_tokens_max,
        mirror=_mirror(inputs),
        hedge=inputs.hedge,
        explain=inputs.explain,
    )


def replay(line: bytes) -> Plan | NoRoute:
    """The decision that a log line tells of."""
    return decide(inputs_of(line))


def _canaries_apart(
    inputs: Inputs, open_views: list[View], shut: list[View]
) -> tuple[list[View], list[View], View | None]:
    """Canaries are in nobody's ranking: first by their share, or not at all.

    Returns who is ranked, who is shut, and whose turn it is. With nothing else left, a
    canary is better than a refusal.
    """
    names = {inputs.views[index].deployment for index, _ in inputs.canaries}
    place = _shared(inputs.canaries, inputs.draws[0])
    drawn = None if place is None else inputs.views[place].deployment
    lead = next((view for view in open_views if view.deployment == drawn), None)
    rest = [view for view in open_views if view.deployment not in names]
    rest_shut = [view for view in shut if view.deployment not in names]
    if not rest and not rest_shut:
        return open_views, shut, lead
    return (rest if lead is None else [lead, *rest]), rest_shut, lead


def _rank(inputs: Inputs, views: list[View], lead: View | None) -> list[Candidate]:
    """Scored, chosen, in order; `lead` is first, whatever its score."""
    count = len(views)
    if not count:
        return []
    weights = inputs.weights or score.EQUAL
    scale = 1.0 / score.total(weights)
    w_latency = weights.latency * scale
    w_errors = weights.errors * scale
    w_window = weights.window * scale
    w_price = weights.price * scale
    slo_s = inputs.wishes.latency_slo_s
    measure_s = min([view.latency_s for view in views])
    if slo_s is not None and slo_s > measure_s:
        measure_s = slo_s
    priced = [view.cost_nanousd for view in views if view.cost_nanousd >= 0]
    cheapest = min(priced) if priced else 0
    scores: list[float] = []
    parts: list[tuple[float, float, float, float]] = []
    for view in views:
        part = (
            score.latency_part(view.latency_s, measure_s),
            score.error_part(view.error_rate),
            1.0 if view.fill <= score.FILL_EASY else score.window_part(view.fill),
            score.price_part(view.cost_nanousd, cheapest),
        )
        parts.append(part)
        scores.append(
            w_latency * part[0]
            + w_errors * part[1]
            + w_window * part[2]
            + w_price * part[3]
        )
    probe = False
    if lead is not None:
        order = list(range(count))
        if inputs.weights is not None:
            order.sort(key=scores.__getitem__, reverse=True)
        first = views.index(lead)
        order.remove(first)
        order.insert(0, first)
    elif inputs.weights is None:
        order = list(range(count))
    else:
        first, probe = _choose(inputs, views, scores)
        order = sorted(range(count), key=scores.__getitem__, reverse=True)
        order.remove(first)
        order.insert(0, first)
    names = score.PARTS
    ranked: list[Candidate] = []
    for place in order:
        view = views[place]
        p = parts[place]
        ranked.append(
            Candidate(
                view.deployment,
                scores[place],
                (
                    (names[0], p[0]),
                    (names[1], p[1]),
                    (names[2], p[2]),
                    (names[3], p[3]),
                ),
                "any",
                view.first_content_s,
                view.latency_s,
                view.in_flight,
                view.cached_tokens,
                view.cost_nanousd if view.cost_nanousd >= 0 else None,
                view.window_tokens or None,
                probe and place == order[0],
                view.in_flight >= view.in_flight_max,
            )
        )
    return ranked


def _choose(inputs: Inputs, views: list[View], scores: list[float]) -> tuple[int, bool]:
    """The first candidate, and whether it is a probe."""
    if len(views) == 1:
        return 0, False
    draws = inputs.draws
    if inputs.may_probe:
        # Its numbers are bad or missing, and perhaps not true any more.
        for place, view in enumerate(views):
            if view.doubt >= 2:
                return place, True
        if draws[1] < choose.EXPLORE_SHARE:
            place = int(draws[2] * len(views))
            return min(place, len(views) - 1), True
    sure = scores
    doubtful = [view.doubt in (1, 2) for view in views]
    if any(doubtful) and not all(doubtful):
        # They wait for their probe: without news none may win by a guess.
        sure = [
            -1.0 if doubt else mark
            for doubt, mark in zip(doubtful, scores, strict=True)
        ]
    busy = [view.in_flight / view.in_flight_max for view in views]
    return choose.two_choices(sure, busy, draws[2], draws[3]), False


def _mirror(inputs: Inputs) -> Candidate | None:
    # The first draw again, from its other end: canary and mirror shares are apart.
    index = _shared(inputs.mirrors, 1.0 - inputs.draws[0])
    if index is None:
        return None
    view = inputs.views[index]
    if view.gate or view.shut_until:
        return None
    return _bare([view])[0]


def _shared(shares: Sequence[tuple[int, float]], chance: float) -> int | None:
    percent = chance * 100.0
    for index, share in shares:
        percent -= share
        if percent < 0.0:
            return index
    return None


def _bare(views: Sequence[View]) -> list[Candidate]:
    """Candidates that were not scored."""
    return [
        Candidate(
            deployment=view.deployment,
            on=view.on,
            first_content_s=view.first_content_s,
            latency_s=view.latency_s,
            in_flight=view.in_flight,
            cached_tokens=view.cached_tokens,
            cost_nanousd=view.cost_nanousd if view.cost_nanousd >= 0 else None,
            window_tokens=view.window_tokens or None,
            full=view.shut_until > 0.0 or view.in_flight >= view.in_flight_max,
        )
        for view in views
    ]


def _reopens(view: View) -> float:
    return float("inf") if view.shut_until == NEVER else view.shut_until


def _until(view: View, now: float) -> str:
    if view.shut_until == NEVER:
        return view.why or "until it is back"
    return f"{view.why or 'for'} {max(0.0, view.shut_until - now):.1f} s".strip()


def _no_route(inputs: Inputs, gated: list[Gated]) -> NoRoute:
    """The gate that speaks for all: the one that the client can do most about."""
    order = ("class", "price", "window", "capability", "unpriced", "region")
    failed = Counter(one.gate for one in gated)
    gates = [name for name in order if failed[name]] or ["region"]
    status, code = _REFUSALS[gates[0]]
    total = failed.total()
    why = " ".join(
        _WHY[name].format(who=_who(failed[name] or total, total)) for name in gates
    )
    return NoRoute(
        status=status,
        code=code,
        message=f"The model {inputs.model[:128]!r} cannot serve this request. {why}",
        param="messages" if gates[0] in ("window", "price") else "model",
        gated=tuple(gated),
    )


def _who(count: int, total: int) -> str:
    """So many deployments are not."""
    if count == total:
        return "None of its deployments is"
    return f"{count} of its {total} deployments {'is' if count == 1 else 'are'} not"
