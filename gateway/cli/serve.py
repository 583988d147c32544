"""`stagedoor serve`: run the gateway until it is told to stop."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gateway.cli import OK, REFUSED, UNREACHABLE, USAGE, complain
from gateway.cli.source import (
    add_config,
    add_flags,
    config_path,
    environment,
    given_flags,
    load_or_complain,
)
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError
from gateway.settings.load import Source
from gateway.workers.failure import WorkersFailed

OnReady = Callable[[Sequence[str]], None]
"""Called once, with the URLs that the gateway listens on."""


class Run(Protocol):
    """`gateway.serve.run`: serves until a signal says stop, then drains."""

    def __call__(
        self,
        config: Config,
        *,
        source: Source | None = None,
        on_ready: OnReady | None = None,
    ) -> None:
        """Serve `config`; follow `source` for reloads, where there is one."""
        ...


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and a flag for every setting of the server."""
    # The list of all flags would be a screen of brackets before the first word.
    parser.usage = "stagedoor serve [--config FILE] [--SETTING VALUE ...]"
    add_config(parser)
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Serve."""
    env = environment()
    try:
        source = Source(config_path(args, env), env, given_flags(args))
    except ValueError as error:
        complain(error)
        return USAGE
    config = load_or_complain(source)
    if isinstance(config, int):
        return config
    return serve(config, source=source, on_ready=_announce)


def serve(config: Config, *, source: Source | None, on_ready: OnReady) -> int:
    """Run the gateway; the exit code. The import is late because it is heavy."""
    running = cast("Run", importlib.import_module("gateway.serve").run)
    try:
        running(config, source=source, on_ready=on_ready)
    except ConfigError as error:
        complain(error)
        return REFUSED
    except WorkersFailed as error:
        complain(error)
        return error.code
    except OSError as error:
        if error.filename:  # A file, then; addresses have none.
            complain(f"cannot use {error.filename}: {error.strerror}")
            return USAGE
        complain(f"cannot listen on {config.server.bind}: {error.strerror or error}")
        return UNREACHABLE
    return OK


def _announce(urls: Sequence[str]) -> None:
    for url in urls:
        print(f"stagedoor serves on {url}", flush=True)
