"""How the ledger talks to the store that its replicas share: one sync at a time.

Owns: when a sync is sent, how long it may take, and who is buried. What is said and
what an answer means is escrow.py's. Talks to: the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from actors.ledger.accounts import Accounts
from actors.ledger.escrow import Escrow
from actors.ledger.messages import Cap, LedgerUnavailable
from actors.ledger.ports import LedgerStore, LedgerStoreLost
from actors.ledger.shares import cap_id

SYNC_S: Final = 5.0  # A transaction of ours takes milliseconds; then nobody is there.
FINISH_S: Final = 5.0  # For what is not durable yet, when the gateway stops.
REFRESH_SYNCS_MAX: Final = 20  # 10,000 sums; a report of more is a little old.
TIDY_S: Final = 3_600.0  # What no window reaches any more is no hurry.


def unheard(_peers: int) -> None:
    """Nobody shares anything else."""


class Sharing:
    """The talk of one process with its store."""

    def __init__(
        self,
        store: LedgerStore,
        accounts: Accounts,
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        assert accounts.escrow is not None
        self.store = store
        self.escrow: Escrow = accounts.escrow
        self._wall = wall
        self._now = now
        self._wake = trio.Event()
        self._turn = trio.Lock()
        self._tidied_at = now()
        self.peers = 1  # Processes that share the store and live, this one included.
        self.on_peers: Callable[[int], None] = unheard

    def __repr__(self) -> str:
        """Who talks."""
        return f"<Sharing {self.escrow!r}>"

    @property
    def trouble(self) -> str:
        """Why the store cannot be asked; empty while it answers."""
        since = self.escrow.trouble_since
        if since is None:
            return ""
        return f"the ledger's database has not answered for {self._now() - since:.0f} s"

    @property
    def is_starved(self) -> bool:
        """Whether requests are refused because the store is gone."""
        return self.escrow.trouble_since is not None and self.escrow.starved

    @property
    def is_stale(self) -> bool:
        """Whether sums are not known yet, or others may have spent from them since."""
        escrow = self.escrow
        return escrow.trouble_since is None and escrow.is_stale(self._now())

    async def refresh(self) -> None:
        """Ask how everything stands, if the store answers."""
        now = self._now()
        for _ in range(REFRESH_SYNCS_MAX):
            self.escrow.touch_stale(now)
            await self.once()
            if not self.is_stale:
                return

    def nudge(self) -> None:
        """Something was held, settled or wanted."""
        if self.escrow.stirred:
            self.escrow.stirred = False
            self._wake.set()

    async def run(self, answered: Callable[[], bool]) -> None:
        """Sync whenever it is due. `answered` is told of each; True: somebody waits."""
        waiting = answered()
        while True:
            due_s = self.escrow.due_s(self._now(), waiting=waiting)
            if due_s > 0:
                with trio.move_on_after(due_s):
                    await self._wake.wait()
                self._wake = trio.Event()
                continue
            await self.once()
            waiting = answered()

    async def once(self) -> None:
        """One sync, and what follows from it for a leader."""
        async with self._turn:
            escrow, store = self.escrow, self.store
            sync = escrow.plan(self._wall(), self._now())
            try:
                with trio.fail_after(SYNC_S):
                    said = await store.sync(sync)
                escrow.done(sync, said, self._now())
                if escrow.peers != self.peers:
                    self.peers = escrow.peers
                    self.on_peers(self.peers)
                if escrow.leads:
                    await self._lead()
            except (LedgerStoreLost, trio.TooSlowError):
                if escrow.is_planned:
                    escrow.failed(self._now())

    async def flush(self) -> None:
        """Make durable what was spent until now. Raises LedgerUnavailable."""
        while True:
            await self.once()
            if self.escrow.trouble_since is not None:
                raise LedgerUnavailable(
                    f"{self.trouble}; what was spent is counted here and is kept when "
                    "it is back"
                )
            if self.escrow.is_durable:
                return

    async def restart(self, caps: tuple[Cap, ...], subject: str) -> int:
        """Begin the windows of these caps anew. Raises LedgerUnavailable."""
        await self.flush()
        try:
            with trio.fail_after(SYNC_S):
                count = await self.store.restart(caps, subject, self._wall())
        except (LedgerStoreLost, trio.TooSlowError):
            raise LedgerUnavailable(
                "the ledger's database does not answer: whether the cap has begun anew "
                "is unknown; look, and try again"
            ) from None
        for cap in caps:  # A replica alone would believe its last answer for ever.
            self.escrow.touch_cap(cap_id(cap))
        await self.once()
        return count

    async def finish(self) -> None:
        """Give everything back, in an orderly end. Never raises."""
        self.escrow.leave()
        with trio.move_on_after(FINISH_S) as scope:
            scope.shield = True
            while not self.escrow.has_left:
                await self.once()
                if self.escrow.trouble_since is not None:
                    await trio.sleep(self.escrow.due_s(self._now(), waiting=False))

    async def _lead(self) -> None:
        dead = self.escrow.dead(self._now())
        with trio.fail_after(SYNC_S):
            if dead:
                await self.store.bury(dead, self._wall())
            if self._now() - self._tidied_at > TIDY_S:
                self._tidied_at = self._now()
                await self.store.tidy(self._wall())
