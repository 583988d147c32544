"""Live views: looked up once for all who watch the same, and only while somebody does.

Owns: what was seen last of each view, and when it is old. Ten browsers on one page cost
one look-up a tick; none cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from typing import Any, Final

import attrs
import msgspec
import trio

TICK_S: Final = 3.0  # Sums are taken in about twice a second; faster is only flicker.
VIEWS_MAX: Final = 64  # Views that are kept for sharing; the least used goes.
WATCHERS_MAX: Final = 200  # Of all views together: browsers that are left open.

Look = Callable[[], Awaitable[Any]]
_encode: Final = msgspec.json.Encoder().encode


class TooMany(Exception):
    """No more browsers can watch."""


@attrs.define
class _View:
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    seen_at: float = -TICK_S
    event: bytes = b""


class Live:
    """Shares what is looked up. One for a process."""

    def __init__(self) -> None:
        self._views: OrderedDict[Hashable, _View] = OrderedDict()
        self.watchers = 0
        self.looks = 0

    def __repr__(self) -> str:
        return f"<Live {self.watchers} watch {len(self._views)} views>"

    async def latest(self, key: Hashable, look: Look) -> bytes:
        """The view's event, at most a tick old. What `look` raises is raised."""
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = _View()
            if len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        async with view.lock:
            if trio.current_time() - view.seen_at >= TICK_S:
                value = await look()
                self.looks += 1
                view.event = b"data: " + _encode(value) + b"\n\n"
                view.seen_at = trio.current_time()
            return view.event

    async def watch(
        self, key: Hashable, look: Look, *, ended: Callable[[], bool]
    ) -> AsyncGenerator[bytes]:
        """Server-sent events, one a tick, until `ended` or the reader leaves."""
        if self.watchers >= WATCHERS_MAX:
            raise TooMany
        self.watchers += 1
        try:
            while not ended():
                yield await self.latest(key, look)
                await trio.sleep(TICK_S)
        finally:
            self.watchers -= 1
