"""The gateway itself: its actors, its crashes, its document, what problems mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.admin import problems, together
from gateway.admin.office import Office
from gateway.admin.operation import Call, Operation
from gateway.admin.problems import Explanation
from gateway.admin.resources.shapes import Actor, Crash, Tree
from gateway.workers import chorus
from runtime import Node


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


REPORT: Final = "tree"


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

    async def own_tree() -> Tree:
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

    office.gate.reports[REPORT] = own_tree

    async def tree(_call: Call) -> Tree:
        found = await chorus.reports(office.gate, REPORT, Tree)
        alone = office.gate.peers is None
        return await own_tree() if alone else together.trees(found)

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
