"""The granter's ports in memory: of one process, and gone with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from actors.granter.ports import GrantRow

WAITING_MAX: Final = 10_000  # Of a minute: 160 a second, more than one process serves.
WAITING_BYTES_MAX: Final = 64 * 2**20
SITE_SHARE_DEN: Final = 4  # No site may take more than a quarter of either.


class MemoryGrants:
    """`GrantStore` of one process."""

    def __init__(
        self,
        wall: Callable[[], float],
        *,
        waiting_max: int = WAITING_MAX,
        bytes_max: int = WAITING_BYTES_MAX,
    ) -> None:
        self.waiting_max = waiting_max
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self._wall = wall
        # In the order they were made, which is about that in which they expire.
        self._rows: dict[str, GrantRow] = {}
        self._of_site: dict[str, tuple[int, int]] = {}

    def __repr__(self) -> str:
        """Sizes only."""
        return f"<MemoryGrants {len(self._rows)} waiting {self.bytes_held} bytes>"

    async def put(self, row: GrantRow) -> bool:
        """See GrantStore."""
        self._expire()
        size = len(row.sealed)
        count, held = self._of_site.get(row.site, (0, 0))
        if (
            len(self._rows) >= self.waiting_max
            or self.bytes_held + size > self.bytes_max
            or count >= self.waiting_max // SITE_SHARE_DEN
            or held + size > self.bytes_max // SITE_SHARE_DEN
        ):
            return False
        self._rows[row.request_id] = row
        self._count(row.site, 1, size)
        return True

    async def claim(self, request_id: str) -> bytes | Literal["used", "unknown"]:
        """See GrantStore. A used one is remembered, empty, until it expires."""
        self._expire()
        row = self._rows.get(request_id)
        if row is None:
            return "unknown"
        if not row.sealed:
            return "used"
        self._count(row.site, 0, -len(row.sealed))
        self._rows[request_id] = GrantRow(
            row.request_id, row.site, row.expires_at_s, b""
        )
        return row.sealed

    def _expire(self) -> None:
        now = self._wall()
        while self._rows:
            oldest = next(iter(self._rows.values()))
            if oldest.expires_at_s > now:
                return
            del self._rows[oldest.request_id]
            self._count(oldest.site, -1, -len(oldest.sealed))

    def _count(self, site: str, count: int, size: int) -> None:
        self.bytes_held += size
        before = self._of_site.get(site, (0, 0))
        after = (before[0] + count, before[1] + size)
        if after == (0, 0):
            del self._of_site[site]
        else:
            self._of_site[site] = after


class MemoryKeys:
    """`EpochKeys` of one process."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._keys: dict[int, bytes] = {}

    def __repr__(self) -> str:
        """How many."""
        return f"<MemoryKeys {len(self._keys)}>"

    async def make(self, epoch: int) -> bytes:
        """See EpochKeys."""
        key = self._keys.get(epoch)
        if key is None:
            key = self._keys[epoch] = self._entropy(32)
            for old in [one for one in self._keys if one < epoch - 1]:
                del self._keys[old]
        return key

    async def find(self, epoch: int) -> bytes | None:
        """See EpochKeys."""
        return self._keys.get(epoch)
