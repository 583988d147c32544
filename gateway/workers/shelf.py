"""The shelf of kept answers, as all workers of a gateway see it.

An answer lies in the memory of the worker that gave it; whoever is asked for it asks
the others. So a client finds it wherever its next request lands, and no prompt is
written anywhere. What one worker held is gone when that one dies, as all is at a
restart. Implements the keeper's `Shelf`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from actors.keeper.ports import Shelf
from gateway.workers.peers import OWN, Peers

PATH: Final = f"{OWN}/shelf"


class PeerShelf:
    """Our own answers, then the others'."""

    def __init__(self, own: Shelf, peers: Peers) -> None:
        self._own = own
        self._peers = peers

    def __repr__(self) -> str:
        return f"<PeerShelf {self._own!r}>"

    async def put(self, site: str, name: str, blob: bytes, expires_at: float) -> None:
        """See Shelf."""
        await self._own.put(site, name, blob, expires_at)

    async def get(self, site: str, name: str) -> bytes | None:
        """See Shelf."""
        blob = await self._own.get(site, name)
        if blob is not None:
            return blob
        found = await self._peers.ask_all("GET", _at(site, name))
        return next((a[1] for a in found.values() if a and a[0] == 200), None)

    async def delete(self, site: str, name: str) -> bool:
        """See Shelf."""
        if await self._own.delete(site, name):
            return True
        found = await self._peers.ask_all("DELETE", _at(site, name))
        return any(a is not None and a[0] == 200 for a in found.values())


def _at(site: str, name: str) -> str:
    return f"{PATH}?{urlencode({'site': site, 'name': name})}"


def shelf_of(own: Shelf, peers: Peers | None) -> Shelf:
    """Where the keeper's answers lie."""
    return own if peers is None else PeerShelf(own, peers)
