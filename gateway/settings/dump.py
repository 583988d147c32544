"""Config objects as the tables they were written as: for the admin API and exports.

The inverse of `build.py`, over the same definitions: what is as its default is left
out, and so is what is secret. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, cast

import attrs

from gateway.settings import values
from gateway.settings.config import Config
from gateway.settings.definition import Items, Section, Setting, Table, entries

NO_PARENT: Final = object()


def document_of(made: Any, *, server: Config | None = None) -> dict[str, Any]:
    """A table's settings, without its name, its secrets and its defaults.

    `server` is the configuration that it is part of: what a table takes from there is
    not its own.
    """
    return _table(made, server, NO_PARENT)


def _table(made: Any, root: Config | None, parent: object) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries(type(made)):
        value = getattr(made, entry.attribute)
        match entry.what:
            case Setting() as what:
                if entry.key == "name" or what.secret or value is None:
                    continue
                default = _default(entry.default, made)
                if parent is not NO_PARENT:
                    default = getattr(parent, entry.attribute, default)
                if entry.required or value != default:
                    found[entry.key] = _written(value, what)
            case Section(inherits=inherits):
                above = _at(root, inherits) if inherits and root else NO_PARENT
                if below := _table(value, root, above):
                    found[entry.key] = below
            case Items():
                if value:
                    found[entry.key] = [
                        {"name": one.name, **_table(one, root, NO_PARENT)}
                        for one in value
                    ]
            case Table():
                tables = cast("Mapping[str, Any]", value)
                if tables:
                    found[entry.key] = {
                        name: _table(one, root, NO_PARENT)
                        for name, one in tables.items()
                    }
    return found


def _default(default: object, made: object) -> object:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        factory: Any = default
        return factory.factory(made) if factory.takes_self else factory.factory()
    return default


def _at(root: Config, path: str) -> object:
    found: Any = root
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _written(value: Any, what: Setting) -> Any:
    """A value as TOML and JSON have it."""
    if what.reader is values.MONEY:
        return Decimal(values.show_usd(value))
    if isinstance(value, tuple | list):
        return [_plain(one) for one in cast("tuple[Any, ...]", value)]
    return _plain(value)


def _plain(value: Any) -> Any:
    # Paths, addresses, candidates, shares: each prints as it is written.
    return value if isinstance(value, bool | int | float | str) else str(value)
