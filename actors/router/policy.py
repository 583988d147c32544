"""Which deployments may serve a request, in which order. Pure.

Order is the route's preference until weights say otherwise; deployments that cannot be
called now come last, so that they are still tried when nothing else is left.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from actors.router.messages import (
    Candidate,
    Deployment,
    Gated,
    MakePlan,
    NoRoute,
    Plan,
    RouteTable,
    SitePolicy,
)

OUTPUT_TOKENS_DEFAULT = 4096  # Bound of a capped site's answer when nobody gave one.


def allowed(site: SitePolicy, model: str) -> bool:
    """Whether the site's allowlist has this model (shell patterns)."""
    return not site.models or any(fnmatchcase(model, p) for p in site.models)


def plan(
    table: RouteTable,
    unavailable: Mapping[str, float | None],
    ask: MakePlan,
    now: float,
) -> Plan | NoRoute:
    """Plan one request.

    Args:
        table: routes and sites.
        unavailable: providers that refuse calls, and until when on `now`'s clock.
        ask: the facts of the request.
        now: the runtime's clock, in seconds.
    """
    site = table.sites[ask.site]
    if ask.model not in table.routes:
        return _unknown(ask.model)
    if not allowed(site, ask.model):
        # The same answer as for an unknown model: an allowlist is not an oracle.
        return _unknown(ask.model)
    ready: list[Candidate] = []
    later: list[Candidate] = []
    gated: list[Gated] = []
    for deployment in table.routes[ask.model]:
        if _is_down(unavailable, deployment, now):
            later.append(Candidate(deployment))
        else:
            ready.append(Candidate(deployment))
    return Plan(
        model=ask.model,
        candidates=(*ready, *later),
        gated=tuple(gated),
        output_tokens_max=output_bound(site, ask.output_tokens_max),
    )


def output_bound(site: SitePolicy, asked: int | None) -> int | None:
    """The bound that the answer must keep; None leaves it to client and provider."""
    bounds = [b for b in (asked, site.output_tokens_max) if b is not None]
    if bounds:
        return min(bounds)
    return OUTPUT_TOKENS_DEFAULT if site.capped else None


def _is_down(
    unavailable: Mapping[str, float | None], deployment: Deployment, now: float
) -> bool:
    if deployment.provider not in unavailable:
        return False
    until = unavailable[deployment.provider]
    return until is None or now < until


def _unknown(model: str) -> NoRoute:
    return NoRoute(
        status=404,
        code="model_not_found",
        message=(
            f"The model {model[:128]!r} does not exist or this key may not use it. "
            "GET /v1/models lists the models it may use."
        ),
    )
