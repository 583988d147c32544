"""The Console's door: the rest of it comes into the process with the first visitor.

Templates, password hashing and passkeys are 20 MB of code, which a gateway that nobody
looks at does without. It is read in a thread, so that streams go on meanwhile.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, cast

import trio

from gateway.admin.building import Admin
from gateway.http.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.console.app import Console

BUILDING: Final = "gateway.console.building"


class Door:
    """Handles everything at `/console`."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._console: Console | None = None
        self._lock = trio.Lock()

    def __repr__(self) -> str:
        """Whether anybody came."""
        return f"<Door {'open' if self._console else 'not used yet'}>"

    async def answer(self, request: Request) -> None:
        """Answer it, once the Console is there."""
        console = self._console or await self._open()
        await console.answer(request)

    async def _open(self) -> Console:
        async with self._lock:
            if self._console is None:
                module = await trio.to_thread.run_sync(
                    importlib.import_module, BUILDING
                )
                build = cast("Callable[[Admin], Console]", module.build)
                self._console = build(self._admin)
            return self._console
