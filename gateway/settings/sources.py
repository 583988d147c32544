"""Where settings come from: a TOML file, the environment, flags.

Owns: reading the file, and turning variables and flags into `Override`s.
Never: interprets a value; that is the readers' part.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs

from gateway.settings.definition import ENV_PREFIX, ENV_SEPARATOR, env_name, flag_name
from gateway.settings.errors import Problem, UnreadableError

FILE_BYTES_MAX: Final = 4 * 2**20  # Ten thousand sites; more belongs in the database.
ENVIRONMENT: Final = "environment"
COMMAND_LINE: Final = "command line"


@attrs.frozen
class Override:
    """A setting's value from outside of the file."""

    variable: str
    text: str = attrs.field(repr=False)  # It may be a key.
    source: str
    where: str


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Numbers with a point come as Decimal: money is exact."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        what = (
            "is not there; `stagedoor settings --format toml` prints a file to start "
            "from, `stagedoor demo` needs none"
        )
        raise UnreadableError((Problem(str(path), "", what),)) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise UnreadableError((Problem(str(path), "", what),)) from None
    if len(data) > FILE_BYTES_MAX:
        what = f"is larger than {FILE_BYTES_MAX} bytes"
        raise UnreadableError((Problem(str(path), "", what),))
    try:
        return tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 (at byte {error.start})"
    except tomllib.TOMLDecodeError as error:
        what = f"is not TOML: {error}"
    # Outside of the handlers, so that the message does not carry the file's text along.
    raise UnreadableError((Problem(str(path), "", what),))


def from_environment(env: Mapping[str, str]) -> list[Override]:
    """The overrides in the environment."""
    return [
        Override(variable, text, ENVIRONMENT, variable)
        for variable, text in sorted(env.items())
        if variable.startswith(ENV_PREFIX)
        and ENV_SEPARATOR in variable.removeprefix(ENV_PREFIX)
    ]


_SEGMENT: Final = re.compile(r'"([^"]*)"|([^."]+)')


def from_flags(flags: Mapping[str, str]) -> list[Override]:
    """The overrides on the command line, by the setting's full path."""
    return [
        Override(env_name(split_path(path)), text, COMMAND_LINE, label(path))
        for path, text in flags.items()
    ]


def split_path(path: str) -> list[str]:
    """The parts of `providers.main.prices."gpt-4.1".input_usd_per_mtok`."""
    return [quoted or plain for quoted, plain in _SEGMENT.findall(path)]


def label(path: str) -> str:
    """How the flag of a path was written."""
    return flag_name(path) if path.startswith("server.") else f"--set {path}"
