"""The gateway itself: its actors, its crashes, its document, what problems mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.admin import problems
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.problems import Explanation
from runtime import Node


class Actor(msgspec.Struct, frozen=True):
    """One live actor."""

    id: str
    kind: str
    state: str
    incarnation: int
    restarts: int
    mailbox_depth: int
    mailbox_peak: int
    mailbox_capacity: int
    shed: int
    dead_letters: int
    handled: int
    handling: str | None
    age_s: float
    retry_in_s: float | None
    last_crash: str | None
    children: tuple[Actor, ...]


class Crash(msgspec.Struct, frozen=True):
    """What ended one life of an actor. Names and places, never a value."""

    actor: str
    incarnation: int
    error: str
    where: tuple[str, ...]


class Tree(msgspec.Struct, frozen=True):
    """The live actors, and the latest crashes."""

    root: Actor
    actors: int
    crashes_total: int
    crashes: tuple[Crash, ...]
    dead_letters_total: int


class Health(msgspec.Struct, frozen=True):
    """How the gateway is."""

    ready: bool
    reasons: tuple[str, ...]
    version: str
    draining: bool
    actors: int
    sites: int
    providers: int
    models: int


class Whoami(msgspec.Struct, frozen=True):
    """The caller, as the audit log names it."""

    name: str
    role: str
    tenants: tuple[str, ...] | None
    """None: all of them, and the gateway itself."""


def _actor(node: Node) -> Actor:
    return Actor(
        id=node.id,
        kind=node.kind,
        state=node.state,
        incarnation=node.incarnation,
        restarts=node.restarts,
        mailbox_depth=node.depth,
        mailbox_peak=node.peak,
        mailbox_capacity=node.capacity,
        shed=node.shed,
        dead_letters=node.dead_letters,
        handled=node.handled,
        handling=node.handling,
        age_s=node.age_s,
        retry_in_s=node.retry_in_s,
        last_crash=node.last_crash,
        children=tuple(map(_actor, node.children)),
    )


def operations(office: Office, document: Callable[[], Any]) -> tuple[Operation, ...]:
    """All about the gateway itself. `document` is this API's."""

    async def tree(_call: Call) -> Tree:
        system = office.system()
        return Tree(
            root=_actor(system.snapshot()),
            actors=len(system),
            crashes_total=system.crashes_total,
            crashes=tuple(
                Crash(one.actor, one.incarnation, one.error, tuple(one.trace))
                for one in system.crashes
            ),
            dead_letters_total=system.dead_letters_total,
        )

    async def health(_call: Call) -> Health:
        reasons = office.gate.unready()
        config = office.config
        return Health(
            ready=not reasons,
            reasons=tuple(reasons),
            version=office.version,
            draining=office.gate.draining,
            actors=len(office.system()),
            sites=len(config.sites),
            providers=len(config.providers),
            models=len(config.models),
        )

    async def whoami(call: Call) -> Whoami:
        tenants = call.principal.tenants
        return Whoami(
            call.principal.name,
            call.principal.role,
            None if tenants is None else tuple(sorted(tenants)),
        )

    async def openapi(_call: Call) -> Any:
        return document()

    async def problem(call: Call) -> Explanation:
        return problems.explain(call.param("code"))

    return (
        Operation(
            "getTree", "GET", "/tree", "system", "The live actors", tree,
            reach="operator", gives=Tree,
        ),
        Operation(
            "getHealth", "GET", "/health", "system", "How the gateway is", health,
            reach="operator", gives=Health,
        ),
        Operation(
            "whoAmI", "GET", "/whoami", "system", "Who this credential is", whoami,
            gives=Whoami,
        ),
        Operation(
            "getDocument", "GET", "/admin/openapi.json", "system",
            "This document", openapi, gives=dict[str, Any], anyone=True,
        ),
        Operation(
            "explainProblem", "GET", "/admin/problems/{code}", "system",
            "What a problem's type means", problem, gives=Explanation, anyone=True,
        ),
    )  # fmt: skip


def dumped(value: Any) -> bytes:
    """The document as a file."""
    return json.dumps(value, indent=2, sort_keys=False).encode()
