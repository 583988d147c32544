"""What a provider actor can be asked and told.

`Admit` is answered with a `Permit` or a `Refused`; a tripped provider is down, and the
asker gets `runtime.ActorDown` with the time of the next probe. Every permit ends in
exactly one `Outcome`, or in the death of its stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import httpx
from msgspec import Struct, field

from actors.ledger.messages import Price
from actors.vault.keyuse import KeyHandle
from actors.vault.messages import KeyScope
from runtime import ControlTell, Ref, Request
from wire.dialect import Target, UpstreamRequest
from wire.events import FaultKind
from wire.ratelimits import RateWindow
from wire.registry import Speech

if TYPE_CHECKING:
    from actors.provider.actor import Provider
    from actors.provider.sockets import UpstreamSocket
    from actors.stream.actor import Stream

Phase = Literal["connect", "headers", "first_content", "idle", "total"]
"""What a request is waiting for; each has its own deadline."""

OnAbort = Literal["cancel", "drain"]


class Deadlines(Struct, frozen=True):
    """How long each phase of one attempt may take, in seconds.

    They nest: connect < headers < first content <= total.
    """

    connect_s: float = 5.0
    headers_s: float = 30.0
    first_content_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


class Upstream(Protocol):
    """One deployment as a stream sees it. It lives as long as its provider's cell."""

    @property
    def name(self) -> str:
        """The provider's name in the config."""
        ...

    @property
    def kind(self) -> str:
        """The kind in the config: "openai", "anthropic", …."""
        ...

    @property
    def speech(self) -> Speech:
        """How it wants to be spoken to."""
        ...

    @property
    def deadlines(self) -> Deadlines:
        """Its own phases' limits."""
        ...

    @property
    def key(self) -> KeyScope | None:
        """The key it needs; None for keyless ones."""
        ...

    @property
    def on_abort(self) -> OnAbort:
        """Whether cancelling stops the bill."""
        ...

    def target(self, model: str, output_tokens_max: int | None) -> Target:
        """The target for one of its models."""
        ...

    def price(self, model: str) -> Price | None:
        """What `model` costs here; None is visibly unpriced, never free."""
        ...

    async def open_socket(
        self,
        request: UpstreamRequest,
        lend: Callable[[], Awaitable[KeyHandle]] | None,
        on_phase: Callable[[str], None],
    ) -> UpstreamSocket:
        """Open a WebSocket; the key is lent for its handshake.

        Raises SocketRejected, httpx.TransportError, and what `lend` and the lease
        raise.
        """
        ...

    async def send(
        self,
        request: UpstreamRequest,
        lend: Callable[[], Awaitable[KeyHandle]] | None,
        on_phase: Callable[[str], None],
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> httpx.Response:
        """Send, and return at the response's head. Cancelling closes the socket.

        `fields` are header fields of this call alone. `lend` is called once for each
        head that is written: a key is used once. Raises httpx.TransportError, and what
        `lend` and the lease raise.
        """
        ...


class Admit(Request["Provider", "Permit | Refused"], frozen=True):
    """May this stream call you now? Waits, in a bounded queue, for a permit."""

    stream: Ref[Stream]
    model: str
    prompt_tokens: int = 0
    site: str = ""  # Sites take turns in the queue.
    spare: bool = False  # No client waits: only what nobody else wants, never a queue.
    probing: bool = False  # Of those: it may be the call that tests a sick provider.
    standby: bool = False  # It waits elsewhere: after all that wait here, if ever.


class Load(Struct):
    """How busy a provider is. It and its calls write, the router only reads.

    Shared memory on purpose: a count that travels in messages leaks with the first
    call that fails between two of them, and is old when it arrives.

    Args:
        waiting: calls without content so far, oldest first, by permit: when each was
            sent, and when its first content was expected at the latest.
        probation: it came back from an outage and takes one call at a time;
            `probing` while that one is out.
        rate_full_until: its rate limit has no room before.
        tokens_left: what its rate limit has left, None where it does not say.
    """

    in_flight_max: int = 1
    in_flight: int = 0
    queued: int = 0
    waiting: dict[int, tuple[float, float]] = field(
        default_factory=dict[int, tuple[float, float]]
    )
    probation: bool = False
    probing: bool = False
    rate_full_until: float = 0.0
    tokens_left: int | None = None
    tokens_reset_at: float = 0.0


class Permit(Struct, frozen=True):
    """Leave to make one call. `epoch` is the incarnation that gave it."""

    id: int
    provider: str
    epoch: int
    probe: bool
    upstream: Upstream
    load: Load = field(default_factory=Load)


RefusalReason = Literal[
    "busy", "probing", "cooling", "rate_limited", "key_refused", "draining", "paused"
]


class Refused(Struct, frozen=True):
    """No, and why. `retry_at` is on the runtime's clock; None: nobody knows."""

    provider: str
    reason: RefusalReason
    message: str
    retry_at: float | None = None


OutcomeKind = Literal["ok", "slow", "failed", "throttled", "key", "client", "cancelled"]
"""How a call ended, as the breaker sees it.

- ok: content came. slow: a deadline passed. failed: transient errors, cuts.
- throttled: cool down until Retry-After. key: our key was refused, disable it.
- client, cancelled: says nothing about the provider.
"""

OUTCOME_OF_FAULT: dict[FaultKind, OutcomeKind] = {
    "client": "client",
    "context": "client",
    "key": "key",
    "throttle": "throttled",
    "transient": "failed",
    "ours": "cancelled",
}


class Outcome(ControlTell["Provider"], frozen=True):
    """The call is over: gives the permit back and tells the breaker."""

    permit: int
    epoch: int
    kind: OutcomeKind
    model: str = ""
    retry_after_s: float | None = None
    first_content_s: float | None = None
    total_s: float | None = None
    rates: tuple[RateWindow, ...] = ()


class Proven(ControlTell["Provider"], frozen=True):
    """A probe's first content came: that is enough, its end may be a minute away."""

    permit: int
    epoch: int


class Room(Struct, frozen=True):
    """What a rate limit has left, as the provider told and we counted on.

    `resets_at` is on the runtime's clock; `limit` None: it does not say.
    """

    kind: Literal["requests", "tokens"]
    left: int
    limit: int | None
    resets_at: float


class Vitals(Struct, frozen=True):
    """A provider's state for routers, metrics and operators."""

    name: str
    state: Literal["closed", "probation", "open"]
    epoch: int
    in_flight: int
    in_flight_max: int
    queued: int
    failures: int
    cooling_until: float | None = None
    key_refused: bool = False
    paused: str = ""
    room: tuple[Room, ...] = ()


class SetPaused(ControlTell["Provider"], frozen=True):
    """An operator takes it out of use, for a reason; an empty one puts it back.

    Calls under way go on. It holds over trips and reloads, and ends with the process:
    whoever wants it kept tells the next process too.
    """

    why: str


class SetUpstream(ControlTell["Provider"], frozen=True):
    """After a reload: call this one from now on. Calls under way keep the old one."""

    upstream: Upstream
    in_flight_max: int
    queue_max: int
    failures_max: int
    slow_call_s: float | None = None


class SetShare(ControlTell["Provider"], frozen=True):
    """So many calls at once are this process's share of what all may have there."""

    in_flight_max: int


class ReportVitals(Request["Provider", Vitals], frozen=True):
    """How are you?"""
