"""The types of the kernel's API are part of it: both checkers must agree on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ["kernel_api.py"]


def _refused(name: str) -> set[int]:
    """The lines marked as errors."""
    lines = (HERE / name).read_text().splitlines()
    return {n for n, line in enumerate(lines, 1) if line.endswith("# refused")}


def _mypy(name: str) -> tuple[set[int], str]:
    run = subprocess.run(
        [
            sys.executable,
            *("-m", "mypy", "--strict", "--no-error-summary", "--no-pretty"),
            *("--config-file", "", "--python-version", "3.11", "--hide-error-context"),
            str(HERE / name),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(rf"{name}:(\d+): error", run.stdout)
    return {int(line) for line in found}, run.stdout + run.stderr


def _pyright(name: str) -> tuple[set[int], str]:
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", str(HERE / name)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(run.stdout)["generalDiagnostics"]
    errors = [item for item in found if item["severity"] == "error"]
    lines = {item["range"]["start"]["line"] + 1 for item in errors}
    return lines, json.dumps(errors, indent=1)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("check", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_exactly_the_marked_lines_are_refused(name: str, check: object) -> None:
    """Nothing wrong is accepted, nothing right is refused."""
    assert callable(check)
    found, output = check(name)
    refused = _refused(name)
    missed = refused - found
    # A refused decorator may make the checker complain about the `def` below it too.
    surplus = found - refused - {line + 1 for line in refused}
    assert not missed, f"accepted, but must be refused: {sorted(missed)}\n{output}"
    assert not surplus, f"refused, but must be accepted: {sorted(surplus)}\n{output}"
