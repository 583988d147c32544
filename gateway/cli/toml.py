"""Tables as TOML, in one stable order: what is exported twice is the same twice. Pure.

Values come first, then tables, then arrays of tables, each by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def dumps(root: Mapping[str, Any]) -> str:
    """A document."""
    return "\n".join(_table(root, [])).strip() + "\n"


def _table(table: Mapping[str, Any], path: list[str]) -> Iterator[str]:
    below: list[tuple[str, Any]] = []
    for name, value in sorted(
        table.items(), key=lambda item: (item[0] != "name", item)
    ):
        if isinstance(value, Mapping) or _is_tables(value):
            below.append((name, value))
        elif value is not None:
            yield f"{_key(name)} = {_value(value)}"
    for name, value in below:
        here = [*path, name]
        header = ".".join(map(_key, here))
        if isinstance(value, Mapping):
            yield ""
            yield f"[{header}]"
            yield from _table(cast("Mapping[str, Any]", value), here)
        else:
            for one in cast("Sequence[Mapping[str, Any]]", value):
                yield ""
                yield f"[[{header}]]"
                yield from _table(one, here)


def _is_tables(value: object) -> bool:
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(one, Mapping) for one in cast("list[object]", value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal():
            return str(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, cast('list[object]', value)))}]"
        case Mapping():
            pairs = cast("Mapping[str, object]", value).items()
            inner = ", ".join(f"{_key(name)} = {_value(one)}" for name, one in pairs)
            return f"{{{inner}}}"
        case _:
            return _string(str(value))


def _string(text: str) -> str:
    inner = "".join(
        _ESCAPES.get(char)
        or (char if char.isprintable() or ord(char) > 0x9F else f"\\u{ord(char):04x}")
        for char in text
    )
    return f'"{inner}"'
