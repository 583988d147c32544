"""Settings of an object as a form, and a form as what is to change. Pure.

One definition a field: how it is shown, read and named in errors. What a value may be
is not decided here: whatever cannot be read goes to the admin API as it was typed, and
its refusal is shown beside the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs
import msgspec

Kind = Literal["text", "whole", "money", "seconds", "yes", "choice", "lines"]

_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_ROW: Final = re.compile(r"[0-9]{1,4}")  # No page has more rows than a form fields.
_NOTHING: Final[Mapping[str, Any]] = {}


@attrs.frozen
class Field:
    """A setting.

    Args:
        path: where it is, as `routing.weights.price`.
        default: of a check box: what it is where nothing is said.
        choices: of a choice; the first one is what holds where nothing is said.
    """

    path: str
    label: str
    kind: Kind = "text"
    hint: str = ""
    unit: str = ""
    default: bool = False
    choices: tuple[str, ...] = ()


@attrs.frozen
class Section:
    """Fields that are saved together."""

    key: str
    title: str
    hint: str
    fields: tuple[Field, ...]
    previews: bool = False


@attrs.frozen
class Shown:
    """A field with its value as text, and what is wrong with it."""

    field: Field
    value: str
    problem: str = ""
    theirs: str | None = None  # What somebody else has put there meanwhile.

    @property
    def checked(self) -> bool:
        """Of a check box."""
        return self.value == "yes"


def shown(
    fields: Iterable[Field],
    settings: Mapping[str, Any],
    *,
    typed: Mapping[str, list[str]] | None = None,
    problems: Mapping[str, str] = _NOTHING,
    told: bool = False,
) -> list[Shown]:
    """Fields with their values: what was typed, where something was.

    `told` adds what is stored now, where that is another value.
    """
    made: list[Shown] = []
    for field in fields:
        stored = text_of(field, value_at(settings, field.path))
        value = stored if typed is None else _typed(field, typed)
        differs = told and value != stored
        made.append(
            Shown(
                field,
                value,
                problems.get(field.path, ""),
                (stored or "nothing") if differs else None,
            )
        )
    return made


def patch_of(fields: Iterable[Field], form: Mapping[str, list[str]]) -> dict[str, Any]:
    """What a form changes, as a merge patch: what is empty is taken away."""
    patch: dict[str, Any] = {}
    for field in fields:
        *tables, name = field.path.split(".")
        place = patch
        for table in tables:
            place = place.setdefault(table, {})
        place[name] = _value(field, _typed(field, form))
    return patch


def without_nothing(patch: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch as the settings of something new."""
    made: dict[str, Any] = {}
    for name, value in patch.items():
        if isinstance(value, Mapping):
            below = without_nothing(value)  # pyright: ignore[reportUnknownArgumentType]
            if below:
                made[name] = below
        elif value is not None:
            made[name] = value
    return made


def names_in(text: str) -> list[str]:
    """Names, apart by commas or spaces.

    A text without any is handed on to be refused: no name at all means every one.
    """
    return text.replace(",", " ").split() or ([text] if text else [])


def rows_of(name: str, form: Mapping[str, Any]) -> list[int]:
    """The rows of a table that a form has, by the field that begins each."""
    start = f"{name}-"
    rests = (one.removeprefix(start) for one in form if one.startswith(start))
    return sorted({int(rest) for rest in rests if _ROW.fullmatch(rest)})


def problems_of(problem: Mapping[str, Any]) -> dict[str, str]:
    """What the admin API found wrong, by the path of its setting."""
    found: dict[str, str] = {}
    for one in problem.get("errors", ()):
        path = str(one.get("path", "")).removeprefix("$.settings").lstrip(".")
        # `models[0]` is about the field `models`.
        plain = re.sub(r"\[[0-9]+\].*", "", path)
        found[plain] = str(one.get("message", ""))
    return found


def value_at(settings: Mapping[str, Any], path: str) -> Any:
    """The setting at a path; None where there is none."""
    value: Any = settings
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def text_of(field: Field, value: Any) -> str:
    """A stored value as a form shows it."""
    if field.kind == "yes":
        return "yes" if (field.default if value is None else bool(value)) else ""
    if value is None:
        return field.choices[0] if field.choices else ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(value)


def _typed(field: Field, form: Mapping[str, list[str]]) -> str:
    text = form.get(field.path, [""])[-1].strip()
    if field.kind == "yes":
        return "yes" if text else ""
    if field.kind == "lines":
        return "\n".join(one.strip() for one in text.splitlines() if one.strip())
    return text


def _value(field: Field, text: str) -> Any:
    if field.kind == "yes":
        wanted = text == "yes"
        return None if wanted == field.default else wanted
    if not text:
        return None
    match field.kind:
        case "whole" if _WHOLE.fullmatch(text):
            return int(text)
        case "money" | "seconds" if _NUMBER.fullmatch(text):
            # As it was typed: a price is no float.
            whole, _, rest = text.partition(".")
            number = str(int(whole))
            return msgspec.Raw((f"{number}.{rest}" if rest else number).encode())
        case "lines":
            return text.splitlines()
        case "choice" if text == field.choices[0]:
            return None
        case _:
            return text
