"""What streams are given at the start: whom they talk to, and the clocks they read."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import attrs

from actors.auditor.messages import RequestRecord
from actors.stream.budget import Budget, hedge_budget
from actors.stream.heart import Heart
from actors.stream.hooks.placed import Hooks
from actors.stream.messages import Piece
from runtime import Ref, StreamChannel

if TYPE_CHECKING:
    from actors.auditor.actor import Auditor
    from actors.ledger.actor import Ledger
    from actors.provider.actor import Provider
    from actors.router.actor import Router
    from actors.router.tokens.counter import Counter
    from actors.stream.aside import Asides
    from actors.vault.actor import Vault


def _anybody(_key_id: str, _origin: str) -> bool:
    """Where nobody keeps pages out."""
    return True


def _unheard(_kind: str) -> None:
    """Nobody counts what was dropped."""


@attrs.frozen
class Peers:
    """Whom a stream talks to, and the clocks it reads.

    `now` is the runtime's clock, `wall` is Unix time, `ended` hears each record (for
    logs and metrics; it must not block), `home_of` knows a site's tenant and
    environment, `lets` whether a page of an origin may have a key's answers, `counter`
    counts prompts, `hooks` are what answers pass, timed by `tick`, `dropped` hears of
    what kind was not asked aside, for want of room.
    """

    router: Ref[Router]
    ledger: Ref[Ledger]
    vault: Ref[Vault]
    auditor: Ref[Auditor]
    provider: Callable[[str], Ref[Provider] | None]
    now: Callable[[], float]
    wall: Callable[[], float]
    rng: Random
    ended: Callable[[RequestRecord], None]
    home_of: Callable[[str], tuple[str, str]]
    counter: Counter | None = None
    hooks: Hooks = attrs.field(factory=Hooks)
    tick: Callable[[], float] = time.perf_counter
    heart: Heart[StreamChannel[Piece]] = attrs.field(factory=Heart)
    retries: Budget = attrs.field(factory=Budget)
    hedges: Budget = attrs.field(factory=hedge_budget)
    streams: Ref[Asides] | None = None  # Where it may be asked aside, for nobody.
    dropped: Callable[[str], None] = _unheard
    lets: Callable[[str, str], bool] = _anybody
