"""The mock upstream and the stock pair, as the measurements start them."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from bench.lib import gateways
from bench.lib.gateways import Gateway


@pytest.fixture(scope="module")
def pair() -> Generator[tuple[Gateway, Gateway], None, None]:
    """Start (the mock alone, the stock pair in front of it)."""
    chosen = gateways.options("tests").parse_args(["--only", "stock"])
    with gateways.all_started(chosen, pin=False) as (direct, (stock,)):
        yield direct, stock
