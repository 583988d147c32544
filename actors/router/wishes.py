"""What a site may ask for, and what it wants of whoever serves it. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from actors.router.messages import PRESETS, SitePolicy, Weights, Wishes

OUTPUT_TOKENS_DEFAULT: Final = 4096  # Bound of a capped site's answer without its own.


def allowed(site: SitePolicy, model: str, name: str) -> bool:
    """Whether the site's lists let it ask for this (shell patterns).

    `model` is what it asks for, `name` the model that it leads to: an alias gets round
    no denial.
    """
    if any(fnmatchcase(one, p) for one in (model, name) for p in site.models_denied):
        return False
    return not site.models or any(fnmatchcase(model, p) for p in site.models)


def output_bound(site: SitePolicy, asked: int | None) -> int | None:
    """The bound that the answer must keep; None leaves it to client and provider."""
    bounds = [b for b in (asked, site.output_tokens_max) if b is not None]
    if bounds:
        return min(bounds)
    return OUTPUT_TOKENS_DEFAULT if site.capped else None


def resolve(site: Wishes, route: Wishes) -> tuple[Wishes, Weights | None]:
    """What a site's and a route's wishes come to.

    Preferences: the route's, where it has any. Limits: the narrower of the two; a route
    cannot lift a site's ceiling, nor open a region.
    """
    if route.prefer is not None or route.weights is not None:
        prefer, weights = route.prefer, route.weights
    else:
        prefer, weights = site.prefer, site.weights
    if weights is None:
        weights = PRESETS[prefer or "ordered"]
    ceilings = [
        c for c in (site.cost_nanousd_max, route.cost_nanousd_max) if c is not None
    ]
    regions = route.regions or site.regions
    if site.regions and route.regions:
        regions = tuple(r for r in route.regions if r in site.regions) or ("none",)
    slo_s = route.latency_slo_s
    if slo_s is None:
        slo_s = site.latency_slo_s
    return (
        Wishes(
            prefer=prefer,
            weights=weights,
            latency_slo_s=slo_s,
            cost_nanousd_max=min(ceilings) if ceilings else None,
            regions=regions,
        ),
        weights,
    )
