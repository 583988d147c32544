"""Settings: `stagedoor.toml`, the environment and flags, as frozen values.

Every setting is defined once, in config.py; parsing, flags, variables, the printed
reference and docs/settings.md are renderings of that definition.
"""

from gateway.settings.changes import Change, Diff, diff
from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from gateway.settings.definition import evolve
from gateway.settings.errors import ConfigError, Problem, UnreadableError
from gateway.settings.keys import SiteKey
from gateway.settings.load import Source, load
from gateway.settings.prices import PriceConfig
from gateway.settings.providers import BreakerConfig, ProviderConfig
from gateway.settings.server import (
    Deadlines,
    Limits,
    ServerConfig,
    UpstreamDeadlines,
)
from gateway.settings.sites import SiteConfig
from gateway.settings.values import Bind

__all__ = [
    "Bind",
    "BreakerConfig",
    "Candidate",
    "Change",
    "Config",
    "ConfigError",
    "Deadlines",
    "Diff",
    "Limits",
    "ModelConfig",
    "PriceConfig",
    "Problem",
    "ProviderConfig",
    "ServerConfig",
    "SiteConfig",
    "SiteKey",
    "Source",
    "UnreadableError",
    "UpstreamDeadlines",
    "diff",
    "evolve",
    "load",
]
