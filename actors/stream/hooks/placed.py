"""Which hooks an answer passes, in which order, and what they have cost so far. Pure.

Owns: the list as operators wrote it, what of it concerns a site and a model, counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal

import attrs

from actors.stream.hooks.api import Hook, Make

OnFailure = Literal["skip", "fail"]
KNOWN_MAX: Final = 4_096  # Pairs of site and model that are looked up once.


@attrs.define
class Counts:
    """What a hook did since the start, over all answers."""

    calls: int = 0
    chars: int = 0
    spent_s: float = 0.0
    halts: int = 0
    failures: dict[str, int] = attrs.field(factory=dict[str, int])


@attrs.frozen
class Placed:
    """One hook at its place.

    Args:
        sites, models: shell patterns; none are all. Models as clients ask for them.
        on_failure: what becomes of an answer whose hook fails: it goes on without the
            hook, or ends with an error.
        box_s: the time that one call may take.
        isolated: run in a thread, where it can be left behind when its time is up.
    """

    name: str
    kind: str
    make: Make
    options: Mapping[str, str]
    sites: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    on_failure: OnFailure = "skip"
    box_s: float = 0.005
    isolated: bool = False
    counts: Counts = attrs.field(factory=Counts, eq=False)

    def covers(self, site: str, model: str) -> bool:
        """Whether answers of this model to this site pass it."""
        return _fits(site, self.sites) and _fits(model, self.models)

    def fresh(self) -> Hook:
        """For one answer."""
        return self.make(self.options)


class Hooks:
    """The hooks of a gateway; replaced as a whole on reload."""

    def __init__(self, placed: tuple[Placed, ...] = ()) -> None:
        self.placed: tuple[Placed, ...] = ()
        self._known: dict[tuple[str, str], tuple[Placed, ...]] = {}
        self.replace(placed)

    def __repr__(self) -> str:
        """Their names, in order."""
        return f"<Hooks {', '.join(one.name for one in self.placed) or 'none'}>"

    def replace(self, placed: tuple[Placed, ...]) -> None:
        """Answers under way keep theirs. Counts of a hook go on under its name."""
        before = {one.name: one.counts for one in self.placed}
        self.placed = tuple(
            attrs.evolve(one, counts=before.get(one.name, one.counts)) for one in placed
        )
        self._known.clear()

    def of(self, site: str, model: str) -> tuple[Placed, ...]:
        """Those that an answer passes, in order."""
        if not self.placed:
            return ()
        known = self._known.get((site, model))
        if known is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = tuple(one for one in self.placed if one.covers(site, model))
            self._known[site, model] = known
        return known


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
