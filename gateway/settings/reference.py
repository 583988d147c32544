"""The settings reference, as Markdown (docs/settings.md), text, TOML or JSON.

Owns: renderings of the definitions in config.py and server.py. Nothing about a setting
is written here.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

from gateway.settings.config import Config
from gateway.settings.definition import Row, rows

_TEXT_COLUMNS: Final = 79

_INTRODUCTION: Final = """\
<!-- Written by `make docs` from gateway/settings; edit the definitions there. -->
# Settings

`stagedoor serve --config stagedoor.toml` reads its settings from, each overriding the
one before it: defaults, the TOML file, the environment, flags.

- A **variable** is the setting's path in capitals, parts joined by two underscores,
  every other character an underscore: `providers.eu-1.base_url` is
  `STAGEDOOR_PROVIDERS__EU_1__BASE_URL`. Lists are separated by commas.
- A **flag** exists for every setting of `[server]`; the others are
  `--set PATH=VALUE`, as in `--set providers.eu-1.queue_max=8`.
- Variables and flags change tables that the file has; they add none.
- **Reload** says what a running gateway does when the file changes: `live` settings
  apply to the next request, `restart` ones wait for a restart, and it says so.

`stagedoor check FILE` reports every problem of a file at once.
"""


def render(form: str) -> str:
    """The reference in one of FORMS."""
    return FORMS[form]()


def groups() -> Iterator[tuple[Row, list[Row]]]:
    """The settings by table; the first of each stands for its table."""
    for _, found in groupby(rows(Config), key=lambda row: row.group):
        members = list(found)
        yield members[0], members


def markdown() -> str:
    """docs/settings.md."""
    parts = [_INTRODUCTION]
    for first, members in groups():
        parts.append(f"\n## `{first.header}`\n\n{first.group_doc}\n")
        parts.append("\n| key | value | default | reload |\n|---|---|---|---|\n")
        for row in members:
            names = "<br>".join(f"`{name}`" for name in _overrides(row))
            parts.append(
                f"| **`{row.key}`**<br>{names} " if names else f"| **`{row.key}`** "
            )
            value = f"{row.what.reader.name}{_unit(row)}"
            parts.append(
                f"| {row.what.doc} *{_cell(value)}* | {_cell(_default(row))} "
                f"| {row.what.reload} |\n"
            )
    return "".join(parts)


def text() -> str:
    """The reference for a terminal."""
    lines: list[str] = []
    for first, members in groups():
        lines += [first.header, *_wrapped(first.group_doc, "  "), ""]
        for row in members:
            value = f"{row.what.reader.name}{_unit(row)}"
            lines.append(f"  {row.key} = {row.default_text}  ({value})")
            lines += _wrapped(row.what.doc, "      ")
            lines += [f"      {name}" for name in _overrides(row)]
            lines.append("")
    return "\n".join(lines)


def toml() -> str:
    """A file with every setting in it, each as a comment with its default."""
    lines: list[str] = []
    for first, members in groups():
        lines += [*_wrapped(first.group_doc, "# "), f"# {first.header}"]
        for row in members:
            lines += _wrapped(row.what.doc, "#   ")
            lines.append(f"# {row.key} = {_toml_default(row)}")
        lines.append("")
    return "\n".join(lines)


def as_json() -> str:
    """The reference for programs."""
    return json.dumps(
        [
            {
                "path": row.path,
                "table": row.header,
                "key": row.key,
                "variable": row.env or None,
                "flag": row.flag or None,
                "value": row.what.reader.name,
                "unit": row.what.unit or None,
                "default": None if row.required else row.default_text,
                "required": row.required,
                "reload": row.what.reload,
                "doc": row.what.doc,
            }
            for row in rows(Config)
        ],
        indent=2,
    )


FORMS: Final[dict[str, Callable[[], str]]] = {
    "text": text,
    "markdown": markdown,
    "toml": toml,
    "json": as_json,
}


def _overrides(row: Row) -> list[str]:
    return [name for name in (row.env, row.flag) if name]


def _unit(row: Row) -> str:
    """The unit, where the reader's name does not say it."""
    unit = row.what.unit
    return f", in {unit}" if unit and unit not in row.what.reader.name else ""


def _default(row: Row) -> str:
    literal = not (
        row.what.default_doc or row.required or row.inherits or row.default is None
    )
    return f"`{row.default_text}`" if literal else row.default_text


def _toml_default(row: Row) -> str:
    if row.required or row.inherits or row.what.default_doc or row.default is None:
        return f"…  # {row.default_text}"
    return row.default_text


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _wrapped(words: str, indent: str) -> list[str]:
    return textwrap.wrap(
        words, _TEXT_COLUMNS, initial_indent=indent, subsequent_indent=indent
    )
