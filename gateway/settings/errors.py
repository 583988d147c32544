"""What can be wrong with a configuration, and how it is said.

Owns: `Problem` (one finding), `ConfigError` (all of them at once), `Unfit` (a
reader's verdict on one value).
Never: prints a value of a setting marked secret.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Final

import attrs

# A value is echoed so that its owner recognises it; more would bury the message.
ECHO_CHARS_MAX: Final = 60


class Unfit(ValueError):
    """A value that its reader refuses; `why` completes the sentence "VALUE …".

    `hidden`: the value may be a credential in the wrong place, so it is not echoed.
    """

    def __init__(self, why: str, *, hidden: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.hidden = hidden


@attrs.frozen
class Problem:
    """One finding: where it was written, and what is wrong with it."""

    source: str
    where: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.where, self.what) if part)


class ConfigError(Exception):
    """A configuration that cannot be served; carries every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class UnreadableError(ConfigError):
    """The file itself is missing, may not be read or is no TOML."""


def echo(value: object) -> str:
    """A value as its owner typed it, short enough for one line."""
    if isinstance(value, Decimal):
        return str(value)
    text = json.dumps(value, default=str, ensure_ascii=False)
    if len(text) > ECHO_CHARS_MAX:
        return text[: ECHO_CHARS_MAX - 1] + "…"
    return text
