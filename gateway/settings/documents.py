"""From documents of the database to the same config objects as from the file.

Owns: which settings only the file may hold, and a configuration of the file's objects
and the database's together. An object is built once for each of its states: ten
thousand sites cost what changed of them. May be used from several threads.
Never: does I/O, or changes what the file says: the same name in both is a problem.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import attrs

from actors.provider.reach import is_metadata
from gateway.settings.build import Builder
from gateway.settings.checks import problems
from gateway.settings.config import Config, ModelConfig
from gateway.settings.definition import evolve
from gateway.settings.errors import ConfigError, Problem
from gateway.settings.money import CapConfig
from gateway.settings.providers import ProviderConfig
from gateway.settings.sites import SiteConfig
from gateway.settings.tenants import TenantConfig

SOURCE: Final = "database"
INHERITED: Final = "server.deadlines"


class Stored(Protocol):
    """An object of the database."""

    @property
    def kind(self) -> str:
        """`site` and the like."""
        ...

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def document(self) -> Mapping[str, Any]:
        """Its settings."""
        ...


@attrs.frozen
class _Table:
    """Where objects of a kind are in the configuration, and what they may not say."""

    plural: str
    of: type[Any]
    file_only: Mapping[str, str] = attrs.field(factory=dict[str, str])


_ENVIRONMENT: Final = (
    "is for the file: whoever writes to the database must not reach this machine's "
    "environment and files; put the key into the vault, and name it in `key`"
)
TABLES: Final[Mapping[str, _Table]] = {
    "tenant": _Table("tenants", TenantConfig),
    "site": _Table(
        "sites",
        SiteConfig,
        {"keys": "is for the file; keys of the database are made, and shown once"},
    ),
    "provider": _Table(
        "providers",
        ProviderConfig,
        {
            "key_env": _ENVIRONMENT,
            "access_key_id_env": _ENVIRONMENT,
            "session_token_env": _ENVIRONMENT,
            "service_account_file": _ENVIRONMENT,
            "federation": _ENVIRONMENT,
        },
    ),
    "model": _Table("models", ModelConfig),
    "cap": _Table("caps", CapConfig),
}


@attrs.frozen
class _Made:
    document: Mapping[str, Any]
    inherited: object
    value: Any
    problems: tuple[Problem, ...]


class Documents:
    """Builds objects from documents, and puts them beside the file's."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], _Made] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Documents {len(self._made)}>"

    def merged(self, base: Config, objects: Iterable[Stored]) -> Config:
        """The file's configuration and these objects. Raises ConfigError."""
        with self._lock:
            return self._merged(base, objects)

    def _merged(self, base: Config, objects: Iterable[Stored]) -> Config:
        found: list[Problem] = []
        where: dict[int, str] = {}
        items: dict[str, dict[str, Any]] = {}
        for table in TABLES.values():
            of_file: tuple[Any, ...] = getattr(base, table.plural)
            items[table.plural] = {one.name: one for one in of_file}
            for index, one in enumerate(of_file):
                where[id(one)] = f"{table.plural}[{index}]"
        ours: set[str] = set()
        for one in objects:
            table = TABLES[one.kind]
            label = f"{table.plural}.{one.name}"
            ours.add(label)
            if one.name in items[table.plural]:
                what = (
                    "is also in the file; rename one of them, or remove this with "
                    f"`stagedoor {one.kind} remove {one.name}`"
                )
                found.append(Problem(SOURCE, label, what))
                continue
            made = self._build(one, table, label, base)
            found += made.problems
            if made.value is not None:
                items[table.plural][one.name] = made.value
                where[id(made.value)] = label
        merged = evolve(
            base, **{plural: tuple(named.values()) for plural, named in items.items()}
        )
        declared = {plural: named.keys() for plural, named in items.items()}
        for at, what in problems(merged, lambda made: where[id(made)], declared):
            found.append(Problem(SOURCE if _is_of(at, ours) else "", at, what))
        if found:
            raise ConfigError(tuple(found))
        return merged

    def _build(self, one: Stored, table: _Table, label: str, base: Config) -> _Made:
        inherited = base.server.deadlines
        known = self._made.get((one.kind, one.name))
        if (
            known is not None
            and known.document == one.document
            and known.inherited == inherited
        ):
            return known
        builder = Builder(Config, SOURCE, Path(), ())
        value = builder.build_one(
            table.of,
            {**one.document, "name": one.name},
            label,
            {INHERITED: inherited},
        )
        for key, why in table.file_only.items():
            if key in one.document:
                builder.report(f"{label}.{key}", why)
        if isinstance(value, ProviderConfig) and is_metadata(
            urlsplit(value.base_url).hostname or ""
        ):
            what = "is link-local or a metadata service; no provider is there"
            builder.report(f"{label}.base_url", what)
        made = _Made(one.document, inherited, value, tuple(builder.problems))
        self._made[one.kind, one.name] = made
        return made


def _is_of(where: str, labels: set[str]) -> bool:
    """Whether a place is within one of these objects (names may hold points)."""
    parts = where.split(".")
    return any(".".join(parts[: end + 1]) in labels for end in range(len(parts)))
