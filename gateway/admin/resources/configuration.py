"""Configuration as code: what was added, out and in again; and what is in force.

An import is a plan (what is to be added, changed and, with `prune`, removed) and then
its steps, in the order in which objects need each other. Each step is checked against
the whole configuration and is in the log by itself. They are not one transaction: an
import that stops half-way says where, and goes on from there when it is sent again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from actors.directory.messages import Kind
from gateway.admin import paging
from gateway.admin.office import Office, directory_of, refusals
from gateway.admin.operation import Call, Operation
from gateway.admin.problems import Problem
from gateway.admin.resources.declared import (
    KINDS,
    KindOf,
    ObjectName,
    SettingsOf,
    of_database,
    of_file,
)
from gateway.settings.dump import document_of

# Nobody names what is not there yet; whoever is named goes last.
ORDER: Final[tuple[Kind, ...]] = ("tenant", "provider", "model", "site", "cap")
OBJECTS_MAX: Final = 10_000


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object, as in `stagedoor.toml` but for its name."""

    name: ObjectName
    settings: SettingsOf = {}


Objects = Annotated[tuple[Named, ...], msgspec.Meta(max_length=OBJECTS_MAX)]


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be added here. Keys are not in it: nothing has them."""

    tenants: Objects = ()
    providers: Objects = ()
    models: Objects = ()
    sites: Objects = ()
    caps: Objects = ()


class ExportQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which objects."""

    origin: Literal["database", "all"] = "database"


class Import(Configuration, frozen=True, forbid_unknown_fields=True):
    """A configuration to be brought about."""

    prune: bool = False
    """Whether what was added and is not in it goes."""
    dry_run: bool = False
    """Whether only to say what would be done."""


class Step(msgspec.Struct, frozen=True):
    """One object that is different."""

    kind: Kind
    name: str
    change: Literal["add", "change", "remove"]
    settings: tuple[str, ...]
    """Which settings differ; never to what."""


class Imported(msgspec.Struct, frozen=True):
    """What was done, or would be."""

    dry_run: bool
    steps: tuple[Step, ...]


class InForce(msgspec.Struct, frozen=True):
    """The configuration that this process obeys: what is not as its default."""

    settings: dict[str, Any]


class _Planned(msgspec.Struct, frozen=True):
    step: Step
    settings: dict[str, Any]
    version: int


def operations(office: Office) -> tuple[Operation, ...]:
    """All about the configuration as a whole."""

    async def stored(kind: KindOf) -> dict[str, tuple[dict[str, Any], int]]:
        """What is in the directory: settings and version, by name."""
        found: dict[str, tuple[dict[str, Any], int]] = {}
        after = ""
        while True:
            with refusals():
                page = await directory_of(office).list_declared(
                    kind.kind, after=after, limit=paging.LIMIT_MAX
                )
            for one in page.items:
                found[one.name] = of_database(office, one).settings, one.version
            after = page.next
            if not after:
                return found

    async def export(call: Call) -> Configuration:
        asked: ExportQuestion = call.query
        found: dict[str, tuple[Named, ...]] = {}
        for kind in KINDS:
            objects = {name: one for name, (one, _) in (await stored(kind)).items()}
            if asked.origin == "all":
                objects |= {
                    name: one.settings for name, one in of_file(office, kind).items()
                }
            found[kind.plural] = tuple(
                Named(name, objects[name]) for name in sorted(objects)
            )
        return Configuration(**found)

    async def bring_in(call: Call) -> Imported:
        asked: Import = call.body
        planned = [one async for one in plan(asked)]
        if asked.dry_run:
            await call.record("dry run", steps=len(planned))
        else:
            await call.record("import", steps=len(planned))
            for one in planned:
                await take(call, one)
        return Imported(asked.dry_run, tuple(one.step for one in planned))

    async def plan(asked: Import) -> AsyncIterator[_Planned]:
        """Every step, in order. Raises Problem."""
        removed: list[_Planned] = []
        for kind in sorted(KINDS, key=lambda one: ORDER.index(one.kind)):
            wanted: dict[str, dict[str, Any]] = {}
            for one in getattr(asked, kind.plural):
                if one.name in wanted:
                    raise Problem("invalid", f"$.{kind.plural}: {one.name} is twice")
                wanted[one.name] = one.settings
            in_file = of_file(office, kind).keys() & wanted.keys()
            if in_file:
                name = min(in_file)
                raise Problem("read-only", f"{kind.noun} {name} is in the file")
            known = await stored(kind)
            for name, settings in wanted.items():
                old, version = known.get(name, ({}, 0))
                paths = tuple(differing(old, settings))
                if version and not paths:
                    continue
                change: Literal["add", "change"] = "change" if version else "add"
                step = Step(kind.kind, name, change, paths)
                yield _Planned(step, settings, version)
            if asked.prune:
                removed += [
                    _Planned(Step(kind.kind, name, "remove", ()), {}, version)
                    for name, (_, version) in known.items()
                    if name not in wanted
                ]
        for one in reversed(removed):
            yield one

    async def take(call: Call, one: _Planned) -> None:
        """One step. Raises Problem: the steps before it stand."""
        step = one.step
        directory = directory_of(office)
        tenant = office.tenant_in(step.kind, step.name, one.settings)
        await call.record(
            step.name,
            tenant=tenant,
            act=f"{step.kind}.{'create' if step.change == 'add' else step.change}",
            kind=step.kind,
        )
        try:
            with refusals(f"{step.kind}s.{step.name}"):
                if step.change == "remove":
                    await directory.remove(
                        step.kind,
                        step.name,
                        by=call.principal.name,
                        expected=one.version,
                    )
                else:
                    await directory.declare(
                        step.kind,
                        step.name,
                        one.settings,
                        by=call.principal.name,
                        expected=one.version,
                    )
        except Problem as problem:
            code = (
                "conflict" if problem.code in {"stale", "not-found"} else problem.code
            )
            raise Problem(
                code,
                f"at {step.kind} {step.name}: {problem.detail}; what was before it in "
                "the plan is done",
                errors=problem.errors,
            ) from None

    async def in_force(_call: Call) -> InForce:
        config = office.config
        return InForce(document_of(config, server=config))

    return (
        Operation(
            "exportConfiguration", "GET", "/configuration", "system",
            "Everything that was added, to be kept as code", export,
            doc="In one order: what is exported twice is the same twice.",
            reach="operator", query=ExportQuestion, gives=Configuration,
        ),
        Operation(
            "importConfiguration", "POST", "/configuration/import", "system",
            "Bring a configuration about, or say what that would change", bring_in,
            doc="Step by step, each in the log; one that stops says where.",
            role="owner", reach="operator", body=Import, gives=Imported,
            act="configuration.import", conflicts=True,
        ),
        Operation(
            "getSettings", "GET", "/settings", "system",
            "The settings in force, without secrets and defaults", in_force,
            reach="operator", gives=InForce,
        ),
    )  # fmt: skip


def differing(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str = ""
) -> Iterator[str]:
    """The paths of settings that are not the same."""
    for name in sorted(old.keys() | new.keys()):
        here = f"{path}.{name}" if path else name
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differing(before, after, here)
        elif before != after or (name in old) != (name in new):
            yield here
