"""The admin API's answers for all workers of a gateway."""

from __future__ import annotations

from typing import Any

from gateway.admin import together
from gateway.admin.resources.shapes import Crash, ProviderState, Tree


def provider(**changes: Any) -> ProviderState:
    facts: dict[str, Any] = {
        "name": "main", "kind": "openai", "base_url": "https://a.example/v1",
        "models": ("m",), "region": "", "state": "closed", "paused_for": "",
        "in_flight": 0, "in_flight_max": 64, "queued": 0, "queue_max": 16,
        "failures": 0, "lives": 1, "retry_in_s": None, "cooling_s": None,
        "key_refused": False, "last_trip": None, "key": "env",
    }  # fmt: skip
    return ProviderState(**{**facts, **changes})


def tree(crashes: int = 0) -> Tree:
    branch = together.trees({}).root
    told = tuple(Crash("streams", n, "ValueError", ()) for n in range(crashes))
    return Tree(branch, 10, crashes, told, 2)


def test_the_workers_stand_below_one_root() -> None:
    found = together.trees({1: tree(crashes=1), 2: None, 3: tree()})
    assert [(one.id, one.state) for one in found.root.children] == [
        ("worker/1", "running"),
        ("worker/2", "restarting"),
        ("worker/3", "running"),
    ]
    assert (found.actors, found.crashes_total, found.dead_letters_total) == (20, 1, 4)
    assert len(found.crashes) == 1


def test_a_providers_calls_are_summed_and_its_worst_state_is_shown() -> None:
    tripped = provider(state="open", in_flight=1, lives=3, retry_in_s=4.0)
    busy = provider(in_flight=5, queued=2)
    found = together.providers([(busy,), (tripped,)])["main"]
    assert (found.state, found.retry_in_s) == ("open", 4.0)
    assert (found.in_flight, found.queued, found.lives) == (6, 2, 3)


def test_one_process_is_shown_as_it_is() -> None:
    one = provider(in_flight=3)
    assert together.providers([(one,)]) == {"main": one}
