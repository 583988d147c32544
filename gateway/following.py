"""Keeps a running gateway at the directory's generation, and at the file's contents.

Owns: the order in which a change takes effect here: first the keys (a revoked one is
out, and its streams end, whatever fails after), then the objects, as a reload. What
cannot be applied is tried again; what the directory cannot tell stays as it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from actors.directory.messages import DirectoryDown
from actors.directory.ports import Directory
from gateway.admin_events import ACTOR as FILE
from gateway.core import Gateway
from gateway.roster import Moved, Roster
from gateway.settings.config import Config
from gateway.settings.errors import ConfigError

Wait = Callable[[], Awaitable[None]]

AGAIN_S: Final = 1.0  # After a change that could not be applied, or read.
ACTOR: Final = "operator:directory"
OBJECTS_INLINE_MAX: Final = 100  # Under a millisecond; more are put together apart.


class Following:
    """One gateway's ear on the directory."""

    def __init__(self, gateway: Gateway, directory: Directory, roster: Roster) -> None:
        self.gateway = gateway
        self.directory = directory
        self.roster = roster
        self._owed = False  # Objects that were read, and are not obeyed yet.
        self._turn = trio.Lock()

    def __repr__(self) -> str:
        return f"<Following {self.roster!r}>"

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with suppress(DirectoryDown):
                bell = await self.directory.subscribe()
                try:
                    await self._listen(bell.wait)
                finally:
                    bell.close()
            await trio.sleep(AGAIN_S)

    async def _listen(self, changed: Wait) -> None:
        """Raises DirectoryDown."""
        log = self.gateway.gate.logs.log
        while True:
            again_s = float("inf")
            try:
                await self.catch_up()
            except DirectoryDown:
                raise
            except ConfigError as error:
                # Another file than the one it was judged beside; the next change, of
                # either, may make it fit.
                for problem in error.problems:
                    log.error("directory.refused", setting=problem.where)  # noqa: TRY400
            except Exception as error:  # noqa: BLE001 - a bug in one change must not end all that is served
                log.error("directory.failed", error_class=type(error).__name__)  # noqa: TRY400
                again_s = AGAIN_S
            with trio.move_on_after(again_s):
                await changed()

    async def catch_up(self) -> Moved:
        """Read what changed, and obey it.

        Raises DirectoryDown, ConfigError, AskError, AuditUnavailable.
        """
        async with self._turn:
            moved = self.roster.take(
                await self.directory.changes(self.roster.generation)
            )
            self.gateway.end(
                self.gateway.gate.sites.follow(moved.keys, moved.gone_keys)
            )
            self._owed = self._owed or moved.objects
            if self._owed:
                await self._apply(ACTOR)
            return moved

    async def rebase(self, config: Config) -> None:
        """The file has changed. Raises what `Gateway.reload` does, and ConfigError."""
        async with self._turn:
            before, self.roster.base = self.roster.base, config
            try:
                await self._apply()
            except ConfigError:
                self.roster.base = before
                raise

    async def _apply(self, actor: str = FILE) -> None:
        if len(self.roster.objects) > OBJECTS_INLINE_MAX:
            merged = await trio.to_thread.run_sync(self.roster.merged)
        else:
            merged = self.roster.merged()
        await self.gateway.reload(merged, actor)
        self._owed = False
