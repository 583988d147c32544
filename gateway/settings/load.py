"""Loading: file, environment and flags in, one `Config` or every problem out.

Owns: `load`, and `Source`, which can load again when the file has changed.
Never: prints a key, or keeps the environment in something with a telling repr.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from gateway.settings.build import Builder
from gateway.settings.checks import problems
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError
from gateway.settings.sources import from_environment, from_flags, read_toml


def load(
    path: Path | None, env: Mapping[str, str], flags: Mapping[str, str] | None = None
) -> Config:
    """The configuration from defaults < file < environment < flags.

    Args:
        path: The TOML file; None for defaults and overrides alone.
        env: The environment; variables with `__` after STAGEDOOR_ are overrides.
        flags: Overrides by the setting's full path, such as `server.bind`.

    Raises:
        UnreadableError: There is no such file, or it is no TOML.
        ConfigError: With everything that is wrong with it.
    """
    raw = read_toml(path) if path else {}
    overrides = [*from_environment(env), *from_flags(flags or {})]
    source = str(path) if path else "defaults"
    builder = Builder(Config, source, path.parent if path else Path(), overrides)
    made: Config = builder.build(raw)
    for where, what in problems(made, builder.where, builder.declared):
        builder.report(where, what)
    _check_files(made, builder)
    if builder.problems:
        raise ConfigError(tuple(builder.problems))
    return made


def _check_files(config: Config, builder: Builder) -> None:
    for key in ("tls_cert", "tls_key"):
        path: Path | None = getattr(config.server, key)
        if path is not None and not path.is_file():
            builder.report(f"server.{key}", f"{path} is no file")


def exposed(path: Path) -> bool:
    """Whether others on this machine can read the file (it may hold site keys)."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


@attrs.frozen
class Source:
    """Where a configuration came from, to load it again."""

    path: Path
    env: Mapping[str, str] = attrs.field(repr=False)
    flags: Mapping[str, str] = attrs.field(factory=dict[str, str])

    def load(self) -> Config:
        """Load it, as `load` does."""
        return load(self.path, self.env, self.flags)
