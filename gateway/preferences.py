"""From settings to what the router is told of preferences. Pure.

Owns: the words of `gateway/settings/routing.py` in the router's own vocabulary.
"""

from __future__ import annotations

from actors.prober.messages import Probed
from actors.router.messages import Deployment, RoutePolicy, Share, Weights, Wishes
from gateway.settings.config import Config, ModelConfig
from gateway.settings.routing import RoutingConfig, ShareOf


def policies_of(config: Config) -> dict[str, RoutePolicy]:
    """How each model's route chooses, and where else its requests may go."""
    return {model.name: _policy_of(model) for model in config.models}


def aliases_of(config: Config) -> dict[str, str]:
    """Other names, and whose they are."""
    return {alias: model.name for model in config.models for alias in model.aliases}


def wishes_of(routing: RoutingConfig) -> Wishes:
    """What one table of preferences says."""
    own = routing.weights
    weights = Weights(own.latency, own.errors, own.window, own.price)
    return Wishes(
        prefer=routing.prefer,
        weights=None if weights == Weights() else weights,
        latency_slo_s=routing.latency_slo_s,
        cost_nanousd_max=routing.request_nanousd_max,
        regions=routing.regions,
    )


def _policy_of(model: ModelConfig) -> RoutePolicy:
    return RoutePolicy(
        wishes=wishes_of(model.routing),
        canary=_shares(model.canary),
        mirror=_shares(model.mirror),
        hedge=model.hedge,
        fallbacks=model.fallbacks,
        context_fallbacks=model.context_fallbacks,
        content_fallbacks=model.content_fallbacks,
    )


def _shares(shares: tuple[ShareOf, ...]) -> tuple[Share, ...]:
    return tuple(
        Share(Deployment(share.provider, share.model), share.percent)
        for share in shares
    )


def probes_of(config: Config) -> tuple[Probed, ...]:
    """The deployments that are asked when nobody calls them: those on a route."""
    routed = {
        (step.provider, step.model) for model in config.models for step in model.route
    }
    return tuple(
        Probed(
            Deployment(provider.name, model), provider.probe_idle_s, provider.probe_site
        )
        for provider in config.providers
        if provider.probe_idle_s is not None
        for model in provider.models
        if (provider.name, model) in routed
    )
