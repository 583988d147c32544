"""`stagedoor top`: two scrapes in, figures and a screen out; keys and a script's use."""

# ruff: noqa: E501 - lines of Prometheus are as long as they are

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from gateway.cli import main, top
from gateway.cli.control import ControlError
from gateway.cli.top import Wishes, screen
from gateway.cli.top_view import Row, Scrape, lines, ordered, quantile, view

BEFORE = """
# TYPE stagedoor_requests counter
stagedoor_requests_total{site="acme",model="fast",provider="a",outcome="ok",worker="1"} 100
stagedoor_requests_total{site="acme",model="fast",provider="a",outcome="ok",worker="2"} 900
"""
AFTER = """
stagedoor_worker_up{worker="1"} 1
stagedoor_worker_up{worker="2"} 1
stagedoor_worker_up{worker="3"} 0
stagedoor_requests_total{site="acme",model="fast",provider="a",outcome="ok",worker="1"} 120
stagedoor_requests_total{site="acme",model="fast",provider="a",outcome="ok",worker="2"} 10
stagedoor_requests_total{site="beta",model="fast",provider="a",outcome="upstream_error",worker="1"} 10
stagedoor_tokens_total{site="acme",model="fast",provider="a",type="input",worker="1"} 50
stagedoor_tokens_total{site="acme",model="fast",provider="a",type="cached_input",worker="1"} 40
stagedoor_tokens_total{site="acme",model="fast",provider="a",type="output",worker="1"} 30
stagedoor_spend_usd_total{site="acme",model="fast",provider="a",worker="1"} 0.5
stagedoor_streams_open{worker="1"} 2
stagedoor_streams_open{worker="2"} 3
stagedoor_provider_state{provider="a",state="closed",worker="1"} 1
stagedoor_provider_state{provider="a",state="open",worker="1"} 0
stagedoor_provider_state{provider="a",state="open",worker="2"} 1
stagedoor_provider_in_flight{provider="a",worker="1"} 4
stagedoor_cap_spent_usd{cap="day",kind="hard",subject="acme",worker="1"} 5
stagedoor_cap_held_usd{cap="day",kind="hard",subject="acme",worker="1"} 2.5
stagedoor_cap_max_usd{cap="day",kind="hard",subject="acme",worker="1"} 10
gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_provider_name="a",le="0.1"} 5
gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_provider_name="a",le="0.2"} 10
gen_ai_server_time_to_first_token_seconds_bucket{gen_ai_provider_name="a",le="+Inf"} 10
"""


def shown() -> tuple[Scrape, Scrape]:
    return Scrape.of(BEFORE, 0.0), Scrape.of(AFTER, 10.0)


def test_figures_are_rates_over_all_workers() -> None:
    found = view(*shown())
    # 20 more of the first worker, 10 since the second was started again, 10 failed.
    assert found.requests_s == pytest.approx(4.0)
    assert found.failed == pytest.approx(0.25)
    assert (found.workers, found.workers_down, found.streams) == (3, 1, 5)
    assert found.tokens_in_s == pytest.approx(5.0)
    assert found.usd_min == pytest.approx(3.0)
    assert found.first.p50 == pytest.approx(0.1)
    assert found.whole.p50 is None
    [provider] = found.providers
    assert (provider.state, provider.in_flight) == ("closed/open", 4)
    assert provider.first.p95 == pytest.approx(0.19)
    acme, beta = ordered(found.rows, "requests")
    assert (acme.name, acme.tokens_s) == ("acme", pytest.approx(8.0))
    assert (beta.name, beta.failed) == ("beta", 1.0)


def test_a_screen_has_the_rows_that_fit_and_those_that_are_wanted() -> None:
    found = view(*shown())
    text = "\n".join(lines(found, group="site", sort="errors", wanted="BET"))
    assert "beta" in text
    assert "acme  " not in text.partition("PROVIDER")[0]
    assert "75%" in text
    assert len(lines(found, group="site", sort="name", height=7)) == 7


def test_what_a_client_named_cannot_move_the_cursor() -> None:
    row = Row("a\x1b[2Jb", 1, 0, 0, 0)
    found = view(*shown())
    moved = attrs.evolve(found, rows=(row,))
    text = "\n".join(lines(moved, group="site", sort="name"))
    assert "\x1b" not in text


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile({1.0: 0.0, float("inf"): 5.0}, 0.5) == 1.0
    assert quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None
    assert quantile({}, 0.5) is None


def test_keys_group_sort_filter_hold_and_quit() -> None:
    wishes = Wishes()
    for key in "gs/acx\x7f\r":
        wishes.key(key)
    assert (wishes.group, wishes.sort, wishes.wanted) == ("model", "errors", "ac")
    assert not wishes.typing
    wishes.key("p")
    assert wishes.held
    assert "/ac" in wishes.foot
    wishes.key("\x1b")
    assert not wishes.wanted
    for key in "/q":
        wishes.key(key)
    assert not wishes.over  # A letter of the filter.
    wishes.key("\x1b")
    wishes.key("q")
    assert wishes.over


def test_a_screen_is_one_write_over_the_last_one() -> None:
    text = screen(["one", "x" * 50, "three"], "foot", 10, 3)
    assert text.startswith("\x1b[Hone\x1b[K\r\n" + "x" * 10 + "\x1b[K\r\n")
    assert "three" not in text
    assert "\x1b[2J" not in text  # Clearing all first is what flickers.


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    texts = iter([BEFORE, AFTER])
    slept: list[float] = []
    monkeypatch.setattr(top, "get_text", lambda _path, _target: next(texts))
    monkeypatch.setattr(top.time, "sleep", slept.append)
    return slept


def test_a_script_gets_one_look_as_text_or_json(
    scripted: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", "--state-dir", str(tmp_path), "--json", "--interval", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["workers"] == 3
    assert scripted == [3.0]


def test_without_a_terminal_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", "--state-dir", str(tmp_path)]) == 2
    assert "--once" in capsys.readouterr().err


def test_without_a_gateway_it_says_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody(_path: Path, _target: str) -> str:
        raise ControlError("no gateway runs")

    monkeypatch.setattr(top, "get_text", nobody)
    assert main(["top", "--state-dir", str(tmp_path), "--once"]) == 3
    assert "no gateway runs" in capsys.readouterr().err
