"""What must hold between the tables of a configuration. Pure.

Owns: references (routes, patterns, prices), uniqueness of keys, and the notes that
`stagedoor check` prints about what is allowed and yet worth knowing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from functools import cache
from urllib.parse import urlsplit

from gateway.settings.config import Config
from gateway.settings.keys import SiteKey
from gateway.settings.money import RUNGS_MAX
from gateway.settings.server import Found
from gateway.settings.values import is_loopback

Where = Callable[[object], str]


def problems(
    config: Config, where: Where, declared: Mapping[str, AbstractSet[str]]
) -> Found:
    """What does not fit together.

    `declared` holds every name in the file, those of broken tables too: what refers
    to them is not wrong as well.
    """
    yield from _shared_keys(config, where)
    yield from _homes(config, where, declared.get("tenants", frozenset()))
    yield from _routes(config, where, declared.get("providers", frozenset()))
    yield from _shares(config, where)
    yield from _probes(config, where, declared.get("sites", frozenset()))
    yield from _fallbacks(config, where, declared.get("models", frozenset()))
    yield from _patterns(config, where, declared.get("models", frozenset()))
    yield from _ladders(config, where, declared.get("models", frozenset()))
    yield from _caps(config, where, declared)


def _shared_keys(config: Config, where: Where) -> Found:
    owners: dict[SiteKey, str] = {}
    for site in config.sites:
        for index, key in enumerate(site.keys):
            here = f"{where(site)}.keys[{index}]"
            if key in owners:
                yield here, f"is the same key as {owners[key]}; a key names one site"
            owners.setdefault(key, here)


def _homes(config: Config, where: Where, declared: AbstractSet[str]) -> Found:
    """A site's tenant is there; the vault's own needs no table."""
    tenants = {tenant.name: tenant for tenant in config.tenants}
    for site in config.sites:
        tenant = tenants.get(site.tenant)
        if tenant is None:
            if site.tenant not in ("", config.vault.tenant, *declared):
                known = ", ".join(tenants) or "none"
                yield (
                    f"{where(site)}.tenant",
                    f'"{site.tenant}" is no tenant; tenants are {known}',
                )
            continue
        environments = tenant.environments
        if site.environment and environments and site.environment not in environments:
            yield (
                f"{where(site)}.environment",
                (
                    f'"{site.environment}" is no environment of {tenant.name}; they '
                    f"are {', '.join(environments)}"
                ),
            )


def _routes(config: Config, where: Where, declared: AbstractSet[str]) -> Found:
    served = {provider.name: provider.models for provider in config.providers}
    for model in config.models:
        for index, candidate in enumerate(model.route):
            here = f"{where(model)}.route[{index}]"
            if candidate.provider not in served:
                if candidate.provider not in declared:
                    names = ", ".join(served) or "none"
                    yield (
                        here,
                        f'"{candidate}" names no provider; providers are {names}',
                    )
            elif candidate.model not in served[candidate.provider]:
                models = ", ".join(served[candidate.provider])
                yield (
                    here,
                    (
                        f'"{candidate}" is a model that {candidate.provider} does not '
                        f"list; its models are {models}"
                    ),
                )


def _shares(config: Config, where: Where) -> Found:
    served = {provider.name: provider.models for provider in config.providers}
    for model in config.models:
        for kind, shares in (("canary", model.canary), ("mirror", model.mirror)):
            for index, share in enumerate(shares):
                if share.model not in served.get(share.provider, ()):
                    yield (
                        f"{where(model)}.{kind}[{index}]",
                        f'"{share}" names no model of a configured provider',
                    )
        for kind, shares in (("canary", model.canary), ("mirror", model.mirror)):
            percent = sum(share.percent for share in shares)
            if percent > 100:
                yield (
                    f"{where(model)}.{kind}",
                    f"is {percent}% of the requests in all; at most 100% can be sent",
                )


def _probes(config: Config, where: Where, declared: AbstractSet[str]) -> Found:
    """Somebody pays for them."""
    sites = {site.name for site in config.sites} | declared
    for provider in config.providers:
        if provider.probe_idle_s is not None and provider.probe_site not in sites:
            here = f"{where(provider)}.probe_site"
            yield here, "names no site; probe_idle_s wants one that pays for probes"


def _fallbacks(config: Config, where: Where, declared: AbstractSet[str]) -> Found:
    names = {model.name for model in config.models} | set(declared)
    taken: dict[str, str] = {}
    for model in config.models:
        for kind in ("fallbacks", "context_fallbacks", "content_fallbacks"):
            others: tuple[str, ...] = getattr(model, kind)
            for index, other in enumerate(others):
                here = f"{where(model)}.{kind}[{index}]"
                if other == model.name:
                    yield here, "is the model itself"
                elif other not in names:
                    known = ", ".join(sorted(names))
                    yield here, f'"{other}" is no model; models are {known}'
        for index, alias in enumerate(model.aliases):
            here = f"{where(model)}.aliases[{index}]"
            if alias in names:
                yield here, f'"{alias}" is the name of a model'
            elif alias in taken:
                yield here, f'"{alias}" is an alias of {taken[alias]} too'
            taken.setdefault(alias, model.name)


def _patterns(config: Config, where: Where, declared: AbstractSet[str]) -> Found:
    """A pattern that matches nothing is a misspelt limit: refuse it at load."""
    names = {model.name for model in config.models} | set(declared)
    names |= {alias for model in config.models for alias in model.aliases}
    # Sites by the thousand share a few patterns.
    fits = cache(lambda pattern: any(fnmatchcase(name, pattern) for name in names))
    for site in config.sites:
        for index, pattern in enumerate(site.models):
            if pattern == "*" or fits(pattern):
                continue
            known = ", ".join(sorted(names)) or "none"
            yield (
                f"{where(site)}.models[{index}]",
                f'"{pattern}" matches no model; models are {known}',
            )


def _ladders(config: Config, where: Where, declared: AbstractSet[str]) -> Found:
    """A step's model is there, and its site may use it."""
    names = {model.name for model in config.models} | set(declared)
    for site in config.sites:
        if len(site.ladder) > RUNGS_MAX:
            yield f"{where(site)}.ladder", f"has more than {RUNGS_MAX} steps"
        for index, rung in enumerate(site.ladder):
            if not rung.model:
                continue
            here = f"{where(site)}.ladder[{index}].model"
            if rung.model not in names:
                yield here, f'"{rung.model}" names no model'
            elif not any(fnmatchcase(rung.model, pattern) for pattern in site.models):
                yield here, f'"{rung.model}" is not among the models of {site.name}'


