"""From tables and overrides to config objects, collecting every problem on the way.

Owns: the walk over the definitions, precedence (file < environment < flags), the
suggestions for misspelt keys.
Never: does I/O, or stops at the first problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from gateway.settings.definition import (
    MISSING,
    Entry,
    Items,
    Section,
    Setting,
    Table,
    entries,
    env_name,
    rows,
)
from gateway.settings.errors import Problem, Unfit, echo
from gateway.settings.sources import COMMAND_LINE, Override, label
from gateway.settings.values import LIST_ITEMS_MAX, UnfitEntry

_BROKEN: Final = object()


class Builder:
    """Builds one configuration; `problems` says what was wrong with it."""

    def __init__(
        self, root: type[Any], source: str, base: Path, overrides: Iterable[Override]
    ) -> None:
        self.problems: list[Problem] = []
        self.declared: dict[str, set[str]] = {}
        self._root = root
        self._source = source
        self._base = base
        # Later ones win: the caller gives the environment first, then the flags.
        self._overrides = {override.variable: override for override in overrides}
        self._used: dict[str, str] = {}
        self._offered: dict[str, str] = {}
        self._built: dict[str, object] = {}
        self._where: dict[int, str] = {}

    def build(self, raw: Mapping[str, Any]) -> Any:
        """The root object, without its broken parts."""
        made = self._table(self._root, raw, "", [])
        self._report_unused()
        return made

    def build_one(
        self,
        cls: type[Any],
        raw: Mapping[str, Any],
        where: str,
        inherited: Mapping[str, object],
    ) -> Any | None:
        """One object that stands by itself; None where it is broken."""
        self._built.update(inherited)
        return self._table(cls, raw, where, [])

    def where(self, made: object) -> str:
        """Where an object was written."""
        return self._where[id(made)]

    def report(self, where: str, what: str) -> None:
        """Add a problem, citing whichever source the value came from."""
        override = self._overrides.get(self._used.get(where, ""))
        if override is None:
            self.problems.append(Problem(self._source, where, what))
        else:
            self.problems.append(Problem(override.source, override.where, what))

    def _table(
        self,
        cls: type[Any],
        raw: object,
        where: str,
        names: list[str],
        parent: object | None = None,
    ) -> Any | None:
        if not isinstance(raw, Mapping):
            self.report(where, "is not a table")
            return None
        tables = cast("Mapping[str, Any]", raw)
        defined = entries(cls)
        self._report_unknown(defined, tables, where)
        values: dict[str, Any] = {}
        for entry in defined:
            here = f"{where}.{entry.key}" if where else entry.key
            value = self._value(entry, tables, here, [*names, entry.key], parent)
            if value is not MISSING:
                values[entry.attribute] = value
        if _BROKEN in values.values():
            if cls is not self._root:
                return None
            # Whole all the same, so that the checks between tables find their part.
            values = {key: one for key, one in values.items() if one is not _BROKEN}
        made = cls(**values)
        self._where[id(made)] = where
        self._built[where] = made
        if hasattr(made, "problems") and not _is_copy(made, parent):
            for key, what in made.problems():
                self.report(f"{where}.{key}", what)
        return made

    def _value(
        self,
        entry: Entry,
        raw: Mapping[str, Any],
        where: str,
        names: list[str],
        parent: object | None,
    ) -> Any:
        match entry.what:
            case Setting() as what:
                return self._setting(entry, what, raw, where, names, parent=parent)
            case Section(of, _, _, inherits):
                made = self._table(
                    of, raw.get(entry.key, {}), where, names, self._built.get(inherits)
                )
                return _BROKEN if made is None else made
            case Items(of):
                return self._items(of, raw.get(entry.key, []), where, names)
            case Table(of):
                return self._named(of, raw.get(entry.key, {}), where, names)

    def _setting(
        self,
        entry: Entry,
        what: Setting,
        raw: Mapping[str, Any],
        where: str,
        names: list[str],
        *,
        parent: object | None,
    ) -> Any:
        variable = env_name(names)
        is_identity = entry.key == "name"
        if not is_identity:
            self._offered[variable] = ".".join(map(quoted, names))
        override = None if is_identity else self._overrides.get(variable)
        base = self._base
        if override is not None:
            self._claim(variable, where)
            if what.secret and override.source == COMMAND_LINE:
                self.report(where, "may not be a flag: `ps` shows flags to everyone")
                return _BROKEN
            value = what.reader.parse(override.text)
            base = Path()
        elif entry.key in raw:
            value = raw[entry.key]
        elif entry.required:
            self.report(where, f"is missing; it takes: {what.reader.name}")
            return _BROKEN
        elif parent is not None:
            return getattr(parent, entry.attribute)
        elif isinstance(entry.default, Path):
            return base / entry.default
        else:
            return MISSING
        try:
            found = what.reader.read(value)
        except UnfitEntry as unfit:
            hidden = what.secret or unfit.hidden
            subject = "the entry" if hidden else echo(unfit.entry)
            at = f"{where}[{unfit.index}]"
            if variable in self._used:
                self._used[at] = variable
            self.report(at, f"{subject} {unfit.why}")
            return _BROKEN
        except Unfit as unfit:
            hidden = what.secret or unfit.hidden
            subject = "the value" if hidden else echo(value)
            self.report(where, f"{subject} {unfit.why}")
            return _BROKEN
        return base / found if isinstance(found, Path) else found

    def _claim(self, variable: str, where: str) -> None:
        """Two names can be one variable (a-b, a_b): say so rather than guess."""
        override = self._overrides[variable]
        for earlier, claimed in self._used.items():
            if claimed == variable and earlier != where:
                what = f"could mean {earlier} or {where}; set it in the file"
                self.problems.append(Problem(override.source, override.where, what))
        self._used[where] = variable

    def _items(
        self, of: type[Any], raw: object, where: str, names: list[str]
    ) -> tuple[Any, ...] | object:
        if not isinstance(raw, list):
            self.report(where, f"is not an array of tables; write [[{where}]]")
            return _BROKEN
        found = cast("list[object]", raw)
        if len(found) > LIST_ITEMS_MAX:
            self.report(where, f"has more than {LIST_ITEMS_MAX} entries")
            return _BROKEN
        taken: dict[str, str] = {}
        made: list[Any] = []
        for index, one in enumerate(found):
            here = f"{where}[{index}]"
            table = cast("dict[str, object]", one) if isinstance(one, dict) else {}
            name = str(table.get("name", ""))
            if name and name in taken:
                what = f"{echo(name)} is the name of {taken[name]} already"
                self.report(f"{here}.name", what)
            taken.setdefault(name, here)
            made.append(self._table(of, one, here, [*names, name]))
        self.declared[where] = set(taken) - {""}
        return tuple(one for one in made if one is not None)

    def _named(
        self, of: type[Any], raw: object, where: str, names: list[str]
    ) -> Mapping[str, Any] | object:
        if not isinstance(raw, dict):
            self.report(where, f"is not a table; write [{where}.NAME]")
            return _BROKEN
        found = cast("dict[str, object]", raw)
        made = {
            name: self._table(of, one, f"{where}.{quoted(name)}", [*names, name])
            for name, one in found.items()
        }
        return _BROKEN if None in made.values() else MappingProxyType(made)

    def _report_unknown(
        self, defined: tuple[Entry, ...], raw: Mapping[str, Any], where: str
    ) -> None:
        known = [entry.key for entry in defined]
        for key in raw:
            if key in known:
                continue
            here = f"{where}.{quoted(key)}" if where else quoted(key)
            self.report(here, f"is no setting{self._suggestion(key, known)}")

    def _suggestion(self, key: str, known: list[str]) -> str:
        if close := get_close_matches(key, known, n=1):
            return f"; did you mean {close[0]}?"
        # Right key, wrong table: say which table has it.
        headers = [row.header for row in rows(self._root) if row.key == key]
        if headers:
            return f"; it belongs in {' or '.join(headers)}"
        return f"; known here: {', '.join(known)}"

    def _spelt(self, variable: str, override: Override) -> str:
        """A setting's name in the way that an override was given."""
        if override.source == COMMAND_LINE:
            return label(self._offered[variable])
        return variable

    def _report_unused(self) -> None:
        claimed = set(self._used.values())
        for variable, override in self._overrides.items():
            if variable in claimed:
                continue
            # Long names with one beginning are alike however their ends differ.
            close = get_close_matches(variable, self._offered, n=1, cutoff=0.9)
            hint = f"; did you mean {self._spelt(close[0], override)}?" if close else ""
            what = f"names no setting of this configuration{hint}"
            self.problems.append(Problem(override.source, override.where, what))


def _is_copy(made: object, parent: object | None) -> bool:
    """Whether a section took every value from the one it inherits from.

    Then its problems are those of the parent, and reported there.
    """
    return parent is not None and all(
        getattr(made, entry.attribute) == getattr(parent, entry.attribute)
        for entry in entries(type(made))
    )


def quoted(key: str) -> str:
    """A key as it stands in a TOML path."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else echo(key)
