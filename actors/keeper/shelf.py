"""The shelf in memory: bounded in bytes, in time, and in what one site may take.

Evicts the least recently used: of the site that is over its share first, then of all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs

# What an entry costs beside its blob: two strings, a tuple, a slot in the table.
ENTRY_BYTES = 512
SITE_SHARE_DEN = 4  # No site may push all others out: at most a quarter is one's own.


@attrs.frozen
class _Entry:
    blob: bytes = attrs.field(repr=False)
    expires_at: float

    @property
    def bytes(self) -> int:
        return len(self.blob) + ENTRY_BYTES


class MemoryShelf:
    """`Shelf` of one process; a restart empties it.

    Args:
        bytes_max: all blobs together; 0 keeps nothing.
        now: the runtime's clock.
    """

    def __init__(self, bytes_max: int, now: Callable[[], float]) -> None:
        self.bytes_max = bytes_max
        self.site_bytes_max = bytes_max // SITE_SHARE_DEN
        self.bytes_held = 0
        self._now = now
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._of_site: dict[str, int] = {}

    def __repr__(self) -> str:
        """Sizes only: the blobs are answers."""
        return (
            f"<MemoryShelf {len(self._entries)} answers "
            f"{self.bytes_held}/{self.bytes_max} bytes>"
        )

    async def put(self, site: str, name: str, blob: bytes, expires_at: float) -> None:
        """See Shelf. What alone is larger than a site's share is not kept."""
        self._drop((site, name))
        entry = _Entry(blob, expires_at)
        if entry.bytes > self.site_bytes_max:
            return
        self._entries[site, name] = entry
        self.bytes_held += entry.bytes
        self._of_site[site] = self._of_site.get(site, 0) + entry.bytes
        self._make_room(site)

    async def get(self, site: str, name: str) -> bytes | None:
        """See Shelf. Reading keeps it from being evicted, not from expiring."""
        entry = self._entries.get((site, name))
        if entry is None:
            return None
        if entry.expires_at <= self._now():
            self._drop((site, name))
            return None
        self._entries.move_to_end((site, name))
        return entry.blob

    async def delete(self, site: str, name: str) -> bool:
        """See Shelf."""
        found = await self.get(site, name) is not None
        self._drop((site, name))
        return found

    def expire(self) -> None:
        """Drop what is too old, wherever it stands."""
        now = self._now()
        for key in [k for k, e in self._entries.items() if e.expires_at <= now]:
            self._drop(key)

    def _make_room(self, site: str) -> None:
        if (
            self._of_site[site] <= self.site_bytes_max
            and self.bytes_held <= self.bytes_max
        ):
            return
        self.expire()
        while self._of_site.get(site, 0) > self.site_bytes_max:
            self._drop(next(key for key in self._entries if key[0] == site))
        while self.bytes_held > self.bytes_max:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.bytes_held -= entry.bytes
        left = self._of_site[key[0]] - entry.bytes
        if left:
            self._of_site[key[0]] = left
        else:
            del self._of_site[key[0]]
