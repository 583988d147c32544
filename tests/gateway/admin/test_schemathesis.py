"""What the OpenAPI document allows, and what it forbids, sent to a real gateway.

No answer is a 500, none is undocumented, each has the shape that it is said to have,
and what is malformed is refused. The examples are the same in every run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.admin.reference import operations
from tests.gateway.admin.support_served import TENANT_TOKEN, TOKEN, Served, served
from tests.support_postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

EXAMPLES: Final = int(os.environ.get("ADMIN_EXAMPLES", "12"))
FEW: Final = 3  # The same code over PostgreSQL: what differs is below it.
CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# The server's own limits for any request line and head, in docs/settings.md.
OF_THE_EDGE: Final = {414, 431}
CALL_S: Final = 30.0  # A drain is waited for; nothing else takes long.
QUICK: Final = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


# The document itself is what all the others are read from.
TRIED: Final = [one.id for one in operations() if one.id != "getDocument"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One real gateway for all operations, over each database."""
    database = ""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = server.database()
    with served(tmp_path_factory.mktemp("admin"), database) as running:
        yield running


@pytest.fixture(scope="module")
def document(gateway: Served) -> Any:
    """Its document, read as any client would."""
    return schemathesis.openapi.from_url(f"{gateway.url}/admin/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("operation_id", TRIED)
def test_the_gateway_does_what_its_document_says(
    operation_id: str, mode: GenerationMode, document: Any, gateway: Served
) -> None:
    found = [
        one.ok()
        for one in document.get_all_operations()
        if one.ok().definition.raw["operationId"] == operation_id
    ]
    assert len(found) == 1
    if mode is GenerationMode.NEGATIVE and not _can_be_wrong(found[0]):
        return  # It takes nothing that could be malformed.

    few = settings(QUICK, max_examples=EXAMPLES if gateway.is_sqlite else FEW)

    @few
    @given(case=found[0].as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        for token in (TOKEN, TENANT_TOKEN):
            response = case.call(
                base_url=gateway.url,
                headers={"authorization": f"Bearer {token}"},
                timeout=CALL_S,
            )
            if response.status_code in OF_THE_EDGE:
                continue
            case.validate_response(response, checks=CHECKS)

    send()


def _can_be_wrong(operation: Any) -> bool:
    return bool(list(operation.iter_parameters())) or bool(operation.body)


def test_the_gateway_has_logged_no_crash(gateway: Served, tmp_path: Path) -> None:
    """After all that: nothing that was sent has broken a handler."""
    del tmp_path
    told = gateway.log.read_bytes()

    assert b"admin.crashed" not in told
    assert TOKEN.encode() not in told
