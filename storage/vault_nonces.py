"""Nonces of signed requests, claimed once among all workers and across restarts.

A claim is an empty file that only one can make (`O_EXCL`), in a folder of its minute of
expiry; folders of minutes that are over are removed. Implements `NonceStore`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from actors.vault.signatures import LIFETIME_S, SKEW_S

FOLDER: Final = "vault/nonces"
MINUTE_S: Final = 60
CLAIMS_A_MINUTE_MAX: Final = 20_000  # Of signed commands; more is an attack.


class NonceFiles:
    """Claims in a folder."""

    def __init__(self, state_dir: Path, clock: Callable[[], float]) -> None:
        self._folder = state_dir / FOLDER
        self._clock = clock

    def __repr__(self) -> str:
        return f"<NonceFiles {self._folder}>"

    async def claim(self, claim: str, created_s: float, expires_s: float) -> bool:
        """See NonceStore."""
        del created_s  # Claims outlive restarts, so no time of start matters.
        return await trio.to_thread.run_sync(self._claim, claim, expires_s)

    def _claim(self, claim: str, expires_s: float) -> bool:
        now = self._clock()
        if not now <= expires_s <= now + LIFETIME_S + SKEW_S:
            return False
        minute = self._folder / str(int(expires_s // MINUTE_S))
        if not minute.exists():
            self._sweep(now)
            minute.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(1 for _ in os.scandir(minute)) >= CLAIMS_A_MINUTE_MAX:
            return False
        path = minute / hashlib.sha256(claim.encode()).hexdigest()
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        folder = os.open(minute, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # Before the request is obeyed: power may fail after.
        finally:
            os.close(folder)
        return True

    def _sweep(self, now: float) -> None:
        """Forget the minutes whose requests have all expired."""
        if not self._folder.is_dir():
            return
        over = now // MINUTE_S - 1
        for minute in self._folder.iterdir():
            if minute.name.isdigit() and int(minute.name) < over:
                shutil.rmtree(minute, ignore_errors=True)
