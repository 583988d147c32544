"""The dashboard in docs/grafana asks for what is exported, by labels it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse
from trio.testing import MockClock

from gateway.embed import embedded
from gateway.embed_providers import Fails, FakeProvider, Says
from gateway.tracing.exporter import TraceStatistics
from tests.gateway.gateways import CHAT, KEY, chat, config, provider

BOARD = Path(__file__).parents[2] / "docs" / "grafana" / "stagedoor.json"
NAME = re.compile(r"\b(?:stagedoor|gen_ai_server|gen_ai_client|process)_[a-z_]+")
SELECTED = re.compile(r"([a-z_]+)\{([^}]*)\}")
BY = re.compile(r"by \(([^)]*)\)")
ALWAYS = {"le", "worker"}


def expressions() -> Iterator[str]:
    board = json.loads(BOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


async def exported() -> dict[str, set[str]]:
    """Every sample's name that a gateway exports, with its labels."""
    a = FakeProvider([Fails(500), Says("hi there")])
    made = config([provider("a"), provider("b")])
    b = FakeProvider([Says("from b")])
    found: dict[str, set[str]] = {}
    async with embedded(
        made, {"a": a, "b": b}, environ={"PROVIDER_KEY": "sk-x"}
    ) as gateway:
        gateway.gateway.gate.traces = lambda: TraceStatistics(0, 0, 0, 0)
        await gateway.post(CHAT, chat(), key=KEY)
        await gateway.post(CHAT, chat(model="none"), key=KEY)
        await gateway.records()
        gateway.gateway.gate.metrics.degraded("acme", "step")
        text = (await gateway.request("GET", "/metrics")).body.decode()
    for family in parse(text):
        name = family.name + "_total" if family.type == "counter" else family.name
        found.setdefault(name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_each_query_names_what_is_exported(autojump_clock: MockClock) -> None:
    found = await exported()
    asked = {name for one in expressions() for name in NAME.findall(one)}
    assert len(asked) > 30
    # Of a histogram that nobody has observed into, its buckets are exported as well.
    assert asked <= set(found), sorted(asked - set(found))


async def test_each_selector_names_labels_that_are_there(
    autojump_clock: MockClock,
) -> None:
    found = await exported()
    for one in expressions():
        for name, selected in SELECTED.findall(one):
            labels = set(re.findall(r"([a-z_]+)(?:=~|!=|=)", selected))
            assert labels <= found[name] | ALWAYS, (one, labels - found[name])


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board: dict[str, Any] = json.loads(BOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    assert board["uid"]
    assert board["schemaVersion"] >= 36
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
    assert not re.search(r"https?://", BOARD.read_text())
