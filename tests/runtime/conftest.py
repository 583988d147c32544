"""The kernel's tests run on a clock that jumps: no test waits, none can be slow."""

from __future__ import annotations

import inspect
import logging
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

HERE = Path(__file__).parent


def _run_virtually(main: object, **options: object) -> object:
    options["clock"] = trio.testing.MockClock(autojump_threshold=0)
    return partial(trio.run, main, **options)()  # type: ignore[arg-type]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every asynchronous test of this folder the virtual clock."""
    for item in items:
        ours = HERE in item.path.parents and isinstance(item, pytest.Function)
        if ours and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=_run_virtually), append=False)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Crashes on purpose are logged; keep them with the test that made them."""
    caplog.set_level(logging.ERROR, logger="runtime")
