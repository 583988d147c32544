"""The command line over a real gateway: by its socket, and by address and token."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import OK, REFUSED, UNREACHABLE, USAGE, main
from gateway.cli.allow import changed
from gateway.cli.toml import dumps
from gateway.cli.usage import age_s
from tests.gateway.admin.support_served import (
    SITE_KEY,
    TENANT_TOKEN,
    TOKEN,
    Served,
    served,
)

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("cli")) as running:
        yield running


class Shell:
    """`stagedoor WORDS --config FILE`, in this process."""

    def __init__(self, gateway: Served, output: Output) -> None:
        self.gateway = gateway
        self.output = output
        self.told = ""

    def __call__(self, *words: str) -> int:
        code = main([*words, "--config", str(self.gateway.config)])
        captured = self.output.readouterr()
        self.told = captured.out + captured.err
        return code

    def json(self, *words: str) -> Any:
        assert self(*words, "--json") == OK, self.told
        return json.loads(self.told)


@pytest.fixture
def shell(gateway: Served, capsys: Output) -> Shell:
    return Shell(gateway, capsys)


def test_money_is_given_back_and_a_cap_begun_anew(shell: Shell) -> None:
    assert shell("cap", "add", "many", "spend_usd_max=9", "per=all") == OK
    assert shell("cap", "charge", "acme", "1.5", "an invoice") == OK
    assert "charged to acme" in shell.told
    assert shell("cap", "refund", "acme", "0.5", "an apology") == OK
    assert "given back to acme" in shell.told
    assert shell("cap", "reset", "many", "a new deal") == OK
    assert shell("cap", "reset", "nope", "a new deal") == REFUSED
    for usd in ("x", "-1", "0", "nan", "0.0000000001"):
        assert shell("cap", "refund", "acme", usd, "why") == USAGE
    assert shell("cap", "remove", "many") == OK


def test_a_site_is_added_changed_and_removed(shell: Shell) -> None:
    assert shell("site", "add", "blog", "tenant=t1", "spend_usd_max=12.5",
                 'models=["fast"]', "each_key.in_flight_max=2") == OK  # fmt: skip
    made = shell.json("site", "show", "blog")
    assert made["settings"] == {
        "tenant": "t1", "spend_usd_max": 12.5, "models": ["fast"],
        "each_key": {"in_flight_max": 2},
    }  # fmt: skip
    assert shell("site", "set", "blog", "spend_usd_max=", "pacing=false") == OK
    changed_ = shell.json("site", "show", "blog")["settings"]
    assert "spend_usd_max" not in changed_
    assert changed_["pacing"] is False
    assert shell("site", "list") == OK
    assert "blog" in shell.told
    assert shell("site", "remove", "blog") == OK
    assert shell("site", "show", "blog") == REFUSED


def test_a_mistake_is_told_and_changes_nothing(shell: Shell) -> None:
    assert shell("site", "add", "bad", "modles=1") == REFUSED
    assert "did you mean models" in shell.told
    assert shell("site", "add", "bad", "no-equals") == USAGE
    assert shell("site", "remove", "acme") == REFUSED
    assert "is in the file" in shell.told


def test_a_key_is_printed_once_and_calls_until_it_is_revoked(
    shell: Shell, gateway: Served
) -> None:
    assert shell("key", "add", "shop", "--label", "wp", "--model", "fast") == OK
    secret = shell.told.strip()
    (key,) = shell.json("key", "list", "shop")
    assert (key["terms"]["label"], key["terms"]["models"]) == ("wp", ["fast"])
    answer = httpx.get(
        f"{gateway.url}/v1/usage", headers={"authorization": f"Bearer {secret}"}
    )
    while answer.status_code == 401:  # In force within a second.
        answer = httpx.get(
            f"{gateway.url}/v1/usage", headers={"authorization": f"Bearer {secret}"}
        )
    assert answer.json()["site"] == "shop"
    assert shell("key", "rotate", "shop", key["id"], "--overlap-s", "0") == OK
    assert shell.told.strip() != secret
    assert shell("key", "revoke", "shop", key["id"]) == OK
    assert shell("key", "rotate", "shop", key["id"]) == REFUSED
    assert "revoked" in shell.told


def test_models_are_allowed_and_denied(shell: Shell) -> None:
    shell("site", "add", "lists")
    assert shell("allow", "add", "lists", "fast") == OK
    assert shell("allow", "deny", "lists", "gpt-*") == OK
    shown = shell.json("allow", "show", "lists")
    assert (shown["models"], shown["models_denied"]) == (["fast"], ["gpt-*"])
    assert shell("allow", "remove", "lists", "gpt-*") == OK
    assert shell.json("allow", "show", "lists")["models_denied"] == []


def test_a_provider_is_paused_tried_and_resumed(shell: Shell) -> None:
    assert shell("provider", "pause", "main", "maintenance") == OK
    assert "paused: maintenance" in shell.told
    assert shell("provider", "test", "main") == REFUSED
    assert shell("provider", "resume", "main") == OK
    assert shell("provider", "test", "main") == OK
    assert "answered" in shell.told
    assert shell("provider", "status") == OK


def test_usage_is_told_as_a_table_and_as_csv(shell: Shell, gateway: Served) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {SITE_KEY}"},
        json={"model": "fast", "messages": [{"role": "user", "content": "hi"}]},
    )
    assert answer.status_code == 200
    while not shell.json("usage", "--by", "site", "--site", "acme")["rows"]:
        pass  # It follows within a second.
    assert shell("usage", "--by", "site,model", "--step", "hour") == OK
    assert "fast" in shell.told
    assert shell("usage", "--csv") == OK
    assert shell.told.startswith("at,site,requests")
    assert shell("usage", "--since", "yesterday") == USAGE


def test_a_token_opens_a_gateway_by_its_address(
    shell: Shell, gateway: Served, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("token", "create", "--name", "ci", "--role", "admin") == OK
    secret = shell.told.strip()
    monkeypatch.setenv("STAGEDOOR_ADMIN_TOKEN", secret)
    assert main(["site", "list", "--url", gateway.url]) == OK
    assert main(["token", "list", "--url", gateway.url]) == REFUSED
    monkeypatch.setenv("STAGEDOOR_ADMIN_TOKEN", TENANT_TOKEN)
    capsys.readouterr()
    assert main(["site", "list", "--url", gateway.url]) == OK
    told = capsys.readouterr().out
    assert "shop" in told
    assert "acme" not in told
    monkeypatch.setenv("STAGEDOOR_ADMIN_TOKEN", "wrong")
    assert main(["site", "list", "--url", gateway.url]) == REFUSED
    monkeypatch.setenv("STAGEDOOR_ADMIN_TOKEN", TOKEN)
    assert main(["site", "list", "--url", "http://example.com"]) == USAGE
    assert main(["site", "list", "--url", "http://127.0.0.1:1"]) == UNREACHABLE


def test_what_is_exported_can_be_compared_and_brought_in_again(
    shell: Shell, gateway: Served
) -> None:
    """Configuration as code: the same twice, and nothing is different after it."""
    shell("tenant", "add", "code", "title=As Code")
    shell("site", "add", "coded", "tenant=code", "spend_usd_max=1.25")
    assert shell("export") == OK
    first = shell.told
    assert shell("export") == OK
    assert shell.told == first
    file = gateway.folder / "export.toml"
    file.write_text(first)
    assert shell("diff", str(file)) == 0, shell.told
    shell("site", "set", "coded", "spend_usd_max=2")
    assert shell("diff", str(file)) == 1
    assert "~ site coded: spend_usd_max" in shell.told
    shell("site", "remove", "coded")
    shell("cap", "add", "extra", "spend_usd_max=1")
    assert shell("diff", str(file), "--prune") == 1
    assert "+ site coded" in shell.told
    assert "- cap extra" in shell.told
    assert shell("import", str(file), "--prune") == OK
    assert shell("diff", str(file), "--prune") == 0
    assert shell("export") == OK
    assert shell.told == first
    file.write_text('[[sites]]\nname = "acme"\n')
    assert shell("import", str(file)) == REFUSED
    assert shell("diff", str(file)) == USAGE
    file.write_text("[server]\nbind = 1\n")
    assert shell("import", str(file)) == USAGE
    assert "is not imported" in shell.told


def test_no_gateway_is_said_so(tmp_path: Any, capsys: Output) -> None:
    assert main(["site", "list", "--state-dir", str(tmp_path)]) == UNREACHABLE
    assert "no gateway" in capsys.readouterr().err


def test_allowing_a_first_name_ends_allowing_everything() -> None:
    assert changed("add", ["a"], ["*"], []) == (["a"], [])
    assert changed("add", ["b"], ["a"], ["b"]) == (["a", "b"], [])
    assert changed("deny", ["a"], ["a"], []) == (["*"], ["a"])
    assert changed("remove", ["a"], ["a", "b"], ["a"]) == (["b"], [])


def test_an_age_has_a_unit() -> None:
    assert [age_s(one) for one in ("90m", "24h", "7d", "4w")] == [
        5400, 86_400, 604_800, 2_419_200,
    ]  # fmt: skip


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.text(),
        st.decimals(-1000, 1000, places=3).map(lambda one: Decimal(f"{one:f}")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_written_as_toml_is_read_back(tables: dict[str, Any]) -> None:
    text = dumps(tables)

    assert tomllib.loads(text, parse_float=Decimal) == tables
    assert dumps(tables) == text
