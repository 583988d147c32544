"""What commands that read a configuration have in common: its file and its flags."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.cli import REFUSED, USAGE, complain
from gateway.settings.config import Config
from gateway.settings.definition import Row, flag_name, rows
from gateway.settings.errors import ConfigError, UnreadableError
from gateway.settings.load import Source

FILE_VARIABLE: Final = "STAGEDOOR_CONFIG"
FILE_DEFAULT: Final = "stagedoor.toml"

# What a setting's reader is called, and the word for it in `--help`.
WORDS: Final = (
    ("URL", "URL"),
    ("address", "ADDRESS"),
    ("network", "NETWORK,…"),
    ("path", "PATH"),
    ("whole number", "N"),
    ("true or false", "true|false"),
    (" or ", "WORD"),
    ("list", "WORD,…"),
)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        default=None,
        metavar="FILE",
        help=f"the TOML file (default: ${FILE_VARIABLE}, else {FILE_DEFAULT})",
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting of the server, and `--set` for all others."""
    group = parser.add_argument_group("settings")
    for row in rows(Config):
        if row.repeated or not row.flag:
            continue
        default = row.default_text.replace("%", "%%")
        group.add_argument(
            flag_name(row.path),
            dest=f"setting:{row.path}",
            metavar=_value(row),
            help=f"{row.what.doc.replace('%', '%%')} (default: {default})",
        )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="any other setting, as in --set providers.main.queue_max=8",
    )


def _value(row: Row) -> str:
    """What a flag takes, in a word of capitals."""
    if row.what.unit:
        return "DAYS" if "days" in row.what.unit.lower() else row.what.unit.upper()
    kind = row.what.reader.name
    return next((word for name, word in WORDS if name in kind), "VALUE")


def given_flags(args: argparse.Namespace) -> dict[str, str]:
    """The settings on the command line, by their full path.

    Raises:
        ValueError: A `--set` is no PATH=VALUE.
    """
    found = {
        name.removeprefix("setting:"): value
        for name, value in vars(args).items()
        if name.startswith("setting:") and value is not None
    }
    for assignment in args.set:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            # Not echoed: it may be a key that was meant for another flag.
            raise ValueError("--set takes PATH=VALUE")
        found[path.strip()] = value
    return found


def config_path(args: argparse.Namespace, env: Mapping[str, str]) -> Path:
    """The file that was asked for."""
    return args.config or Path(env.get(FILE_VARIABLE) or FILE_DEFAULT)


def is_named(args: argparse.Namespace, env: Mapping[str, str]) -> bool:
    """Whether somebody asked for that file, rather than for the usual one."""
    return args.config is not None or bool(env.get(FILE_VARIABLE))


def load_or_complain(source: Source) -> Config | int:
    """The configuration, or the exit code after saying all that is wrong."""
    try:
        return source.load()
    except UnreadableError as error:
        complain(error)
        return USAGE
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return REFUSED


def environment() -> Mapping[str, str]:
    """The process's environment, as it was when the command began."""
    return dict(os.environ)
