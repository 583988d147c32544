"""What is asked aside: mirrors of requests, probes of deployments. Nobody waits for it.

An aside is a `Stream` in all that costs: a slot in the records, a permit, a hold, a
lease, a bill. It differs in what it may ask of others, so that no client is refused,
delayed or failed by it:

    places, rates   it takes none of its site's or its key's
    money           only where a cap has room to spare (`ledger/accounts.py`)
    permits         only where a provider has some to spare, and never a queue
    trouble         one call, no retry, no fallback, no hedge
    in flight       ASIDES_MAX in one process; what comes beyond is dropped, and counted
    its answer      is read, measured and thrown away
    a drain         ends it at once
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.ledger.messages import Enter, HoldRefused, Standing
from actors.router.messages import NoRoute, Plan
from actors.stream import faults
from actors.stream.actor import Stream
from actors.stream.hooks.placed import Hooks
from actors.stream.messages import (
    CHUNKS_BUFFERED_MAX,
    EndStream,
    Inquiry,
    OpenAside,
    Piece,
)
from actors.stream.peers import Peers
from actors.stream.prompt import Length
from actors.stream.relay import Sink
from actors.stream.streams import Streams
from runtime import ChildSpec, StreamChannel, handles
from wire.events import Fault

ASIDES_MAX: Final = 32  # A few percent of the calls that one process has at once.
PRESSED: Final = HoldRefused(
    "spend_cap", "the site is saving money: nothing is asked beside its requests"
)


class Asides(Streams):
    """Parent of all streams, those aside among them."""

    def on_start(self) -> None:
        """Nothing is asked aside yet: what was, ended with the last life."""
        super().on_start()
        self.asides: set[str] = set()

    @handles(OpenAside)
    def open_aside(self, msg: OpenAside) -> None:
        """Begin one, if there is room and time for it."""
        inquiry = msg.inquiry
        name = inquiry.request_id
        full = len(self.asides) >= ASIDES_MAX or name in self.asides
        if full or self.ctx.draining:
            self.peers.dropped(inquiry.aside.kind if inquiry.aside else "")
            return
        self.asides.add(name)
        self.ctx.spawn(
            ChildSpec(
                name,
                lambda: AsideStream(self.peers, inquiry, msg.plan, self.asides),
                restart="temporary",
            )
        )


class Nowhere(Sink):
    """Where an answer goes that nobody reads: at once, and away."""

    def offer(self, out: bytes) -> bool:
        """Away with it."""
        del out
        return True

    async def _send(self, piece: Piece, *, last: bool = False) -> None:
        del piece, last


class AsideStream(Stream):
    """One request that no client waits for."""

    def __init__(
        self, peers: Peers, inquiry: Inquiry, plan: Plan, running: set[str]
    ) -> None:
        # Hooks are for answers that somebody reads.
        super().__init__(
            attrs.evolve(peers, hooks=Hooks()),
            inquiry,
            StreamChannel[Piece](CHUNKS_BUFFERED_MAX),
        )
        self.asked = plan
        self.running = running
        sink = self.sink
        self.sink = Nowhere(sink.channel, sink.dialect, sink.reply, sink.headers)

    def __repr__(self) -> str:
        """As an operator wants it."""
        return super().__repr__().replace("<Stream", "<Aside", 1)

    def on_drain(self, deadline: float) -> None:
        """End at once: the time is for clients."""
        del deadline
        self.ctx.ref.offer(EndStream("the gateway is stopping"))

    async def _enter(self, length: Length, rung_min: int = 0) -> Standing | HoldRefused:
        inquiry = self.inquiry
        standing = await self.peers.ledger.ask(
            Enter(
                stream=self.ref,
                site=inquiry.site,
                key_id=inquiry.key_id,
                model=inquiry.head.model,
                prompt_tokens=length.tokens,
                rung_min=rung_min,
                spare=True,
            )
        )
        if isinstance(standing, HoldRefused):
            return standing
        self.entered = True
        return PRESSED if standing.rung else standing

    async def _planned(self, length: Length, standing: Standing) -> Plan | NoRoute:
        del length, standing
        return self.asked

    async def _try_candidates(self, plan: Plan) -> Fault | None:
        """Once."""
        if self.ended_by:
            return faults.ended(self.ended_by)
        return await self._attempt(plan, 0, []).run()

    def _close(self, why: str) -> None:
        self.running.discard(self.ctx.id.rpartition("/")[2])
        super()._close(why)
