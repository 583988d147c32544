"""Objects of the database beside the file's: the same words, the same checks."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from actors.directory.messages import Changes, Declared
from gateway.roster import Roster
from gateway.settings.config import Config
from gateway.settings.documents import TABLES, Documents
from gateway.settings.errors import ConfigError
from gateway.settings.server import Deadlines, ServerConfig
from tests.gateway.gateways import config


def made(kind: Any, name: str, version: int = 1, /, **document: Any) -> Declared:
    return Declared(kind, name, "", document, version, 0, 0, "ops")


BASE = config()
OBJECTS = [
    made("tenant", "acme", title="Acme", environments=["prod"]),
    made("provider", "more", kind="openai", models=["m"], key="vault:more"),
    made("model", "big", route=["more/m", "main/m"], aliases=["large"]),
    made(
        "site",
        "shop",
        tenant="acme",
        environment="prod",
        models=["b*"],
        spend_usd_max=Decimal("12.345678901"),
        ladder=[{"name": "frugal", "from_percent": 80, "model": "big"}],
        routing={"prefer": "cheapest"},
    ),
    made("cap", "all", spend_usd_max=5, per="all", sites=["shop"]),
]


def problems(base: Config, objects: Iterable[Declared]) -> str:
    with pytest.raises(ConfigError) as caught:
        Documents().merged(base, objects)
    return str(caught.value)


def test_objects_become_what_the_file_would_have_made_of_them() -> None:
    merged = Documents().merged(BASE, OBJECTS)

    site = merged.sites[-1]
    assert [one.name for one in merged.sites] == ["acme", "shop"]
    assert site.spend_max_nanousd == 12_345_678_901
    assert site.ladder[0].model == "big"
    assert site.routing.prefer == "cheapest"
    assert merged.home_of(site) == ("acme", "prod")
    assert merged.models[-1].aliases == ("large",)
    assert merged.caps[0].per == "all"
    assert merged.server is BASE.server


def test_a_provider_inherits_the_servers_deadlines() -> None:
    """Also after a reload that changed them."""
    documents = Documents()
    for connect_s in (1.0, 2.0):
        server = ServerConfig(deadlines=Deadlines(connect_s=connect_s))
        base = attrs.evolve(BASE, server=server)  # type: ignore[misc]
        merged = documents.merged(base, OBJECTS)
        assert merged.providers[-1].deadlines.connect_s == connect_s


def test_an_object_that_did_not_change_is_the_same_object() -> None:
    """That is what makes ten thousand sites cheap to follow."""
    documents = Documents()
    first = documents.merged(BASE, OBJECTS)
    second = documents.merged(BASE, [*OBJECTS, made("site", "other")])

    assert all(
        one is other for one, other in zip(first.sites, second.sites, strict=False)
    )


def test_what_was_refused_once_is_judged_anew() -> None:
    """A write that was undone gives its version to the next one."""
    documents = Documents()
    with pytest.raises(ConfigError):
        documents.merged(BASE, [made("site", "shop", 7, models=["nope"])])

    assert documents.merged(BASE, [made("site", "shop", 7, models=["fast"])])


def test_every_problem_is_told_with_its_place() -> None:
    told = problems(
        BASE,
        [
            made("site", "a.b", tenant="nobody", models=["nope"]),
            made("model", "x", route=["main/other"]),
            made("tenant", "t", environments=["prod"]),
            made("site", "c", tenant="t", environment="staging"),
            made("site", "acme"),
        ],
    )

    for line in (
        'database: sites.a.b.tenant: "nobody" is no tenant; tenants are t',
        'database: sites.a.b.models[0]: "nope" matches no model',
        'database: models.x.route[0]: "main/other" is a model that main does not list',
        'database: sites.c.environment: "staging" is no environment of t',
        "database: sites.acme: is also in the file",
        "`stagedoor site remove acme`",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("kind", "key"),
    [(kind, key) for kind, table in TABLES.items() for key in table.file_only],
)
def test_what_reads_this_machine_is_for_the_file(kind: str, key: str) -> None:
    document = {"kind": "openai", "models": ["m"]} if kind == "provider" else {}
    values = {"keys": ["sk-canary-0001"], "federation": {}}

    told = problems(BASE, [made(kind, "x", **document, **{key: values.get(key, "X")})])

    assert f"x.{key}: is for the file" in told
    assert "canary" not in told


def test_a_roster_ends_where_the_directory_is() -> None:
    roster = Roster(BASE)
    moved = roster.take(Changes(5, tuple(OBJECTS), (), (), whole=True))
    assert moved.objects
    assert len(roster.merged().sites) == 2
    moved = roster.take(Changes(6, (), (), (("cap", "all"), ("site", "shop"))))
    assert moved.objects
    assert roster.merged().sites == BASE.sites
    moved = roster.take(Changes(7, (), (), (("site", "never"),)))
    assert not moved.objects


def test_a_judge_shows_no_more_problems_than_a_person_reads() -> None:
    roster = Roster(BASE)

    told = roster.judge([made("site", f"s{n}", tenant="gone") for n in range(200)])

    assert len(told) == 51
    assert told[-1] == "and 150 more"
