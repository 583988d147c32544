"""Which other replicas live, and which of all leads. Pure: time is an argument.

Each replica's beats are counted in the store; one whose count has not moved for
`LEASE_S` by this replica's own steady clock is dead. No two machines' clocks are ever
compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from actors.ledger.shares import Peer

LEASE_S: Final = 10.0  # A replica that is silent for so long is dead.


class Peers:
    """Who was seen in the store, and when it last moved."""

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self._seen: dict[str, tuple[int, float]] = {}
        self._leader: tuple[str, int] = ("", 0)
        self._leader_moved_at = -inf

    def __repr__(self) -> str:
        """Who, how many others, and who leads."""
        return f"<Peers {self.replica} others={len(self)} leader={self._leader[0]!r}>"

    def __len__(self) -> int:
        """How many others live."""
        return len(self._seen)

    @property
    def leads(self) -> bool:
        """Whether this replica does what only one should."""
        return self._leader[0] == self.replica

    def meet(
        self, peers: Iterable[Peer], leader: tuple[str, int], tick_s: float
    ) -> None:
        """What the store says of all who live."""
        before = self._seen
        self._seen = {}
        for peer in peers:
            if peer.replica != self.replica:
                now = peer.beats, tick_s
                beats, seen_at = before.get(peer.replica, now)
                self._seen[peer.replica] = (
                    now if beats != peer.beats else (beats, seen_at)
                )
        if leader != self._leader:
            self._leader, self._leader_moved_at = leader, tick_s

    def dead(self, tick_s: float) -> tuple[Peer, ...]:
        """Who has not moved for so long that it is dead."""
        return tuple(
            Peer(name, beats)
            for name, (beats, seen_at) in self._seen.items()
            if tick_s - seen_at > LEASE_S
        )

    def lead_from(self, tick_s: float) -> tuple[str, int] | None:
        """Whom to take over from: nobody, or a leader that has not moved."""
        leader = self._leader
        if self.leads:
            return None
        if not leader[0] or tick_s - self._leader_moved_at > LEASE_S:
            return leader
        return None
