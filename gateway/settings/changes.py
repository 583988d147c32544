"""What changed between two configurations, and what a running gateway can obey.

Pure: compares values, says nothing about how a change is applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from gateway.settings.config import Config
from gateway.settings.definition import Items, Reload, Section, Setting, Table, entries


@attrs.frozen
class Change:
    """One setting or one whole item that is different. None: it is not there."""

    path: str
    old: Any = attrs.field(repr=False)  # Values are for applying, not for showing:
    new: Any = attrs.field(repr=False)  # the path says enough in a log.
    reload: Reload = "live"

    def __str__(self) -> str:
        if self.old is None and self.new is not None:
            return f"{self.path} added"
        if self.new is None and self.old is not None:
            return f"{self.path} removed"
        return f"{self.path} changed"


@attrs.frozen
class Diff:
    """The changes a reload applies, and those that wait for a restart."""

    live: tuple[Change, ...]
    restart: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.live or self.restart)

    def touches(self, prefix: str) -> bool:
        """Whether a live change is at or below `prefix`, such as `providers.main`."""
        return any(
            change.path == prefix or change.path.startswith(f"{prefix}.")
            for change in self.live
        )


def diff(old: Config, new: Config) -> Diff:
    """What a reload from `old` to `new` means."""
    found = tuple(_compare(Config, old, new, ""))
    return Diff(
        live=tuple(change for change in found if change.reload == "live"),
        restart=tuple(change for change in found if change.reload == "restart"),
    )


def _compare(cls: type[Any], old: Any, new: Any, path: str) -> Iterator[Change]:
    for entry in entries(cls):
        here = f"{path}.{entry.key}" if path else entry.key
        before = getattr(old, entry.attribute)
        after = getattr(new, entry.attribute)
        match entry.what:
            case Setting() as what:
                if before != after:
                    yield Change(here, before, after, what.reload)
            case Section(of):
                # The values say what they are: server.deadlines has more settings.
                yield from _compare(of, before, after, here)
            case Items(of) as what:
                was, is_now = _by_name(before), _by_name(after)
                yield from _compare_named(of, was, is_now, here)
                if what.ordered and [*was] != [*is_now] and was.keys() == is_now.keys():
                    yield Change(here, before, after)
            case Table(of):
                yield from _compare_named(of, before, after, here)


def _by_name(items: tuple[Any, ...]) -> dict[str, Any]:
    return {item.name: item for item in items}


def _compare_named(
    cls: type[Any], old: Mapping[str, Any], new: Mapping[str, Any], path: str
) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        here = f"{path}.{name}"
        if name in old and name in new:
            if old[name] is new[name]:
                continue  # Most of many: those of the database are built once.
            yield from _compare(cls, old[name], new[name], here)
        else:
            yield Change(here, old.get(name), new.get(name))
