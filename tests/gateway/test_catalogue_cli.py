"""`stagedoor catalogue`: what it shows, what it takes and what it refuses."""

import hashlib
import json
from pathlib import Path

import pytest

from actors.router.catalogue import files
from actors.router.catalogue.schema import Catalogue
from gateway.cli import OK, REFUSED, UNREACHABLE, USAGE, main
from gateway.cli.catalogue import fetch, parsed

Output = pytest.CaptureFixture[str]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def public_list(models: int = 1000) -> bytes:
    """A list as litellm publishes it, with every kind that the shipped one has."""
    row = {
        "mode": "chat",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
    }
    providers = [
        "openai", "azure", "anthropic", "gemini", "vertex_ai", "bedrock", "cohere",
        "bedrock_mantle", "mistral", "groq", "deepseek", "xai", "together_ai", "zai",
        "fireworks_ai", "cerebras", "perplexity", "moonshot",
    ]  # fmt: skip
    rows = {
        f"model-{n}": {**row, "litellm_provider": providers[n % len(providers)]}
        for n in range(models)
    }
    return json.dumps({"sample_spec": {}, **rows}).encode()


def run(*words: object) -> int:
    return main(["catalogue", *map(str, words)])


def test_a_model_is_shown_wherever_it_is_served(capsys: Output, state: Path) -> None:
    assert run("show", "gpt-4o", "--state-dir", state) == OK
    shown = capsys.readouterr().out
    assert "openai/gpt-4o" in shown
    assert "azure/gpt-4o" in shown
    assert "$2.50 in, $10 out, $1.25 cached a million tokens" in shown


def test_one_kind_can_be_asked_for_as_json(capsys: Output, state: Path) -> None:
    assert run("show", "openai/gpt-4o", "--json", "--state-dir", state) == OK
    [found] = json.loads(capsys.readouterr().out)
    assert found["entry"]["price"]["input_nanousd_per_mtok"] == 2_500_000_000


def test_an_unknown_model_is_said_to_be_unpriced(capsys: Output, state: Path) -> None:
    assert run("show", "nobodys", "--state-dir", state) == REFUSED
    assert "unpriced" in capsys.readouterr().err


def test_an_update_tells_its_hash_and_is_used(
    capsys: Output, state: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(public_list())
    assert run("update", "--from", file, "--state-dir", state) == OK
    said = capsys.readouterr().out
    assert hashlib.sha256(public_list()).hexdigest() in said
    assert run("show", "openai/model-0", "--state-dir", state) == OK
    assert "$1 in, $2 out" in capsys.readouterr().out


def test_a_catalogue_of_ours_is_taken_too(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.json.gz"
    files.write(file, files.shipped())
    assert run("update", "--from", file, "--state-dir", state) == OK
    assert files.read(state / files.REFRESHED) == files.shipped()


@pytest.mark.parametrize("data", [b"", b"{}", b"<html>", public_list(20)])
def test_a_broken_download_changes_nothing(
    data: bytes, state: Path, tmp_path: Path, capsys: Output
) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(data)
    assert run("update", "--from", file, "--state-dir", state) == REFUSED
    assert not list(state.iterdir())
    assert capsys.readouterr().err


def test_a_small_list_is_taken_when_that_is_meant(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(public_list(20))
    assert run("update", "--from", file, "--force", "--state-dir", state) == OK


def test_another_hash_than_the_expected_is_refused(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(public_list())
    wrong, right = "0" * 64, hashlib.sha256(public_list()).hexdigest()
    words = ("update", "--from", file, "--state-dir", state, "--sha256")
    assert run(*words, wrong) == REFUSED
    assert run(*words, "short") == USAGE
    assert run(*words, right) == OK


def test_files_that_are_not_there_are_named(
    state: Path, tmp_path: Path, capsys: Output
) -> None:
    assert run("update", "--from", tmp_path / "no", "--state-dir", state) == USAGE
    assert "no" in capsys.readouterr().err
    assert run("update", "--from", "x", "--state-dir", tmp_path / "none") == USAGE
    assert run("diff", "shipped", tmp_path / "no") == USAGE


def test_prices_do_not_come_unencrypted(state: Path, capsys: Output) -> None:
    source = "http://prices.example/list.json"
    assert run("update", "--from", source, "--state-dir", state) == UNREACHABLE
    assert "https" in capsys.readouterr().err
    assert fetch.__doc__


def test_two_files_are_compared(capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "new.json.gz"
    made = parsed(public_list(), "list")
    assert isinstance(made, Catalogue)
    files.write(file, made)
    assert run("diff", "shipped", file) == OK
    said = capsys.readouterr().out
    assert "+ openai/model-0  window ?, $1 in, $2 out" in said
    assert run("diff", file, file) == OK
    assert capsys.readouterr().out.strip().endswith("0 models differ")
