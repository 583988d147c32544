"""The model server and the gateway of a run of the real-model tests.

The tests run when they are asked for by name (run.sh does): the model server takes
minutes to build, which no ordinary test run should wait for.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.real_llm import servers
from tests.real_llm.servers import Endpoint, ModelServer

collect_ignore = ["test_real_llm.py"]  # unless named on the command line


@pytest.fixture(scope="session")
def model_server() -> Generator[ModelServer, None, None]:
    """Start the model server that MODE names."""
    default = Path.home() / ".cache" / "stagedoor-real-llm"
    folder = Path(os.environ.get("REAL_LLM_DIR", default))
    mode = os.environ.get("MODE", "llama-server")
    with servers.model_server(mode, folder) as server:
        yield server


@pytest.fixture(scope="session", params=["direct", "gateway"])
def endpoint(
    request: pytest.FixtureRequest,
    model_server: ModelServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Endpoint, None, None]:
    """The model server as a control, then the gateway in front of it."""
    if request.param == "direct":
        yield servers.direct(model_server)
        return
    with servers.gateway(model_server, tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture(autouse=True)
def shown_log(endpoint: Endpoint) -> Generator[None, None, None]:
    """What the program under test printed, beside the failure."""
    yield
    print(f"{endpoint.process!r} printed:\n{endpoint.process.log_tail()}")
