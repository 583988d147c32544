"""The routing scenarios in real time, shortened to seconds: it runs, and serves all."""

from __future__ import annotations

import trio

from bench.routing.__main__ import find_scenario
from bench.routing.load import find_trace, read_trace
from bench.routing.realtime import Result, play

SECONDS = 4.0
PACE = 10.0


def played(player: str) -> Result:
    """A steady day of four seconds."""
    trace = read_trace(find_trace("long_context"))
    return trio.run(play, find_scenario("steady"), trace, player, SECONDS, PACE)


def test_a_gateway_serves_stub_providers_over_http() -> None:
    result = played("gateway")

    assert result.requests > 10
    assert result.failed == 0
    assert sum(result.shares.values()) > 0.99


def test_a_client_that_calls_the_stubs_itself_is_served_too() -> None:
    result = played("least_busy")

    assert (result.requests > 10, result.failed) == (True, 0)
    assert result.calls_per_request == 1.0
