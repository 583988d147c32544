"""The log's folder: what a start accepts, mends and refuses; what verify finds."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.auditor import wal
from actors.auditor.notes import Signer, open_checkpoint
from actors.auditor.wal import LogRefused
from gateway.cli import main
from storage.audit_files import log_folder, origin_of
from storage.audit_opening import open_log, split_anchors
from storage.audit_verify import Expectations, verify
from storage.whole_files import read_file
from tests.storage.audit_keeper import ORIGIN, Keeper


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A log of 600 entries, 598 of them published."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    with Keeper(made) as keeper:
        keeper.write(300)
        keeper.publish()
        keeper.write(298)
        keeper.publish()
        keeper.write(2, "last")
    return made


def problems(state: Path, *anchors: Path) -> list[str]:
    keeper = Keeper(state)
    key = Signer.of(ORIGIN, (state / "audit.key").read_bytes()).verifier
    return verify(keeper.folder, key, Expectations(anchors=anchors)).problems


def test_a_log_goes_on_where_it_ended(state: Path) -> None:
    with Keeper(state) as keeper:
        assert (keeper.book.log.size, keeper.book.log.published) == (600, 598)
        keeper.write(1)
        keeper.publish()

    assert problems(state) == []


def test_files_are_private_and_the_key_is_beside_the_folder(state: Path) -> None:
    """A copy of the folder is given to auditors: no secret may be in it."""
    for path in state.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    seed = (state / "audit.key").read_bytes()
    for path in log_folder(state, ORIGIN).rglob("*"):
        assert path.is_dir() or seed not in path.read_bytes()


def test_full_tiles_replace_their_partial_ones(state: Path) -> None:
    folder = log_folder(state, ORIGIN)
    tiles = sorted(
        str(path.relative_to(folder))
        for path in folder.glob("tile/**/*")
        if path.is_file()
    )

    assert tiles == [
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/86",
        "tile/1/000.p/1",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/86",
    ]


def test_cut_at_every_byte_of_its_last_group_it_opens_without_it(state: Path) -> None:
    segment = log_folder(state, ORIGIN) / "wal"
    with Keeper(state) as keeper:
        before = keeper.book.log.segment_bytes
        keeper.write(1, "torn")
    whole = segment.read_bytes()
    for cut in range(before, len(whole), 3):
        segment.write_bytes(whole[:cut])
        with Keeper(state) as keeper:
            assert keeper.book.log.size == 600
        assert segment.stat().st_size == before


@pytest.mark.parametrize("published", [False, True])
def test_cut_at_a_group_boundary_it_opens_unless_readers_saw_more(
    state: Path, published: bool
) -> None:
    """What no reader has seen nor an anchor kept can be cut unseen: a second's."""
    segment = log_folder(state, ORIGIN) / "wal"
    whole = segment.read_bytes()
    with Keeper(state) as keeper:
        keeper.write(1)
        if published:
            keeper.publish()
    segment.write_bytes(whole)
    if published:
        with pytest.raises(LogRefused, match=r"ends at 600.*601 has been signed"):
            open_log(state, ORIGIN)
    else:
        with Keeper(state) as keeper:
            assert keeper.book.log.size == 600


def test_without_its_last_checkpoint_a_published_group_is_missed(state: Path) -> None:
    segment = log_folder(state, ORIGIN) / "wal"
    with Keeper(state) as keeper:
        keeper.write(1)
        keeper.publish()
        note = wal.frame(wal.CHECKPOINT, keeper.book.log.note)
    whole = segment.read_bytes()
    assert whole.endswith(note)
    segment.write_bytes(whole[: -len(note)])

    with pytest.raises(LogRefused, match="have been cut off"):
        open_log(state, ORIGIN)


def test_a_rollback_of_the_whole_folder_is_seen_by_the_anchor(
    state: Path, tmp_path: Path
) -> None:
    """Checkpoint, tiles and segment, all of yesterday: consistent, and too short."""
    anchor = tmp_path / "anchor"
    old = tmp_path / "old"
    shutil.copytree(state, old)
    with Keeper(state) as keeper:
        keeper.write(1)
        keeper.publish()
    assert main(["audit", "anchor", str(log_folder(state, ORIGIN)), str(anchor)]) == 0
    shutil.rmtree(state)
    old.rename(state)

    assert problems(state) == []
    [problem] = problems(state, anchor)
    assert problem == f"anchor {anchor} knows 601 entries, the log has 600"
    with pytest.raises(LogRefused, match="have been cut off"):
        open_log(state, ORIGIN, [anchor])


def _forge(state: Path, name: str = "forged") -> None:
    """Write the whole history anew with the stolen key, one entry changed."""
    folder = log_folder(state, ORIGIN)
    shutil.rmtree(folder)
    with Keeper(state) as keeper:
        keeper.write(1, name)
        keeper.write(597)
        keeper.publish()
        keeper.write(2)


def test_a_history_rewritten_with_the_key_is_seen_by_the_anchor(
    state: Path, tmp_path: Path
) -> None:
    anchor = tmp_path / "anchor"
    assert main(["audit", "anchor", str(log_folder(state, ORIGIN)), str(anchor)]) == 0
    _forge(state)

    assert problems(state) == []  # Nothing in the folder itself tells.
    assert problems(state, anchor) == [f"anchor {anchor} knows another log at size 598"]
    with pytest.raises(LogRefused, match="has been rewritten"):
        open_log(state, ORIGIN, [anchor])


