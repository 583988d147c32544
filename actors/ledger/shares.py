"""What a replica of the ledger and the shared store say to each other. Pure values.

A *sum* is one total that all replicas share: of a cap in one of its windows, or of
places (requests in flight). A *slice* is the part of a sum that one replica may use
without asking. A *line* is money that was spent: by whom, on what, in which quarter of
an hour. Lines are the truth; every sum can be added up from them again.

Everything in a `Sync` but the wishes happens exactly once, by the number of its batch;
what a replica is granted is read back as a whole. So a sync whose answer was lost is
sent again without harm.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from actors.ledger.covering import Who
from actors.ledger.messages import Cap

PLACES: Final = "places"  # The cap of sums that count requests in flight.


class SumKey(NamedTuple):
    """Which total: the cap's id, whose it is, and the window's first second.

    `slot` is 0 where the window has no beginning: rolling, total, places.
    """

    cap: str
    subject: str
    slot: int


class Line(NamedTuple):
    """Whose money, on what, and in which quarter of an hour its hold was taken."""

    who: Who
    quarter: int


class SliceAsk(Struct, frozen=True):
    """One slice: what of it is over, and what is wished for.

    Once only: `spent` of it became a durable settle, `given` goes back unused.
    `used` is what it holds and has spent besides, for the others to see.
    Wishes: `want` more, or nothing if it cannot be `least`. Requests wait for `need` of
    it; beyond that it is in advance, at most one of `parts` of what is left. `most` is
    the cap as this replica knows it.
    """

    key: SumKey
    cap: Cap | None  # None: places.
    most: int
    spent: int = 0
    given: int = 0
    used: int = 0
    want: int = 0
    need: int = 0
    least: int = 0
    parts: int = 1


class RateAsk(Struct, frozen=True):
    """Requests or tokens of a minute's allowance.

    Once only: `charged` passed without asking (answers), `given` were not used.
    """

    name: str
    per_minute: int
    charged: int = 0
    given: int = 0
    want: int = 0
    least: int = 0


class Sync(Struct, frozen=True):
    """What a replica has to tell, and asks for. `instance` is whose life this is.

    Whoever lived under the same `instance` before is dead: its places are free.
    `lead_from`: the leader that was seen not to move, with its beats; take over.
    """

    replica: str
    instance: str
    batch: int
    now_s: float
    lines: tuple[tuple[Line, int], ...] = ()
    slices: tuple[SliceAsk, ...] = ()
    rates: tuple[RateAsk, ...] = ()
    lead_from: tuple[str, int] | None = None
    leave: bool = False


class SliceAnswer(Struct, frozen=True):
    """How a sum stands now.

    `granted` is all of this replica's slice, `used` is by all, the dead ones' whole
    slices included. `wanted` counts up when somebody found no room that others do not
    use. `quarters`: of a rolling sum that had no room, what leaves when.
    """

    key: SumKey
    granted: int
    spent: int
    leased: int
    used: int
    wanted: int
    quarters: tuple[tuple[int, int], ...] = ()


class RateAnswer(Struct, frozen=True):
    """How many may pass, and until when the minute's worth is promised (Unix time)."""

    name: str
    granted: int
    paid_at_s: float


class Peer(Struct, frozen=True):
    """Another life that shares the store. `beats` counts its syncs."""

    replica: str
    beats: int


class Synced(Struct, frozen=True):
    """The store's answer.

    `revived`: this replica had been taken for dead; its places were given away.
    """

    slices: tuple[SliceAnswer, ...] = ()
    rates: tuple[RateAnswer, ...] = ()
    peers: tuple[Peer, ...] = ()
    leader: tuple[str, int] = ("", 0)
    revived: bool = False


def cap_id(cap: Cap) -> str:
    """The same for every replica that adds up the same money under this name."""
    what = (
        cap.name,
        cap.window,
        cap.per,
        cap.rolling,
        cap.zone,
        cap.sites,
        cap.keys,
        cap.models,
        cap.providers,
    )
    return f"{cap.name}#{sha256(msgspec.json.encode(what)).hexdigest()[:16]}"
