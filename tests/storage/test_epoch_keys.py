"""Keys by epoch: one for all workers, gone when their time is over."""

from __future__ import annotations

import stat
from pathlib import Path

import trio

from storage.epoch_keys import EpochKeyFiles


async def test_all_workers_get_the_same_key(tmp_path: Path) -> None:
    made: list[bytes] = []

    async def make() -> None:
        made.append(await EpochKeyFiles(tmp_path).make(20_000))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(make)

    assert len(set(made)) == 1
    assert len(made[0]) == 32
    assert await EpochKeyFiles(tmp_path).find(20_000) == made[0]
    assert [path.name for path in (tmp_path / "grants").iterdir()] == ["20000.key"]


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    await EpochKeyFiles(tmp_path).make(1)

    mode = (tmp_path / "grants" / "1.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


async def test_a_new_epochs_key_destroys_those_that_are_over(tmp_path: Path) -> None:
    keys = EpochKeyFiles(tmp_path)
    first = await keys.make(10)

    second = await keys.make(11)
    assert await keys.find(10) == first
    await keys.make(12)

    assert await keys.find(10) is None
    assert await keys.find(11) == second


async def test_an_epoch_that_never_was_has_no_key(tmp_path: Path) -> None:
    assert await EpochKeyFiles(tmp_path).find(7) is None