def _flip(path: Path, at: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda f: _flip(f / "tile/entries/000"), "tile 0/0 is not made"),
        (lambda f: _flip(f / "tile/0/001"), "tile 0/1 is not made"),
        (lambda f: _flip(f / "tile/1/000.p/2", 3), "tile 1/0 is not made"),
        (lambda f: (f / "tile/entries/001").unlink(), "entries/001 is missing"),
        (lambda f: (f / "tile/0/002.p/86").unlink(), r"0/002.p/86 is missing"),
        (lambda f: _flip(f / "checkpoint", 30), ""),
        (lambda f: _flip(f / "wal", -5), ""),
        (lambda f: os.truncate(f / "wal", 20_000), "it was cut"),
    ],
)
def test_verify_finds_what_was_changed(
    state: Path, damage: Callable[[Path], object], found: str
) -> None:
    damage(log_folder(state, ORIGIN))
    told = problems(state)

    assert any(found in problem for problem in told) or (not found and _torn(state))


def _torn(state: Path) -> bool:
    """Whether the damage is in the unpublished last group: a torn tail, no more."""
    key = Keeper(state).key
    segment = read_file(log_folder(state, ORIGIN) / "wal")
    assert segment is not None
    return wal.recover(segment, key).edge.size == 598


def test_verify_works_on_a_copy_without_segment_and_key(
    state: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(
        log_folder(state, ORIGIN), copy, ignore=shutil.ignore_patterns("wal", "vkey")
    )
    vkey = Keeper(state).key.vkey

    assert main(["audit", "verify", str(copy), "--vkey", vkey]) == 0
    stranger = Signer.of(ORIGIN, bytes(32)).verifier.vkey
    assert main(["audit", "verify", str(copy), "--vkey", stranger]) == 1


def test_a_log_that_is_missing_is_reported(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vkey = Keeper(state).key.vkey
    other = Signer.of("other.example", bytes(32)).verifier.vkey
    command = ["audit", "verify", str(state / "audit"), "--vkey", vkey]

    assert main(command) == 0
    assert main([*command, "--vkey", other]) == 1
    assert "the log other.example is missing" in capsys.readouterr().err


def test_what_is_gone_is_not_begun_anew(state: Path) -> None:
    folder = log_folder(state, ORIGIN)
    (folder / "wal").unlink()
    with pytest.raises(LogRefused, match="is gone, but a checkpoint of size 598"):
        open_log(state, ORIGIN)


def test_a_deleted_log_is_missed_by_its_anchor(state: Path, tmp_path: Path) -> None:
    anchor = tmp_path / "anchor"
    shutil.copy(log_folder(state, ORIGIN) / "checkpoint", anchor)
    shutil.rmtree(log_folder(state, ORIGIN))

    with pytest.raises(LogRefused, match="is gone"):
        open_log(state, ORIGIN, [anchor])


def test_a_lost_or_open_key_stops_the_start(state: Path) -> None:
    key = state / "audit.key"
    key.chmod(0o644)
    with pytest.raises(LogRefused, match="open to others"):
        open_log(state, ORIGIN)
    key.unlink()
    with pytest.raises(LogRefused, match="is gone"):
        open_log(state, ORIGIN)
    key.symlink_to("/dev/zero")
    with pytest.raises(LogRefused, match="symbolic"):
        open_log(state, ORIGIN)


def test_a_rotated_log_opens_verifies_and_is_still_anchored(
    state: Path, tmp_path: Path
) -> None:
    anchor = tmp_path / "anchor"
    shutil.copy(log_folder(state, ORIGIN) / "checkpoint", anchor)
    with Keeper(state, anchor) as keeper:
        keeper.write(400)
        keeper.publish()
        keeper.rotate()
        keeper.write(1)
    with Keeper(state, anchor) as keeper:
        assert (keeper.book.log.base, keeper.book.log.size) == (768, 1001)

    assert problems(state, anchor) == []
    _flip(log_folder(state, ORIGIN) / "tile/0/002")
    with pytest.raises(LogRefused, match="has been rewritten"):
        open_log(state, ORIGIN, [anchor])


def test_prove_tail_and_export_say_what_is_there(
    state: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = str(log_folder(state, ORIGIN))
    assert main(["audit", "tail", folder, "-n", "2"]) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert [b'"name":"last0"' in lines[0], b'"name":"last1"' in lines[1]] == [True] * 2
    assert main(["audit", "export", folder, "--from", "10", "--to", "12"]) == 0
    assert len(capsysbinary.readouterr().out.splitlines()) == 3
    assert main(["audit", "prove", folder, "5"]) == 0
    proof = capsysbinary.readouterr().out
    assert proof.startswith(b"c2sp.org/tlog-proof@v1\nindex 5\n")
    note = proof.partition(b"\n\n")[2]
    assert open_checkpoint(note, Keeper(state).key).size == 598
    assert main(["audit", "prove", folder, "598"]) == 1


def test_an_anchor_does_not_follow_a_fork_or_a_rollback(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, anchor = log_folder(state, ORIGIN), tmp_path / "anchor"
    command = ["audit", "anchor", str(folder), str(anchor)]
    assert main(command) == 0
    assert main(command) == 0  # Nothing new: nothing is added.
    with Keeper(state) as keeper:
        keeper.write(1)
        keeper.publish()
    assert main(command) == 0
    assert len(split_anchors(anchor.read_bytes())) == 2
    _forge(state)
    assert main(command) == 1
    assert "was rolled back" in capsys.readouterr().err
    with Keeper(state) as keeper:
        keeper.write(5)
        keeper.publish()
    assert main(command) == 1
    assert "does not continue" in capsys.readouterr().err


def test_an_origin_is_made_once(tmp_path: Path) -> None:
    first = origin_of(tmp_path, "")

    assert origin_of(tmp_path, "") == first
    assert Signer.of(first, bytes(32)).verifier.name == first
    assert origin_of(tmp_path, "mine.example") == "mine.example"
