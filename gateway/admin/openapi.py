"""The OpenAPI 3.1 document, made from the operations that serve. Pure.

What is not in an operation is not in the document, and the other way round: the tests
send what the document allows and compare each answer with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.admin import idempotency, problems
from gateway.admin.operation import ETAG_PATTERN, JSON, PARAMETERS, Operation
from gateway.admin.problems import ProblemBody

REF: Final = "#/components/schemas/{name}"
DESCRIPTION: Final = (
    "Everything an operator can see and change. Writes are in the audit log before "
    "they happen. Money is whole nano-dollars (`*_nanousd`), times are Unix "
    "milliseconds (`*_ms`) unless a name says otherwise."
)
TAGS: Final = {
    "tenants": "Who owns sites.",
    "sites": "Clients of the gateway: limits, caps, policies.",
    "keys": "API keys of sites: shown once, kept as digests.",
    "caps": "What may be spent, by whom, on what.",
    "models": "What clients ask for, and what serves it.",
    "providers": "Deployments: their state, and what can be done about it.",
    "routing": "What the router would do.",
    "usage": "Requests, tokens and money, summed up.",
    "records": "Single requests: their facts, never their content.",
    "alerts": "What a person should know, and webhooks that tell it.",
    "tokens": "Credentials for this API.",
    "people": "Who may log in at the Console, and what they may.",
    "vault": "Provider keys. Sent sealed; never given out.",
    "audit": "The tamper-evident log.",
    "system": "The gateway itself: actors, configuration, this document.",
}


def document(
    operations: Sequence[Operation],
    *,
    base: str,
    unversioned: tuple[str, ...],
    version: str,
) -> Any:
    """The whole document."""
    types = _types(operations)
    refs, components = msgspec.json.schema_components(types, ref_template=REF)
    schema_of = dict(zip(map(str, types), refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        whole = one.path if one.path.startswith(unversioned) else base + one.path
        item = paths.setdefault(whole, {})
        item[one.method.lower()] = _operation(one, schema_of, components)
    used = {one.tag for one in operations}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stagedoor admin API",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [
            {"name": name, "description": text}
            for name, text in TAGS.items()
            if name in used
        ],
        "paths": paths,
        "components": {
            "schemas": _without_queries(components, operations),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An admin token.",
                }
            },
        },
    }


def _types(operations: Sequence[Operation]) -> list[Any]:
    found: dict[str, Any] = {str(ProblemBody): ProblemBody}
    for one in operations:
        for kind in (one.query, one.body, one.gives):
            if kind is not None:
                found.setdefault(str(kind), kind)
    return list(found.values())


def _operation(
    one: Operation, schema_of: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    needs = "Needs no credential" if one.anyone else f"Needs the role {one.role}"
    if one.reach == "operator" and not one.anyone:
        needs += ", for the whole gateway"
    told: dict[str, Any] = {
        "operationId": one.id,
        "tags": [one.tag],
        "summary": one.summary,
        "description": f"{one.doc} {needs}.".strip(),
        "parameters": [*_path(one), *_query(one, schema_of, components), *_head(one)],
        "responses": _responses(one, schema_of),
        # For whoever makes a client or a test from this document.
        "x-stagedoor-role": one.role,
        "x-stagedoor-reach": one.reach,
    }
    if one.anyone:
        told["security"] = []
    if one.body is not None:
        told["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schema_of[str(one.body)]}},
        }
    return told


def _path(one: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PARAMETERS[name].doc,
            "schema": {"type": "string", "pattern": PARAMETERS[name].pattern},
        }
        for name in one.parameters
    ]


def _query(
    one: Operation, schema_of: dict[str, Any], components: dict[str, Any]
) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    schema = components[schema_of[str(one.query)]["$ref"].rpartition("/")[2]]
    required = schema.get("required", ())
    found: list[dict[str, Any]] = []
    for name, shape in schema["properties"].items():
        given: dict[str, Any] = {"name": name, "in": "query", "schema": dict(shape)}
        if doc := given["schema"].pop("description", ""):
            given["description"] = doc
        if name in required:
            given["required"] = True
        found.append(given)
    return found


def _head(one: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if one.writes:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Makes it safe to send this again: for a day, the same "
                "key with the same request gets the first one's answer.",
                "schema": {"type": "string", "pattern": idempotency.PATTERN},
            }
        )
    if one.needs_version:
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": "The ETag of what this is based on, or `*`.",
                "schema": {"type": "string", "pattern": ETAG_PATTERN},
            }
        )
    return found


def _responses(one: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done." if one.writes else "Found."}
    if one.gives is not None:
        good["content"] = {JSON: {"schema": schema_of[str(one.gives)]}}
    elif one.media != (JSON,):
        good["content"] = {media: {"schema": {"type": "string"}} for media in one.media}
    headers: dict[str, Any] = {}
    if one.versioned and one.status != 204:
        headers["ETag"] = {
            "description": "The version, for If-Match.",
            "schema": {"type": "string"},
        }
    if one.writes:
        headers["Idempotency-Replayed"] = {
            "description": "`true` where this is an earlier request's answer.",
            "schema": {"type": "string"},
        }
    if headers:
        good["headers"] = headers
    told: dict[str, Any] = {str(one.status): good}
    problem = schema_of[str(ProblemBody)]
    for status in sorted(one.statuses):
        codes = ", ".join(
            f"`{code}`" for code in problems.codes_of(frozenset({status}))
        )
        told[str(status)] = {
            "description": f"A problem: {codes}.",
            "content": {problems.MEDIA: {"schema": problem}},
        }
    return told


def _without_queries(
    components: dict[str, Any], operations: Sequence[Operation]
) -> dict[str, Any]:
    """Queries are parameters in the document; their structs are nobody's schema."""
    queries = {one.query.__name__ for one in operations if one.query is not None}
    return {name: one for name, one in components.items() if name not in queries}
