"""Keys in the vault of a real gateway, by its own command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage, staged

VAULT = (sys.executable, "-m", "gateway.cli", "vault")
SECRET = "sk-canary-by-hand-0001"


def vault(
    stage: Stage, *words: str, given: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One command, its standard input being no terminal."""
    return subprocess.run(
        [*VAULT, *words, "--state-dir", str(stage.state_dir)],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


@pytest.fixture(name="stage", scope="module")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with staged(tmp_path_factory.mktemp("vault")) as made:
        yield made


def everything_under(folder: Path) -> bytes:
    return b"".join(
        path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_socket()
    )


def test_a_key_goes_in_and_never_comes_out(stage: Stage) -> None:
    added = vault(stage, "add", "mock", given=f"{SECRET}\n")
    assert added.returncode == 0, added.stderr
    assert "version 1 is in use" in added.stdout

    again = vault(stage, "add", "mock", given=f"{SECRET}\n")
    assert again.returncode == 1
    assert "already" in again.stderr

    rotated = vault(stage, "rotate", "mock", "--from-env", "K", env={"K": SECRET + "2"})
    assert rotated.returncode == 0, rotated.stderr
    listed = vault(stage, "list", "--json")
    rows = json.loads(listed.stdout)["secrets"]
    assert [(row["version"], row["state"]) for row in rows] == [
        (1, "retired"),
        (2, "active"),
    ]
    assert vault(stage, "rotate-kek").stdout == "re-wrapped 3 record(s)\n"
    revoked = vault(stage, "revoke", "mock")
    assert revoked.returncode == 0, revoked.stderr

    outputs = [added, again, rotated, listed, revoked]
    told = "".join(one.stdout + one.stderr for one in outputs)
    assert SECRET not in told
    assert SECRET.encode() not in everything_under(stage.state_dir)
    assert SECRET.encode() not in stage.log.read_bytes()


def test_every_change_is_in_the_audit_log(stage: Stage) -> None:
    log = everything_under(stage.state_dir / "audit")
    for act in (b"key.add", b"key.rotate", b"kek.rotate", b"key.revoke"):
        assert act in log


def test_reading_the_log_out_is_in_the_log(stage: Stage) -> None:
    [log] = [one for one in (stage.state_dir / "audit").iterdir() if one.is_dir()]

    def exported(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "audit", "export", str(log), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    exported("--to", "0")
    stage.until("it is published", lambda: '"act":"audit.export"' in exported())


def test_an_older_copy_of_the_vault_is_refused(tmp_path: Path) -> None:
    """Unless the operator says that this very copy is meant."""
    with staged(tmp_path) as made:
        file = made.state_dir / "vault" / "rows.msgpack"
        assert vault(made, "add", "mock", given=f"{SECRET}\n").returncode == 0
        copy = file.read_bytes()
        assert vault(made, "revoke", "mock").returncode == 0
        assert made.stop() == 0
        file.write_bytes(copy)

        def start(*words: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "gateway.cli", "serve"]
            return subprocess.Popen(
                [*command, "--config", str(made.config), *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "E2E_UPSTREAM_KEY": "sk-made-up"},
            )

        _, refused = start().communicate(timeout=60)
        assert "went back: it has" in refused
        [number] = re.findall(r"accept_commits=(\d+)", refused)
        for words in (("--set", f"vault.accept_commits={number}"), ()):
            with start(*words) as again:
                assert again.stdout is not None
                assert "serves on" in again.stdout.readline()
                again.terminate()
                assert again.wait(60) == 0
        assert b'"out":"accepted"' in everything_under(made.state_dir / "audit")


def test_the_state_is_for_its_owner_alone(stage: Stage) -> None:
    root = stage.state_dir / "root.key"
    assert root.stat().st_mode & 0o077 == 0
    assert (stage.state_dir / "vault").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "given", "code"),
    [
        (("add", "mock", "empty"), "\n", 2),
        (("add", "mock", "spare", "--from-env", "NO_SUCH_VARIABLE"), "", 2),
        (("add", "nobody"), "sk-x", 1),
        (("add", "mock", "two words"), "sk-x", 1),
        (("add", "mock", "sk-made-up"), "sk-x", 2),  # The key where its name goes.
        (("describe", "nobody"), "", 1),
        (("shred",), "", 2),
    ],
)
def test_mistakes_are_told_and_change_nothing(
    stage: Stage, words: tuple[str, ...], given: str, code: int
) -> None:
    done = vault(stage, *words, given=given)
    assert done.returncode == code
    assert done.stderr.startswith("stagedoor: ")


def test_the_status_says_what_protects_the_keys(stage: Stage) -> None:
    shown = vault(stage, "status").stdout
    assert "seals with: local" in shown
    assert "memory: " in shown


def test_without_a_gateway_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [*VAULT, "list", "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3


def kms(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "kms", *words],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_root_key_is_made_once_and_tried(tmp_path: Path) -> None:
    root, config = tmp_path / "gw.key", tmp_path / "stagedoor.toml"
    config.write_text(f'[vault]\nroot_key_file = "{root}"\n')
    assert "no root key" in kms("check", "--config", str(config)).stderr
    short = kms("init", str(root), "--passphrase", given="short\n")
    assert short.returncode == 2
    made = kms("init", str(root))
    assert made.returncode == 0, made.stderr
    assert kms("init", str(root)).returncode == 1
    tried = kms("check", "--config", str(config))
    assert tried.stdout == "the KMS local wraps and unwraps\n"
    root.chmod(0o644)
    assert "chmod 600" in kms("check", "--config", str(config)).stderr
