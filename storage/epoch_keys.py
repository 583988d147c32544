"""Random keys by epoch, one file each, shared by all workers of a machine.

A file is written beside its place and linked into it: of several that make the same
epoch's key one wins, and nobody ever reads half of one. Implements `EpochKeys`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

FOLDER: Final = "grants"
KEY_BYTES: Final = 32
SUFFIX: Final = ".key"


class EpochKeyFiles:
    """Keys in a folder that only its owner may read."""

    def __init__(
        self, state_dir: Path, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._folder = state_dir / FOLDER
        self._entropy = entropy

    def __repr__(self) -> str:
        return f"<EpochKeyFiles {self._folder}>"

    async def make(self, epoch: int) -> bytes:
        """See EpochKeys. Raises OSError."""
        return await trio.to_thread.run_sync(self._make, epoch)

    async def find(self, epoch: int) -> bytes | None:
        """See EpochKeys."""
        return await trio.to_thread.run_sync(self._find, epoch)

    def _find(self, epoch: int) -> bytes | None:
        try:
            key = self._path(epoch).read_bytes()
        except FileNotFoundError:
            return None
        return key if len(key) == KEY_BYTES else None

    def _make(self, epoch: int) -> bytes:
        found = self._find(epoch)
        if found is not None:
            return found
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = self._folder / f".{epoch}.{os.getpid()}.{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(own, flags, 0o600)
        try:
            os.write(file, self._entropy(KEY_BYTES))
            os.fsync(file)
        finally:
            os.close(file)
        try:
            os.link(own, self._path(epoch))
        except FileExistsError:
            pass  # Another worker was first: its key is everybody's.
        finally:
            own.unlink()
        self._destroy_before(epoch - 1)
        key = self._find(epoch)
        if key is None:
            raise OSError(f"{self._path(epoch)} is no key; remove it")
        return key

    def _destroy_before(self, epoch: int) -> None:
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path.stem.isdecimal() and int(path.stem) < epoch:
                path.unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch}{SUFFIX}"
