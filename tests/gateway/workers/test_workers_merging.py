"""Many workers' answers as one: nothing is lost, nothing is told twice."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as plain

from gateway.metrics import Metrics
from gateway.workers import merging

OPEN = "application/openmetrics-text; version=1.0.0"


async def scraped(worker: int, requests: int, accept: str) -> bytes:
    metrics = Metrics(worker=worker)
    for _ in range(requests):
        metrics.traffic("acme", "fast", "chat", "main", "m").record("ok", 0.1)
    return (await metrics.scrape(accept))[1]


@pytest.mark.parametrize("accept", ["", OPEN])
async def test_a_scrape_of_all_reads_as_one(accept: str) -> None:
    texts: dict[int, bytes | None] = {
        1: await scraped(1, 3, accept),
        2: await scraped(2, 5, accept),
        3: None,
    }
    read = openmetrics if accept else plain
    families = list(read(merging.metrics(texts).decode()))

    names = [family.name for family in families]
    assert len(names) == len(set(names))
    [requests] = [one for one in families if one.name == "stagedoor_requests"]
    counts = {
        sample.labels["worker"]: sample.value
        for sample in requests.samples
        if sample.name.endswith("_total")
    }
    assert counts == {"1": 3.0, "2": 5.0}
    [up] = [one for one in families if one.name == merging.UP]
    assert [sample.value for sample in up.samples] == [1.0, 1.0, 0.0]
    for family in families:
        for sample in family.samples:
            assert sample.labels["worker"] in {"1", "2", "3"}


def ready(*reasons: str) -> dict[str, Any]:
    return {"status": "unready" if reasons else "ready", "reasons": list(reasons)}


def test_a_worker_that_is_started_again_takes_no_clients_so_all_is_ready() -> None:
    status, told = merging.readiness({1: ready(), 2: None})
    assert status == 200
    assert told["workers"] == {"1": "ready", "2": "down"}


def test_a_worker_that_lives_and_is_not_ready_would_take_some() -> None:
    status, told = merging.readiness({1: ready(), 2: ready("the vault is down")})
    assert status == 503
    assert told["reasons"] == ["worker 2: the vault is down"]


def test_without_any_worker_nothing_is_ready() -> None:
    assert merging.readiness({1: None, 2: None})[0] == 503


def test_a_tree_shows_who_is_missing() -> None:
    own = {"pid": 7, "starts": 2, "tree": {"id": "system", "children": []}}
    tree = merging.tree({1: own, 2: None})
    assert [one["id"] for one in tree["children"]] == ["worker/1", "worker/2"]
    assert [one["state"] for one in tree["children"]] == ["running", "restarting"]
    assert tree["children"][0]["children"] == [own["tree"]]


def test_a_candidates_state_is_one_word_while_all_agree() -> None:
    def answer(state: str) -> dict[str, Any]:
        route = [{"provider": "a", "model": "m", "state": state}]
        return {"models": [{"name": "fast", "route": route}]}

    told = merging.models({1: answer("closed"), 2: answer("closed"), 3: None})
    assert told["models"][0]["route"][0]["state"] == "closed"
    told = merging.models({1: answer("closed"), 2: answer("open"), 3: answer("closed")})
    assert told["models"][0]["route"][0]["state"] == "closed in 2, open in 1"


def test_leases_are_each_workers_own_and_keys_are_shared() -> None:
    first = {"secrets": 3, "leases": 1, "grants": 1}
    other = {"secrets": 3, "leases": 4, "grants": 2}
    assert merging.vault(first, {1: first, 2: other, 3: None}) == {
        "secrets": 3, "leases": 5, "grants": 3,
    }  # fmt: skip
