"""What the directory says, as this process holds it: objects, keys, a generation.

Owns: the copy, and the configuration that it makes together with the file's (`base`).
It is kept by changes: after the first read, what is read is what changed. Never: waits;
`following.py` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from actors.directory.messages import Changes, Declared, HeldKey
from gateway.settings.config import Config
from gateway.settings.documents import Documents
from gateway.settings.errors import ConfigError

PROBLEMS_SHOWN_MAX: Final = 50  # A broken tenant breaks its thousand sites.


@attrs.frozen
class Moved:
    """What a change touched: whether objects, and which keys."""

    objects: bool
    keys: tuple[HeldKey, ...]
    gone_keys: tuple[str, ...]


class Roster:
    """The copy."""

    def __init__(self, base: Config) -> None:
        self.base = base
        self.generation = 0
        self.keys: dict[str, HeldKey] = {}
        self._objects: dict[tuple[str, str], Declared] = {}
        self._documents = Documents()

    def __repr__(self) -> str:
        return (
            f"<Roster #{self.generation} objects={len(self._objects)} "
            f"keys={len(self.keys)}>"
        )

    @property
    def objects(self) -> tuple[Declared, ...]:
        """Every object, in the order of their versions."""
        return tuple(in_order(self._objects.values()))

    def take(self, changes: Changes) -> Moved:
        """Follow what changed."""
        gone_keys = {name for kind, name in changes.gone if kind == "key"}
        gone = {one for one in changes.gone if one in self._objects}
        if changes.whole:
            gone_keys |= self.keys.keys()
            gone |= self._objects.keys()
            self._objects = {}
            self.keys = {}
        for one in gone:
            self._objects.pop(one, None)
        for key_id in gone_keys:
            self.keys.pop(key_id, None)
        for made in changes.declared:
            self._objects[made.kind, made.name] = made
        for key in changes.keys:
            self.keys[key.facts.id] = key
        self.generation = changes.generation
        return Moved(
            bool(gone or changes.declared),
            changes.keys,
            tuple(sorted(gone_keys - {key.facts.id for key in changes.keys})),
        )

    def merged(self) -> Config:
        """The file's configuration with these objects. Raises ConfigError."""
        if not self._objects:
            return self.base
        return self._documents.merged(self.base, self.objects)

    def judge(self, objects: Iterable[Declared]) -> tuple[str, ...]:
        """What would be wrong with these objects beside the file's."""
        try:
            self._documents.merged(self.base, in_order(objects))
        except ConfigError as error:
            found = [str(problem) for problem in error.problems]
            if len(found) > PROBLEMS_SHOWN_MAX:
                more = f"and {len(found) - PROBLEMS_SHOWN_MAX} more"
                return (*found[:PROBLEMS_SHOWN_MAX], more)
            return tuple(found)
        return ()


def in_order(objects: Iterable[Declared]) -> Sequence[Declared]:
    """By version: as they were written, so that lists have one order everywhere."""
    return sorted(objects, key=lambda one: one.version)
