"""What the ledger needs of a store that its replicas share."""

from __future__ import annotations

from typing import Protocol

from actors.ledger.messages import Cap
from actors.ledger.shares import Peer, Sync, Synced


class LedgerStoreLost(Exception):
    """The store cannot be asked now; whether it did what it was told is unknown."""


class LedgerStore(Protocol):
    """One transaction each. All raise LedgerStoreLost."""

    async def sync(self, sync: Sync) -> Synced:
        """Do what is in it once, grant what can be, and say how it all stands."""
        ...

    async def bury(self, dead: tuple[Peer, ...], now_s: float) -> int:
        """Write off whoever has not moved since it was seen; how many that were."""
        ...

    async def restart(self, caps: tuple[Cap, ...], subject: str, now_s: float) -> int:
        """Begin the windows of these caps anew; how many sums that were."""
        ...

    async def tidy(self, now_s: float) -> None:
        """Forget what no window reaches any more: for one replica, now and then."""
        ...
