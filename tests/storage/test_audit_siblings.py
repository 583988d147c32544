"""The logs of a gateway's workers know each other: none can go, or go back, unseen."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from actors.auditor.notes import Signer, Verifier
from actors.auditor.wal import LogRefused
from gateway.cli import main
from storage.audit_files import log_folder, worker_of
from storage.audit_opening import open_log
from storage.audit_siblings import SIBLINGS, anchors_beside, look
from tests.storage.audit_keeper import ORIGIN, Keeper


def write(state: Path, *, workers: int = 3, entries: int = 5) -> None:
    """Each log grows and is published, then each looks at the others."""
    with ExitStack() as stack:
        keepers = [
            stack.enter_context(Keeper(state, worker=number + 1))
            for number in range(workers)
        ]
        for keeper in keepers:
            keeper.write(entries)
            keeper.publish()
        for keeper in keepers:
            keeper.see_siblings()


def verify(state: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """With the first log's key alone."""
    vkey = (log_folder(state, ORIGIN) / "vkey").read_text()
    code = main(["audit", "verify", str(state / "audit"), "--vkey", vkey])
    told = capsys.readouterr()
    return code, told.err or told.out


def of(state: Path, worker: int) -> Path:
    return log_folder(state, f"{ORIGIN}/w{worker}")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    write(state)
    return state


@pytest.mark.parametrize(
    ("origin", "parts"),
    [
        ("a/b", ("a/b", 1)),
        ("a/b/w2", ("a/b", 2)),
        ("a/b/w02", ("a/b/w02", 1)),
        ("a/w1x", ("a/w1x", 1)),
        ("w2", ("w2", 1)),
    ],
)
def test_a_logs_name_says_whose_it_is(origin: str, parts: tuple[str, int]) -> None:
    assert worker_of(origin) == parts


def test_one_key_verifies_the_logs_of_all_workers(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = verify(state, capsys)
    assert code == 0
    assert told.count("entries are as they were signed") == 3
    assert "it has seen 2 other logs" in told


def test_a_log_that_was_deleted_is_missed(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(of(state, 2))
    code, told = verify(state, capsys)
    assert code == 1
    assert f"the log {ORIGIN}/w2 is missing" in told


def test_so_it_is_when_what_the_others_keep_of_it_is_deleted_too(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The entries remain, and only the signing key could write others."""
    shutil.rmtree(of(state, 2))
    for kept in (state / "audit").glob(f"*/{SIBLINGS}"):
        kept.unlink()
    assert verify(state, capsys)[0] == 1


def test_an_older_copy_of_a_log_is_noticed(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(of(state, 3), tmp_path / "copy")
    write(state)
    shutil.rmtree(of(state, 3))
    shutil.move(tmp_path / "copy", of(state, 3))

    code, told = verify(state, capsys)
    assert code == 1
    assert "/w3" in told


def test_a_start_refuses_a_log_that_the_others_know_to_be_longer(
    state: Path, tmp_path: Path
) -> None:
    shutil.copytree(of(state, 2), tmp_path / "copy")
    write(state)
    shutil.rmtree(of(state, 2))
    shutil.move(tmp_path / "copy", of(state, 2))

    origin = f"{ORIGIN}/w2"
    with pytest.raises(LogRefused, match="entries have been cut off"):
        open_log(state, origin, anchors_beside(state, origin))


def test_a_start_does_not_begin_a_log_anew_that_was_there(state: Path) -> None:
    shutil.rmtree(of(state, 2))
    origin = f"{ORIGIN}/w2"
    with pytest.raises(LogRefused, match="is gone"):
        open_log(state, origin, anchors_beside(state, origin))


def test_a_log_that_was_written_anew_with_the_key_is_noticed(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as before, properly signed, and not what the others have seen."""
    shutil.rmtree(of(state, 2))
    with Keeper(state, worker=2) as keeper:
        keeper.write(7, name="other")
        keeper.publish()
    code, told = verify(state, capsys)
    assert code == 1
    assert f"{ORIGIN}/w2: it is another log than it was" in told


def test_without_the_key_no_second_one_is_made(state: Path) -> None:
    """It would disown the logs of the other workers."""
    (state / "audit.key").unlink()
    with pytest.raises(LogRefused, match="is gone"), Keeper(state, worker=4):
        pass


def test_a_log_with_a_foreign_signature_is_not_remembered(state: Path) -> None:
    stranger = Signer.of(f"{ORIGIN}/w2", b"x" * 32)
    (of(state, 2) / "checkpoint").write_bytes(
        stranger.sign(f"{ORIGIN}/w2\n9\nAAAA\n").encode()
    )
    key = Verifier.parse((log_folder(state, ORIGIN) / "vkey").read_text())
    assert [one.origin for one in look(state, key)] == [f"{ORIGIN}/w3"]


def test_the_logs_of_fewer_workers_stay_good(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever goes from three to one keeps what the others have written."""
    write(state, workers=1)
    assert verify(state, capsys)[0] == 0
