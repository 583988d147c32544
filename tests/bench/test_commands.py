"""The commands of the README run, and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

TOP = Path(__file__).parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)


def test_unary_prints_rates_and_latencies_of_what_it_was_asked_to_run() -> None:
    options = ["--only", "stock", "--rounds", "1", "--seconds", "0.05", "--json"]
    ran = run("bench.unary", *options)
    assert ran.returncode == 0, ran.stderr
    tree: Any = msgspec.json.decode(ran.stdout)
    assert tree["command"] == " ".join(["python -m bench.unary", *options])
    measured = {(row["gateway"], row["measure"]) for row in tree["rows"]}
    assert ("stock", "requests/s, 32 connections") in measured
    assert ("stock", "added latency p99, 1 connection") in measured
    assert ("direct", "latency p50, 1 connection") in measured
    assert tree["failures"] == {}


def test_workers_prints_what_sharing_costs() -> None:
    ran = run("bench.workers", "--rounds", "1", "--seconds", "0.05", "--json")
    assert ran.returncode == 0, ran.stderr
    tree: Any = msgspec.json.decode(ran.stdout)
    measured = {(row["gateway"], row["measure"]) for row in tree["rows"]}
    assert ("1 worker", "CPU a request, 32 connections") in measured
    assert ("2 workers", "CPU a request, as a multiple of one's") in measured


def test_more_streams_than_files_is_an_error_that_says_what_to_do() -> None:
    ran = run("bench.streams", "--streams", "1000000", "--only", "stock")
    assert ran.returncode == 1
    assert "ulimit -Hn" in ran.stderr


def test_every_pair_of_dialects_is_measured() -> None:
    """Whether a cell is over its bound depends on the machine."""
    ran = run("bench.dialects", "--rounds", "1", "--json")
    cells: Any = msgspec.json.decode(ran.stdout)
    assert len({(cell["provider"], cell["client"]) for cell in cells}) == 50
    assert sum(cell["relayed"] for cell in cells) == 5


def test_streams_that_leave_and_stall_leave_nothing_behind() -> None:
    options = ["--streams", "40", "--only", "stagedoor", "--rounds", "1"]
    ran = run("bench.streams", *options, "--leaving", ".2", "--stalled", ".1", "--json")
    assert ran.returncode == 0, ran.stderr
    tree: Any = msgspec.json.decode(ran.stdout)
    values = {row["measure"]: row["median"] for row in tree["rows"]}
    assert values["stopped reading"] + values["left early"] > 0
    assert "holds nothing after" in values
    assert tree["failures"] == {}
