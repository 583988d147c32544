"""One definition per setting, written where its value lives: on the config classes.

`Setting` and its relatives are the metadata of an attrs field. From them come the
reader of the file, the environment variable, the flag, `stagedoor settings` and
docs/settings.md; nothing about a setting is written twice.

Owns: the vocabulary (`setting`, `section`, `items`, `table`) and the walk over it.
Never: reads a file or a variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TypeVar, cast, dataclass_transform, overload

import attrs

from gateway.settings.values import Reader

T = TypeVar("T")
C = TypeVar("C")

# What a running gateway does with a changed value: obeys it, or needs a restart.
Reload = Literal["live", "restart"]

ENV_PREFIX: Final = "STAGEDOOR_"
# Two underscores, because Kubernetes puts STAGEDOOR_PORT and the like into the
# environment of everything beside a service of that name.
ENV_SEPARATOR: Final = "__"
_METADATA: Final = "stagedoor"


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@attrs.frozen
class Setting:
    """A value that an operator may set."""

    reader: Reader[object]
    doc: str
    unit: str = ""
    key: str = ""
    reload: Reload = "live"
    default_doc: str = ""
    secret: bool = False


@attrs.frozen
class Section:
    """A table of settings. `inherits` names the section that fills what is missing."""

    of: type[Any]
    doc: str
    key: str = ""
    inherits: str = ""


@attrs.frozen
class Items:
    """An array of tables, each with a `name` that is unique among them."""

    of: type[Any]
    doc: str
    key: str = ""
    ordered: bool = False  # Whether another order is a change.


@attrs.frozen
class Table:
    """A table whose keys the operator chooses."""

    of: type[Any]
    doc: str
    keys: str
    key: str = ""


Definition = Setting | Section | Items | Table


@overload
def setting(
    reader: Reader[T],
    *,
    doc: str,
    unit: str = "",
    key: str = "",
    reload: Reload = "live",
    secret: bool = False,
) -> T: ...
@overload
def setting(
    reader: Reader[T],
    *,
    default: T,
    doc: str,
    unit: str = "",
    key: str = "",
    reload: Reload = "live",
    default_doc: str = "",
    secret: bool = False,
) -> T: ...
@overload
def setting(
    reader: Reader[T],
    *,
    factory: Callable[[Any], T],
    default_doc: str,
    doc: str,
    unit: str = "",
    key: str = "",
    reload: Reload = "live",
    secret: bool = False,
) -> T: ...
def setting(
    reader: Reader[Any],
    *,
    default: Any = MISSING,
    factory: Callable[[Any], Any] | None = None,
    doc: str,
    unit: str = "",
    key: str = "",
    reload: Reload = "live",
    default_doc: str = "",
    secret: bool = False,
) -> Any:
    """Define a setting. `factory` derives the default from the settings above it."""
    what = Setting(reader, doc, unit, key, reload, default_doc, secret)
    metadata = {_METADATA: what}
    if factory is not None:
        derived: Any = attrs.Factory(factory, takes_self=True)
        return attrs.field(default=derived, metadata=metadata)
    if default is MISSING:
        return attrs.field(metadata=metadata)
    return attrs.field(default=default, metadata=metadata)


def section(
    *, default_factory: type[C], doc: str, key: str = "", inherits: str = ""
) -> C:
    """Define a table of settings, all of which have defaults."""
    metadata = {_METADATA: Section(default_factory, doc, key, inherits)}
    made: Any = attrs.field(factory=default_factory, metadata=metadata)
    return cast("C", made)


def items(
    of: type[C], *, doc: str, default: tuple[C, ...] = (), ordered: bool = False
) -> tuple[C, ...]:
    """Define an array of named tables. `ordered`: their order says something."""
    what = Items(of, doc, ordered=ordered)
    made: Any = attrs.field(default=default, metadata={_METADATA: what})
    return cast("tuple[C, ...]", made)


def table(
    of: type[C], *, keys: str, doc: str, default: Mapping[str, C]
) -> Mapping[str, C]:
    """Define a table whose keys the operator chooses (`keys` says what they are)."""
    made: Any = attrs.field(default=default, metadata={_METADATA: Table(of, doc, keys)})
    return cast("Mapping[str, C]", made)


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(setting, section, items, table),
)
def config(cls: type[C]) -> type[C]:
    """A frozen value object whose fields define settings."""
    return attrs.frozen(kw_only=True)(cls)


def evolve(made: C, **changes: Any) -> C:
    """A copy of a config object with some settings changed."""
    value: Any = made  # The decorator hides from mypy that it is an attrs class.
    return cast("C", attrs.evolve(value, **changes))


@attrs.frozen
class Entry:
    """A definition with its attribute and its key in the file."""

    attribute: str
    key: str
    what: Definition
    required: bool
    default: object


def entries(cls: type[Any]) -> tuple[Entry, ...]:
    """The definitions of a config class, in the order they are written."""
    return tuple(
        Entry(
            field.name,
            field.metadata[_METADATA].key or field.name,
            field.metadata[_METADATA],
            field.default is attrs.NOTHING,
            field.default,
        )
        for field in attrs.fields(cls)
    )


@attrs.frozen
class Row:
    """One setting as the reference shows it. Placeholders are in capitals."""

    group: str
    group_doc: str
    key: str
    what: Setting
    required: bool
    default: object
    inherits: str
    repeated: bool

    @property
    def path(self) -> str:
        """The full path, as `--set` takes it."""
        return f"{self.group}.{self.key}"

    @property
    def is_identity(self) -> bool:
        """Whether it is the name by which overrides find their table."""
        return self.repeated and self.key == "name"

    @property
    def header(self) -> str:
        """The TOML header under which the key stands."""
        parts = self.group.split(".")
        if parts[-1] == "NAME":
            return f"[[{'.'.join(part for part in parts if part != 'NAME')}]]"
        named = ".".join(part for part in parts if part != "NAME")
        return f"[{named}]"

    @property
    def env(self) -> str:
        """The environment variable that overrides it; none for an identity."""
        if self.is_identity:
            return ""
        return env_name(self.path.split("."))

    @property
    def flag(self) -> str:
        """The flag of `stagedoor serve` that overrides it.

        None for an identity, and none for a secret: `ps` shows flags to everyone.
        """
        if self.what.secret or self.is_identity:
            return ""
        if self.repeated:
            return f"--set {self.path}=…"
        return flag_name(self.path)

    @property
    def default_text(self) -> str:
        """The default, as TOML would write it or in words."""
        if self.what.default_doc:
            return self.what.default_doc
        if self.required:
            return "required"
        if self.inherits:
            return f"as in [{self.inherits}]"
        if self.default is None:
            return "none"
        return self.what.reader.show(self.default)


def rows(cls: type[Any], group: str = "", doc: str = "") -> Iterator[Row]:
    """Every setting below a config class."""
    yield from _rows(cls, group, doc, "", False)


def _rows(
    cls: type[Any], group: str, doc: str, inherits: str, repeated: bool
) -> Iterator[Row]:
    below: list[Iterator[Row]] = []
    for entry in entries(cls):
        path = f"{group}.{entry.key}" if group else entry.key
        match entry.what:
            case Setting() as what:
                yield Row(
                    group,
                    doc,
                    entry.key,
                    what,
                    entry.required,
                    entry.default,
                    inherits,
                    repeated,
                )
            case Section(of, text, _, parent):
                below.append(_rows(of, path, text, parent, repeated))
            case Items(of, text):
                below.append(_rows(of, f"{path}.NAME", text, "", True))
            case Table(of, text, keys):
                below.append(_rows(of, f"{path}.{keys}", text, "", True))
    for more in below:
        yield from more


_NO_VARIABLE: Final = re.compile(r"[^A-Z0-9]")


def env_segment(name: str) -> str:
    """How a name is spelt in a variable: `gpt-5.mini` is `GPT_5_MINI`."""
    return _NO_VARIABLE.sub("_", name.upper())


def env_name(path: list[str]) -> str:
    """The variable of a path."""
    return ENV_PREFIX + ENV_SEPARATOR.join(map(env_segment, path))


def flag_name(path: str) -> str:
    """The flag of a path: `server.limits.headers_max` is `--limits-headers-max`."""
    return "--" + re.sub(r"[._]", "-", path.removeprefix("server."))
