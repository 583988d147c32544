"""The vault's rows on disk: atomic, private, and one writer at a time wins."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from actors.vault.ports import Drop, KekRow, Put, Row, SecretRow, StaleRow, VaultStore
from storage.vault_files import RotationTurn, VaultFiles, VaultMemory

KEK = KekRow("t", "e", "t/e", 1, "active", "local", b"blob", 1.0)
SECRET = SecretRow("t", "e", "p", "n", 1, "active", b"record", 1.0, "op", ("h",))


@pytest.fixture(name="store", params=["files", "memory"])
def _store(request: pytest.FixtureRequest, tmp_path: Path) -> VaultStore:
    return VaultFiles(tmp_path) if request.param == "files" else VaultMemory()


async def test_what_was_committed_is_loaded(store: VaultStore) -> None:
    assert await store.load() == ()
    before = store.generation()
    await store.commit(Put(KEK), Put(SECRET))
    assert set(await store.load()) == {KEK, SECRET}
    assert store.generation() != before


async def test_a_commit_is_whole_or_nothing(store: VaultStore) -> None:
    await store.commit(Put(KEK))
    with pytest.raises(StaleRow):
        await store.commit(Put(SECRET), Put(KEK))
    assert await store.load() == (KEK,)


@pytest.mark.parametrize(
    "change",
    [
        Put(replace(SECRET, revision=1)),
        Put(replace(SECRET, revision=3)),
        Drop(replace(SECRET, revision=2)),
    ],
    ids=["again", "skipped", "dropped"],
)
async def test_who_has_not_read_the_newest_row_changes_nothing(
    store: VaultStore, change: Put | Drop
) -> None:
    await store.commit(Put(SECRET))
    with pytest.raises(StaleRow):
        await store.commit(change)
    assert await store.load() == (SECRET,)


async def test_of_many_that_change_one_row_one_wins(tmp_path: Path) -> None:
    """Each with a store of its own, as workers have."""
    first = VaultFiles(tmp_path)
    await first.commit(Put(SECRET))
    won: list[int] = []

    async def change(number: int) -> None:
        row = replace(SECRET, created_by=f"op-{number}", revision=2)
        try:
            await VaultFiles(tmp_path).commit(Put(row))
        except StaleRow:
            return
        won.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(change, number)
    [row] = await first.load()
    assert isinstance(row, SecretRow)
    assert [row.created_by] == [f"op-{number}" for number in won]


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    await VaultFiles(tmp_path).commit(Put(SECRET))
    folder = tmp_path / "vault"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_rows_that_somebody_else_could_have_put_there_are_not_read(
    tmp_path: Path,
) -> None:
    store = VaultFiles(tmp_path)
    trio.run(store.commit, Put(KEK), Put(SECRET))
    file = tmp_path / "vault" / "rows.msgpack"
    file.chmod(0o666)
    with pytest.raises(OSError, match=r"open to others \(mode 0666\); chmod 600 it"):
        VaultFiles(tmp_path).read()
    file.chmod(0o600)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a symbolic link"):
        VaultFiles(tmp_path).read()


async def test_a_half_written_draft_of_a_crash_changes_nothing(tmp_path: Path) -> None:
    store = VaultFiles(tmp_path)
    await store.commit(Put(SECRET))
    (tmp_path / "vault" / ".rows.msgpack.new").write_bytes(b"half")
    assert await store.load() == (SECRET,)
    await store.commit(Put(KEK))
    assert set(await store.load()) == {SECRET, KEK}


async def test_a_damaged_file_is_an_error_and_not_an_empty_vault(
    tmp_path: Path,
) -> None:
    store = VaultFiles(tmp_path)
    await store.commit(Put(SECRET))
    path = tmp_path / "vault" / "rows.msgpack"
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(OSError, match="damaged"):
            await store.load()


def test_one_worker_rotates_and_another_takes_over(tmp_path: Path) -> None:
    first, second = RotationTurn(tmp_path), RotationTurn(tmp_path)
    assert (first.ours, second.ours) == (True, False)
    first.close()
    second.close()
    third = RotationTurn(tmp_path)
    assert third.ours
    third.close()


def test_rows_show_no_record() -> None:
    rows: tuple[Row, ...] = (SECRET, KEK)
    assert "record" not in repr(rows)
    assert "blob" not in repr(rows)
