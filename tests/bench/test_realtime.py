"""The routing scenarios in real time, shortened to seconds: it runs, and serves all."""

from __future__ import annotations

import trio

from bench.routing.__main__ import find_scenario
from bench.routing.load import find_trace, read_trace
from bench.routing.realtime import Days, play


def test_players_take_turns_at_the_same_days_over_http() -> None:
    """A gateway in a process of its own, and a client that calls the stubs itself."""
    trace = read_trace(find_trace("long_context"))
    days = Days(seconds=2.0, rounds=2, pace=10.0, warm_s=0.5, first_warm_s=1.0)
    steady = find_scenario("steady")

    served, direct = trio.run(play, steady, trace, ["gateway", "least_busy"], days)

    assert served.requests == direct.requests > 20
    assert (served.failed, direct.failed) == (0, 0)
    assert served.rounds == len(served.p95_by_round_s) == 2
    assert sum(served.shares.values()) > 0.99
    assert direct.calls_per_request == 1.0
