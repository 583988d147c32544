"""What `stagedoor doctor` finds, and that it changes nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from actors.vault.locked import LockedMemory
from gateway import checkup
from gateway.checkup_database import _of_file, database
from gateway.cli import USAGE, main
from gateway.keysafe import open_safe
from gateway.settings.config import Config
from gateway.settings.database import DatabaseConfig, DatabaseUrl
from gateway.settings.errors import ConfigError
from gateway.settings.server import ServerConfig
from gateway.settings.state_dir import PARTS, prepare
from gateway.settings.vault import VaultConfig
from storage.sql.opening import open_database
from storage.vault_files import VaultFiles
from tests.support_postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

TEXT = """
[server]
state_dir = "{state}"
[[sites]]
name = "acme"
keys = ["sk-acme-made-up-0001"]
[[providers]]
name = "mock"
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
key_env = "DOCTOR_KEY"
models = ["m"]
[[models]]
name = "fast"
route = ["mock/m"]
"""


def examined(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, str]]]:
    file = folder / "stagedoor.toml"
    file.write_text(TEXT.format(state=folder / "state"))
    file.chmod(0o600)
    code = main(["doctor", "--config", str(file), "--json"])
    return code, json.loads(capsys.readouterr().out)["findings"]


def failing(findings: list[dict[str, str]]) -> list[str]:
    return [one["what"] for one in findings if one["level"] == "fail"]


def test_with_no_file_it_looks_as_the_demo_starts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`make run` says `stagedoor doctor` says more; it has to, before any file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STAGEDOOR_CONFIG", raising=False)

    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]

    assert "no stagedoor.toml is here" in found[0]["what"]
    assert len(found) > 3
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_asked_for_has_to_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(tmp_path / "nope.toml")]) == USAGE
    assert "is not there" in capsys.readouterr().err


def test_a_new_machine_passes_and_nothing_is_made(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCTOR_KEY", "sk-doctor-canary")
    code, findings = examined(tmp_path, capsys)
    assert (code, failing(findings)) == (0, [])
    told = json.dumps(findings)
    assert "its key is the variable DOCTOR_KEY" in told
    assert "it is no HSM" in told
    assert "sk-doctor-canary" not in told
    assert "sk-acme-made-up" not in told
    assert not (tmp_path / "state").exists()


def test_each_failure_comes_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    (state / "root.key").write_text("no key")
    os.utime(state / "root.key", (time.time(), time.time() + 9_999))
    code, findings = examined(tmp_path, capsys)
    told = " ".join(failing(findings))
    assert code == 1
    assert "mode 0755" in told
    assert "in the future" in told
    assert "the KMS" in told
    assert all(one["todo"] for one in findings if one["level"] == "fail")


@pytest.mark.parametrize(
    ("kind", "level"), [("memfd_secret", "ok"), ("mlock", "warn"), ("unlocked", "fail")]
)
def test_memory_is_told_by_what_it_protects(kind: str, level: str) -> None:
    assert [one.level for one in checkup.memory(kind)] == [level]


def test_a_limit_on_locked_memory_that_will_not_do_is_told() -> None:
    """The first page is locked all the same; the keys of a busy hour are not."""
    low = list(checkup.memory("memfd_secret", 64 * 1024))
    assert [one.level for one in low] == ["warn", "ok"]
    assert "65536 bytes" in low[0].what
    assert [one.level for one in checkup.memory("mlock", 2**23)] == ["warn"]
    assert (checkup.lockable() or 0) >= 0


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_state_that_leads_to_an_open_folder_is_refused(
    tmp_path: Path, part: str
) -> None:
    """A link to another volume may be; what is there must be as private."""
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir(mode=0o700)
    elsewhere.mkdir(mode=0o700)
    (state / part).symlink_to(elsewhere)
    assert prepare(state) == state
    elsewhere.chmod(0o770)
    with pytest.raises(ConfigError, match=r"open to others .*; chmod 700"):
        prepare(state)
    found = list(checkup.state_folder(ServerConfig(state_dir=state), time.time()))
    assert [one.todo for one in found if one.level == "fail"] == [
        f"chmod 700 {state / part}"
    ]
    elsewhere.rmdir()
    with pytest.raises(ConfigError, match="cannot be used"):
        prepare(state)


def test_a_state_folder_is_named_itself_and_not_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is a symbolic link; name the folder"):
        prepare(tmp_path / "state")


def test_a_state_folder_that_is_none_fails(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("")
    found = list(checkup.state_folder(ServerConfig(state_dir=file), time.time()))
    assert [one.level for one in found] == ["fail"]


async def test_a_lost_root_key_is_not_replaced_by_another(tmp_path: Path) -> None:
    """A new one would open nothing, and hide that the old one is gone."""

    def opened() -> object:
        return open_safe(
            VaultConfig(),
            store=VaultFiles(tmp_path),
            state_dir=tmp_path,
            environ={},
            wall=time.time,
            transport=lambda: pytest.fail("the local KMS asks nobody"),
            memory=LockedMemory(secret=False),
        )

    opened()
    root = tmp_path / "root.key"
    root.unlink()
    opened()  # Nothing was sealed yet: a new one does no harm.
    await VaultFiles(tmp_path).commit()
    root.unlink()
    with pytest.raises(ConfigError, match="restore the file from its copy"):
        opened()
    assert not root.exists()


@pytest.mark.parametrize(("key", "code"), [("vault:default", 1), ("", 0)])
def test_a_stored_key_never_travels_in_the_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, code: int
) -> None:
    """A variable's may, in a network of one's own, and that is said."""
    text = TEXT.replace("127.0.0.1:9", "192.0.2.1:9").replace(
        'key_env = "DOCTOR_KEY"',
        f"allow_plain_http = true\n{f'key = {chr(34)}{key}{chr(34)}' if key else ''}",
    )
    file = tmp_path / "stagedoor.toml"
    file.write_text(text.format(state=tmp_path / "state"))
    assert main(["check", str(file)]) == code
    told = capsys.readouterr()
    assert ("without TLS" in told.err) == bool(code)
    assert ("travel in the clear" in told.out) == (not code)


@pytest.mark.parametrize(
    ("mounted", "level"), [("ext4", "ok"), ("nfs4", "fail"), ("cifs", "fail")]
)
def test_sqlite_on_a_networks_file_system_fails(
    tmp_path: Path, mounted: str, level: str
) -> None:
    mounts = tmp_path / "mounts"
    folder = str(tmp_path / "a folder").replace(" ", "\\040")
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nserver:/ {folder} {mounted} rw 0 0\n")

    found = _of_file(tmp_path / "a folder" / "state" / "x.sqlite3", mounts)

    assert found.level == level


async def test_a_database_that_cannot_be_reached_is_told_without_its_password(
    tmp_path: Path,
) -> None:
    url = DatabaseUrl("postgresql://me:hunter2@127.0.0.1:1/x")
    config = Config(sites=(), providers=(), models=(), database=DatabaseConfig(url=url))

    [found] = await database(config)

    assert found.level == "fail"
    assert "127.0.0.1:1/x" in found.what
    assert "hunter2" not in f"{found} {config!r}"


async def test_a_database_that_answers_says_what_the_start_would_do(
    postgres_url: str,
) -> None:
    config = Config(
        sites=(),
        providers=(),
        models=(),
        database=DatabaseConfig(url=DatabaseUrl(postgres_url)),
    )

    [before] = await database(config)
    await (await open_database(postgres_url, Path())).aclose()
    [after] = await database(config)

    assert "the start applies" in before.what
    assert after.what.endswith("answers")
