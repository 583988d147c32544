"""`stagedoor check FILE`: every problem of a configuration, or what it would serve.

Nothing is started and nothing written, so it can run in CI, before a deployment and
beside a running gateway.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from actors.stream.hooks.placed import Placed
from gateway.cli import OK, REFUSED, USAGE, complain
from gateway.cli.source import add_flags, environment, given_flags, load_or_complain
from gateway.hooks import placed
from gateway.settings.checks import notes
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError
from gateway.settings.load import Source, exposed
from gateway.settings.money import CapConfig
from gateway.settings.prices import PriceConfig
from gateway.settings.providers import ProviderConfig
from gateway.settings.sites import SiteConfig
from gateway.settings.values import show_usd


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and the flags that `serve` would be given."""
    parser.usage = "stagedoor check FILE [--SETTING VALUE ...]"
    parser.add_argument("file", type=Path, metavar="FILE", help="the TOML file")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Check it."""
    try:
        source = Source(args.file, environment(), given_flags(args))
    except ValueError as error:
        complain(error)
        return USAGE
    config = load_or_complain(source)
    if isinstance(config, int):
        return config
    try:
        hooks = placed(config)
    except ConfigError as error:
        complain(error)
        return REFUSED
    print(f"{args.file}: no problems")
    print("\n".join(summary(config)))
    for line in _listed("hooks", [(one.name, _hook(one)) for one in hooks]):
        print(line)
    for note in notes(config, source.env):
        print(f"note: {note}")
    if any(site.keys for site in config.sites) and exposed(args.file):
        print(f"note: {args.file} holds keys and other users can read it; chmod 600 it")
    return OK


def summary(config: Config) -> Iterator[str]:
    """What the configuration serves, a line each."""
    server = config.server
    scheme = "https" if server.tls_cert else "http"
    yield f"listen     {server.bind} ({scheme})"
    if server.admin_bind:
        yield f"admin      {server.admin_bind}"
    yield f"state      {server.state_dir}"
    yield from _listed("sites", [_site(site) for site in config.sites])
    yield from _listed("caps", [_cap(cap) for cap in config.caps])
    yield from _listed("providers", [_provider(one) for one in config.providers])
    yield from _listed(
        "models",
        [(model.name, " then ".join(map(str, model.route))) for model in config.models],
    )


def _listed(title: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in found), default=0)
    for index, (name, about) in enumerate(found):
        yield f"{title if index == 0 else '':10} {name:{width}}  {about}"


def _site(site: SiteConfig) -> tuple[str, str]:
    about = [_count(len(site.keys), "key"), f"models {', '.join(site.models)}"]
    if site.in_flight_max:
        about.append(f"at most {site.in_flight_max} at once")
    if site.spend_max_nanousd is not None:
        window = {"total": "in total"}.get(site.spend_window, f"a {site.spend_window}")
        about.append(f"at most ${show_usd(site.spend_max_nanousd)} {window}")
    return site.name, "; ".join(about)


def _cap(cap: CapConfig) -> tuple[str, str]:
    window = {"total": "in total"}.get(cap.window, f"a {cap.window}")
    rolling = ", rolling" if cap.rolling else ""
    whose = "for all together" if cap.per == "all" else f"for each {cap.per}"
    spend = f"${show_usd(cap.spend_max_nanousd)} {window}{rolling}"
    return cap.name, f"{cap.kind}; {spend}, {whose}"


def _provider(provider: ProviderConfig) -> tuple[str, str]:
    models = ", ".join(
        f"{model}{_price(provider.prices.get(model))}" for model in provider.models
    )
    about = [provider.kind, provider.base_url, f"models {models}"]
    about.append(f"at most {provider.in_flight_max} at once")
    return provider.name, "; ".join(part for part in about if part)


def _hook(hook: Placed) -> str:
    where = [
        f"{what} {', '.join(names)}"
        for what, names in (("sites", hook.sites), ("models", hook.models))
        if names
    ]
    about = [hook.kind, *where, f"{hook.on_failure}s when it fails"]
    return "; ".join([*about, "isolated"] if hook.isolated else about)


def _price(price: PriceConfig | None) -> str:
    if price is None:
        return ""
    given = show_usd(price.input_nanousd_per_mtok)
    answered = show_usd(price.output_nanousd_per_mtok)
    return f" (${given} in, ${answered} out a million tokens)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
