"""A vault that is put back to an older copy is noticed, by a start and later."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from actors.auditor.messages import AuditEvent
from actors.vault.ports import Mark, Put, SecretRow, WentBack
from storage.vault_files import FILE, FOLDER, VaultFiles
from storage.vault_marks import ACT, check, last_mark
from tests.storage.audit_keeper import Keeper

SECRET = SecretRow("t", "e", "p", "n", 1, "active", b"record", 1.0, "op", ("h",))


async def grow(store: VaultFiles, commits: int) -> None:
    """Each commit is another version of the same row."""
    rows = {row.key: row for row in await store.load()}
    for _ in range(commits):
        row = rows.get(SECRET.key, replace(SECRET, revision=0))
        row = rows[SECRET.key] = replace(row, revision=row.revision + 1)
        await store.commit(Put(row))


def note(keeper: Keeper, mark: Mark) -> None:
    """As the vault does."""
    detail = (("commits", mark.commits), ("sha256", mark.digest))
    keeper.book.log.add(AuditEvent(ACT, detail=detail), 1000)
    keeper.write(3)  # And some other entries.


async def test_each_commit_counts(tmp_path: Path) -> None:
    store = VaultFiles(tmp_path)
    await grow(store, 3)
    assert store.mark.commits == 3
    again = VaultFiles(tmp_path)
    await again.load()
    assert again.mark == store.mark


async def test_a_running_vault_reads_no_older_copy(tmp_path: Path) -> None:
    store = VaultFiles(tmp_path)
    await grow(store, 2)
    path = tmp_path / FOLDER / FILE
    copy = path.read_bytes()
    await grow(store, 3)
    path.write_bytes(copy)

    with pytest.raises(WentBack, match="it has 2 commits, and 5 have been seen"):
        await store.load()
    with pytest.raises(WentBack):  # Nor does it build on it.
        await grow(store, 1)
    path.unlink()
    with pytest.raises(WentBack, match="it has 0 commits"):
        await store.load()


async def test_a_look_beside_a_commit_is_no_older_copy(tmp_path: Path) -> None:
    """What was read before a commit may be told after it."""
    store = VaultFiles(tmp_path)
    await grow(store, 1)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(store.load)
        nursery.start_soon(grow, store, 20)
        for _ in range(20):
            nursery.start_soon(store.load)
    assert store.mark.commits == 21


async def test_a_copy_that_has_grown_apart_is_told_too(tmp_path: Path) -> None:
    """As many commits, and not the same ones."""
    store = VaultFiles(tmp_path)
    await grow(store, 1)
    shutil.copytree(tmp_path / FOLDER, tmp_path / "other" / FOLDER)
    await grow(store, 1)
    other = VaultFiles(tmp_path / "other")
    await other.load()
    await other.commit(Put(replace(SECRET, name="another")))
    shutil.copy(tmp_path / "other" / FOLDER / FILE, tmp_path / FOLDER / FILE)
    with pytest.raises(WentBack, match="is another store"):
        await store.load()


def test_a_start_compares_the_store_with_the_log(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    path = state / FOLDER / FILE
    store = VaultFiles(state)
    with Keeper(state) as keeper:
        assert last_mark(keeper.book) is None
        check(keeper.book, store, 1000)  # A first start.
        trio.run(grow, store, 2)
        copy = path.read_bytes()
        trio.run(grow, store, 2)
        note(keeper, store.mark)
        assert last_mark(keeper.book) == store.mark
        check(keeper.book, VaultFiles(state), 1000)

        path.write_bytes(copy)
        with pytest.raises(WentBack, match=r"accept_commits=2"):
            check(keeper.book, VaultFiles(state), 1000)
        with pytest.raises(WentBack):  # Another number is no consent to this copy.
            check(keeper.book, VaultFiles(state), 1000, accepted=3)
        check(keeper.book, VaultFiles(state), 1000, accepted=2)
        keeper.write(0)
        check(keeper.book, VaultFiles(state), 1000)  # From then on it is the newest.


def test_a_store_that_is_ahead_of_the_log_is_fine(tmp_path: Path) -> None:
    """A crash between a commit and its note loses the note."""
    state = tmp_path / "state"
    state.mkdir()
    store = VaultFiles(state)
    with Keeper(state) as keeper:
        trio.run(grow, store, 1)
        note(keeper, store.mark)
        trio.run(grow, store, 1)
        check(keeper.book, VaultFiles(state), 1000)


def test_a_store_that_is_gone_is_noticed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    store = VaultFiles(state)
    with Keeper(state) as keeper:
        trio.run(grow, store, 1)
        note(keeper, store.mark)
        (state / FOLDER / FILE).unlink()
        with pytest.raises(WentBack, match="accept_commits=0"):
            check(keeper.book, VaultFiles(state), 1000)
        # Its root key is lost, say: an operator begins anew, and that is an entry.
        check(keeper.book, VaultFiles(state), 1000, accepted=0)
        keeper.write(0)
        check(keeper.book, VaultFiles(state), 1000)