def _caps(
    config: Config, where: Where, declared: Mapping[str, AbstractSet[str]]
) -> Found:
    """A cap that covers nothing protects nobody."""
    known = {
        "sites": {site.name for site in config.sites},
        # Not aliases: what is asked for by one counts as its model.
        "models": {model.name for model in config.models},
        "providers": {provider.name for provider in config.providers},
        "keys": {
            f"{site.name}:{key.prefix}" for site in config.sites for key in site.keys
        },
    }
    for cap in config.caps:
        for part, names in known.items():
            there = names | declared.get(part, frozenset())
            for index, pattern in enumerate(getattr(cap, part)):
                if not any(fnmatchcase(name, pattern) for name in there):
                    yield (
                        f"{where(cap)}.{part}[{index}]",
                        f'"{pattern}" matches none of the {part}',
                    )


def notes(config: Config, env: Mapping[str, str]) -> Iterator[str]:
    """What is allowed, and likely not meant."""
    server = config.server
    if not server.bind.is_loopback and not server.tls_cert:
        yield (
            f"{server.bind} is reachable from other machines without TLS: keys and "
            "prompts travel in the clear unless a proxy in front terminates TLS"
        )
    for provider in config.providers:
        if not provider.key and provider.key_env and not env.get(provider.key_env):
            yield (
                f"provider {provider.name}: {provider.key_env} is not set here; "
                "its calls will be refused"
            )
        if provider.base_url.startswith("http://") and not is_loopback(
            urlsplit(provider.base_url).hostname or ""
        ):
            yield (
                f"provider {provider.name}: its key and all prompts travel in the "
                "clear (allow_plain_http)"
            )
    routed = {
        candidate.provider for model in config.models for candidate in model.route
    }
    for provider in config.providers:
        if provider.name not in routed:
            yield f"provider {provider.name}: no model routes to it"
    if not config.models:
        yield "there is no [[models]]: nothing can be asked for"
    for site in config.sites:
        if not site.keys:
            yield f"site {site.name}: it has no keys, so nobody can call as it"
    if not config.sites:
        yield "there is no [[sites]]: nobody can call"
