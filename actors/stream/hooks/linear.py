"""Regular expressions that take linear time, whatever they and the text are. Pure.

RE2's, through google-re2: no backreferences, no look-around. The one place that knows
the library; its typed face is all that hooks use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import re2

PATTERN_CHARS_MAX: Final = 20_000
PROGRAMS_MAX: Final = 256  # A reload brings new ones; old ones are not kept for ever.


class Found(Protocol):
    """A match."""

    def group(self, group: int = 0, /) -> str:
        """The text of it."""
        ...

    def start(self) -> int:
        """Where it begins."""
        ...

    def end(self) -> int:
        """Behind its last character."""
        ...


class Pattern(Protocol):
    """A compiled pattern. Positions are in characters of `text`."""

    def search(
        self, text: str, pos: int | None = None, endpos: int | None = None, /
    ) -> Found | None:
        """The leftmost match."""
        ...

    def match(
        self, text: str, pos: int | None = None, endpos: int | None = None, /
    ) -> Found | None:
        """The match that begins at `pos`."""
        ...

    def sub(self, repl: Callable[[Found], str], text: str, /) -> str:
        """Replace all matches."""
        ...


_programs: dict[str, Pattern] = {}


def compiled(source: str) -> Pattern:
    """One program a pattern for the whole process. Raises ValueError."""
    program = _programs.get(source)
    if program is not None:
        return program
    if len(source) > PATTERN_CHARS_MAX:
        raise ValueError(f"patterns have at most {PATTERN_CHARS_MAX} characters")
    library: Any = re2
    try:
        program = cast("Pattern", library.compile(source))
    except library.error as error:
        raise ValueError(f"a pattern is none of RE2's: {error}") from None
    if len(_programs) >= PROGRAMS_MAX:
        _programs.clear()
    _programs[source] = program
    return program


def escaped(text: str) -> str:
    """A pattern of just this text."""
    library: Any = re2
    return cast("str", library.escape(text))
