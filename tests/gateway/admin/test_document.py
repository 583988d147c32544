"""The OpenAPI document: valid, whole, and the same that serves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from trio.testing import MockClock

from gateway.admin.api import BASE
from gateway.admin.openapi import TAGS
from gateway.admin.operation import PARAMETERS
from tests.gateway.admin.support_admin import desk

DOCS = Path(__file__).parents[3] / "docs/admin-api.md"


async def document() -> Any:
    async with desk() as at:
        return (await at.ask("GET", "/admin/openapi.json", who=None)).json()


async def test_the_document_is_openapi_3_1(autojump_clock: MockClock) -> None:
    """By the schema that the OpenAPI initiative publishes."""
    found = await document()

    problems = [str(error.message) for error in OPENAPI_31_VALIDATOR.iter_errors(found)]

    assert problems == []
    assert found["openapi"] == "3.1.0"


async def test_every_reference_leads_somewhere(autojump_clock: MockClock) -> None:
    found = await document()
    schemas = found["components"]["schemas"]

    for reference in re.findall(r"#/components/schemas/([^'\"]+)", repr(found)):
        assert reference in schemas, reference


async def test_every_operation_is_in_the_document_as_it_serves(
    autojump_clock: MockClock,
) -> None:
    async with desk() as at:
        assert at.gateway.admin is not None
        operations = at.gateway.admin.api.routes.operations
        found = (await at.ask("GET", "/admin/openapi.json", who=None)).json()
    told = {
        (method.upper(), path): one
        for path, item in found["paths"].items()
        for method, one in item.items()
    }
    assert len(told) == len(operations)
    for one in operations:
        path = one.path if one.path.startswith("/admin/") else BASE + one.path
        shown = told[one.method, path]
        assert shown["operationId"] == one.id
        assert shown["summary"]
        assert str(one.status) in shown["responses"]


async def test_every_list_pages_and_every_change_is_recorded_and_repeatable(
    autojump_clock: MockClock,
) -> None:
    """A new operation cannot forget either."""
    async with desk() as at:
        assert at.gateway.admin is not None
        for one in at.gateway.admin.api.routes.operations:
            assert one.tag in TAGS, one.id
            assert one.method == "GET" or one.writes or one.looks
            if one.writes:
                assert one.act, f"{one.id} changes something and records nothing"
            if one.id.startswith("list"):
                assert one.query is not None, one.id
                fields = set(one.query.__struct_fields__)
                assert {"limit", "cursor"} <= fields, one.id
            if one.method in {"PUT", "PATCH", "DELETE"}:
                assert one.needs_version, one.id
            assert set(one.parameters) <= PARAMETERS.keys()


async def test_every_operation_is_in_the_docs(autojump_clock: MockClock) -> None:
    text = DOCS.read_text("utf-8")
    async with desk() as at:
        assert at.gateway.admin is not None
        missing = [
            f"{one.method} {one.path}"
            for one in at.gateway.admin.api.routes.operations
            if f"`{one.method} {one.path}`" not in text
        ]

    assert missing == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameters_pattern_takes_no_path_apart(name: str) -> None:
    pattern = re.compile(PARAMETERS[name].pattern)

    assert not any(map(pattern.fullmatch, ("", "..", ".", "a b", "a\n", "a?b", "a#b")))
