"""What the measurements print."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.lib import gateways, report
from bench.lib.gateways import Gateway
from bench.lib.load import Target
from bench.lib.verify import AnswerError


@pytest.fixture
def numbers() -> report.Report:
    numbers = report.Report("small JSON")
    for value in (100.0, 300.0, 200.0):
        numbers.add("stock", "requests", "1/s", value)
        numbers.add("stagedoor", "requests", "1/s", value * 6)
    return numbers


def printed(numbers: report.Report, *options: str) -> None:
    numbers.finish(gateways.options("t").parse_args(options))


def test_a_cell_is_median_and_spread_and_ratio(
    numbers: report.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(numbers)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split("  ", 1)[0] == "requests, 1/s"
    assert "200 (100 .. 300)" in lines[2]
    assert "1,200 (600 .. 1,800) = 6.00x" in lines[2]


def test_markdown_names_its_command(
    numbers: report.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(numbers, "--markdown")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("`python -m ")
    assert lines[2] == "| small JSON | stock | stagedoor |"
    assert lines[3] == "|---|---|---|"


def test_json_holds_every_round(
    numbers: report.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(numbers, "--json")
    tree: Any = msgspec.json.decode(capsys.readouterr().out)
    assert tree["rows"][1]["values"] == [600.0, 1800.0, 1200.0]
    assert tree["rows"][1]["times_baseline"] == 6.0


def test_a_gateway_that_answers_wrongly_fails_the_run(
    numbers: report.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name and reason are in the table; the others keep their numbers."""
    gateway = Gateway("stagedoor", Target("127.0.0.1", 1), None)

    def measure() -> None:
        raise AnswerError("delta 3 where 2 was due")

    with numbers.guard(gateway):
        measure()
    assert numbers.failed(gateway)
    with pytest.raises(SystemExit) as ended:
        printed(numbers)
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "FAILED stagedoor: AnswerError: delta 3 where 2 was due" in out
    assert "200 (100 .. 300)" in out
