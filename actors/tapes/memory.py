"""A store of tapes in memory: for several gateways in one process, as in tests."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.granter.ports import StoreUnavailable
from actors.tapes.ports import Part, Save, Saved, TapeRow


class MemoryTapes:
    """`TapeStore` in memory; `broken` makes it one that cannot be reached."""

    def __init__(self) -> None:
        self.broken = False
        self.rows: dict[str, TapeRow] = {}
        self._parts: dict[str, dict[int, Part]] = {}
        self._stops: set[str] = set()

    def __repr__(self) -> str:
        """How many."""
        return f"<MemoryTapes {len(self.rows)}>"

    async def claim(self, row: TapeRow, stale_ms: int) -> TapeRow | None:
        """See TapeStore."""
        self._check()
        for other in list(self.rows.values()):
            if other.name != row.name:
                continue
            silent = other.state == "running" and not self._parts[other.request_id]
            dead = silent and other.alive_ms <= stale_ms
            if not dead and other.expires_ms > row.alive_ms:
                return other
            self._delete(other.request_id)
        self._insert(row)
        return None

    async def save(self, saves: Sequence[Save]) -> Saved:
        """See TapeStore."""
        self._check()
        lost: set[str] = set()
        for save in saves:
            if save.row.request_id not in self.rows:
                names = {row.name for row in self.rows.values()}
                if save.there or (save.row.name and save.row.name in names):
                    lost.add(save.row.request_id)
                    continue
                self._insert(save.row)
            self.rows[save.row.request_id] = save.row
            parts = self._parts[save.row.request_id]
            for part in save.parts:
                parts.setdefault(part.number, part)
            if save.row.state == "gone":
                parts.clear()
        stops = {save.row.request_id for save in saves} & self._stops
        return Saved(frozenset(stops), frozenset(lost))

    async def release(self, request_id: str) -> None:
        """See TapeStore."""
        self._check()
        self._delete(request_id)

    async def find(self, site: str | None, request_id: str) -> TapeRow | None:
        """See TapeStore."""
        self._check()
        row = self.rows.get(request_id)
        return row if row is not None and site in {None, row.site} else None

    async def parts(self, request_id: str, after: int) -> tuple[TapeRow, list[Part]]:
        """See TapeStore."""
        self._check()
        row = self.rows.get(request_id)
        if row is None:
            raise StoreUnavailable("the tape is gone")
        parts = self._parts[request_id]
        return row, [parts[number] for number in sorted(parts) if number >= after]

    async def want_stop(self, request_id: str) -> None:
        """See TapeStore."""
        self._check()
        self._stops.add(request_id)

    async def sweep(self, now_ms: int, bytes_max: int) -> None:
        """See TapeStore."""
        self._check()
        for row in [one for one in self.rows.values() if one.expires_ms <= now_ms]:
            self._delete(row.request_id)
        over = sum(map(self._size, self.rows)) - bytes_max
        done = [r for r in self.rows.values() if r.state not in {"running", "gone"}]
        for row in sorted(done, key=lambda one: one.expires_ms):
            if over <= 0:
                return
            over -= self._size(row.request_id)
            self._parts[row.request_id].clear()
            self.rows[row.request_id] = msgspec.structs.replace(row, state="gone")

    def _size(self, request_id: str) -> int:
        return sum(len(part.sealed) for part in self._parts[request_id].values())

    def _insert(self, row: TapeRow) -> None:
        self.rows[row.request_id] = row
        self._parts[row.request_id] = {}

    def _delete(self, request_id: str) -> None:
        self.rows.pop(request_id, None)
        self._parts.pop(request_id, None)
        self._stops.discard(request_id)

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("broken")
