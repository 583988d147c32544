"""A realtime session's call: both ways with one deployment, and its money.

Owns, and gives back whatever happens: the permit, the holds of the answers under way
and of the next one, the lease of the handshake, the provider's socket. See session.py.
"""

from __future__ import annotations

import math
from typing import Final

import attrs
import httpx
import trio

from actors.ledger.messages import Hold, HoldRefused, Meter, Settle, TakeHold
from actors.ledger.pricing import cost
from actors.provider.messages import Upstream
from actors.provider.sockets import SocketRejected, UpstreamSocket
from actors.stream import faults
from actors.stream.attempt import Attempt
from actors.stream.belief import believed
from actors.stream.messages import Link
from actors.vault.messages import LeaseRefused
from runtime import AskError
from wire import realtime
from wire.events import Fault, Usage

FAILED: Final = 1011
GOING_AWAY: Final = 1001
# A hold grows by that much, not by every word: 7 minutes of talk.
HOLD_TOKENS_STEP: Final = 4_096
# Of answers in sound: 20 tokens a second, as base64 of PCM at 24 kHz, and of G.711.
PCM_CHARS_PER_TOKEN: Final = 3_200
G711_CHARS_PER_TOKEN: Final = 533
G711_SIGNS: Final = (b"g711", b"audio/pcmu", b"audio/pcma")
TEXT_CHARS_PER_TOKEN: Final = 4

# What a provider may close with and we pass on; all else is between it and us.
PASSED_ON: Final = frozenset({1000, 1001, 1008, 1009, 1012, 1013})


@attrs.define
class Answering:
    """One answer under way: what was set aside for it, and what came of it."""

    hold: Hold
    meter: Meter
    chars: int = 0


class SessionCall(Attempt):
    """One session with one deployment."""

    link: Link
    stopping = False

    async def _run(self) -> Fault | None:
        self.answering: dict[str, Answering] = {}
        self.context_tokens = realtime.SESSION_TOKENS
        self.held_tokens = 0
        self.extra_nanousd = 0  # Billed beside answers: transcripts.
        self.audio_chars_per_token = PCM_CHARS_PER_TOKEN
        self.broken: Fault | None = None
        admitted = await self._admit()
        if isinstance(admitted, Fault):
            return admitted
        self.permit = admitted
        upstream = admitted.upstream
        self.deadlines = upstream.deadlines
        self.kind = upstream.kind
        if self.kind not in realtime.KINDS:
            return faults.ours(
                f"Provider {upstream.name} has no realtime sessions.",
                status=400,
                code="unsupported",
            )
        fault = await self._hold_next()
        if fault is not None:
            return fault
        self.sent_at = self.peers.now()
        opened = await self._connect(upstream)
        if isinstance(opened, Fault):
            return opened
        try:
            return await self._talk(opened)
        finally:
            opened.close()

    async def _connect(self, upstream: Upstream) -> UpstreamSocket | Fault:
        self._on_phase("connect")
        target = upstream.target(self.candidate.deployment.model, self.bound)
        request = realtime.upgrade(target, self.inquiry.headers)
        lend = None if upstream.key is None else self._lend
        try:
            return await upstream.open_socket(request, lend, self._on_phase)
        except SocketRejected as answer:
            self.status = answer.status
            who = target.flavour or upstream.name
            return realtime.refused(who, answer.status, answer.headers, answer.body)
        except httpx.TransportError as error:
            return faults.transport(upstream.name, error)
        except (LeaseRefused, AskError) as error:
            return faults.no_key(upstream.name, error)

    async def _talk(self, socket: UpstreamSocket) -> Fault | None:
        self.phase, self.due = "session", math.inf
        self.status = 101
        self.first_content_at = self.peers.now()
        self._content_came()
        self.sink.claim(self)
        await self.sink.begin()
        fault: Fault | None = None
        async with trio.open_nursery() as both:
            both.start_soon(self._to_provider, socket, both.cancel_scope)
            fault = await self._to_client(socket)
            both.cancel_scope.cancel(reason="the provider's half is over")
        return self.broken or fault

    def ring(self, now: float) -> None:
        """An open session has no deadline here: its socket has an age."""
        if self.phase != "session":
            super().ring(now)

    # -- both ways -------------------------------------------------------------

    async def _to_provider(
        self, socket: UpstreamSocket, both: trio.CancelScope
    ) -> None:
        bound = self.bound
        try:
            if bound is not None and bound < realtime.OUTPUT_TOKENS_MAX:
                await socket.send(realtime.bound_session(self.kind, bound))
            async for event in self.link.from_client:
                self.context_tokens += realtime.tokens_said(event)
                if self.hold is not None and self.context_tokens > self.held_tokens:
                    self.broken = await self._hold_more()
                    if self.broken is not None:
                        break
                if bound is not None:
                    event = realtime.bounded(event, bound)  # noqa: PLW2901
                await socket.send(event)
        except httpx.TransportError as error:
            self.broken = faults.transport(self.source, error)
        # Left in the middle of an answer, it was broken off.
        self.sink.gone = self.sink.gone or bool(self.answering)
        both.cancel(reason="the client's half is over")

    async def _to_client(self, socket: UpstreamSocket) -> Fault | None:
        while True:
            try:
                event = await socket.receive()
            except httpx.TransportError as error:
                return faults.transport(self.source, error)
            if event is None:
                code = socket.code if socket.code in PASSED_ON else FAILED
                self.link.end(code or FAILED, socket.reason)
                return None
            heard = realtime.hear(event)
            fault = None
            match heard.kind:
                case "response.created":
                    fault = await self._answer_begins(heard.response_id)
                case "response.done":
                    fault = await self._answer_ends(heard)
                case "session.created" | "session.updated":
                    g711 = any(sign in event for sign in G711_SIGNS)
                    self.audio_chars_per_token = (
                        G711_CHARS_PER_TOKEN if g711 else PCM_CHARS_PER_TOKEN
                    )
                case _:
                    self._count(heard)
            await self.sink.send(event)
            if fault is not None or self.is_over:
                return fault

    @property
    def is_over(self) -> bool:
        """Whether the gateway stops and no answer is under way."""
        return self.stopping and not self.answering

    # -- money -----------------------------------------------------------------

    async def _hold_next(self) -> Fault | None:
        """Set aside the worst case of the next answer."""
        deployment = self.candidate.deployment
        permit = self.permit
        assert permit is not None
        steps = -(-self.context_tokens // HOLD_TOKENS_STEP)
        self.held_tokens = min(realtime.PROMPT_TOKENS_MAX, steps * HOLD_TOKENS_STEP)
        price = permit.upstream.price(deployment.model)
        self.bill.priced = price is not None
        bound = self.bound or realtime.OUTPUT_TOKENS_MAX
        held = await self.peers.ledger.ask(
            TakeHold(
                stream=self.stream,
                site=self.inquiry.site,
                provider=deployment.provider,
                model=deployment.model,
                prompt_tokens_max=self.held_tokens,
                output_tokens_max=min(bound, realtime.OUTPUT_TOKENS_MAX),
                price=price,
                meter=Meter(),
                audio=True,
                key_id=self.inquiry.key_id,
                asked=self.plan.model,
            )
        )
        if isinstance(held, HoldRefused):
            self.hold = None
            return faults.hold_refused(held)
        self.hold = held
        if self.held_tokens == realtime.PROMPT_TOKENS_MAX:
            # No prompt is longer: nothing that is said makes the next answer dearer.
            self.held_tokens = self.context_tokens = realtime.PROMPT_TOKENS_MAX
        return None

    async def _hold_more(self) -> Fault | None:
        if self.held_tokens >= realtime.PROMPT_TOKENS_MAX:
            self.context_tokens = realtime.PROMPT_TOKENS_MAX
            return None
        if self.hold is not None:
            self.peers.ledger.offer(Settle(self.hold.id, 0))
        return await self._hold_next()

    async def _answer_begins(self, response_id: str) -> Fault | None:
        if self.hold is None:  # A second one beside the first.
            fault = await self._hold_next()
            if fault is not None:
                return fault
        hold, self.hold = self.hold, None
        assert hold is not None
        meter = Meter(prompt_tokens=self.context_tokens, accepted=True)
        self.answering[response_id] = Answering(hold, meter)
        return None

    async def _answer_ends(self, heard: realtime.Heard) -> Fault | None:
        answer = self.answering.pop(heard.response_id, None)
        usage = None if heard.usage is None else believed(heard.usage)
        if answer is not None:
            if usage is None and answer.meter.output_tokens:
                usage = self._estimate(answer)
            self._pay(answer.hold, usage)
        elif usage is not None:
            self.extra_nanousd += self._cost(usage)
        if usage is not None:
            # What was said and answered is the next prompt, and what comes on top.
            self.context_tokens = max(realtime.SESSION_TOKENS, usage.total)
        return await self._hold_next() if self.hold is None else None

    def _count(self, heard: realtime.Heard) -> None:
        usage = None if heard.usage is None else believed(heard.usage)
        if usage is not None:
            self.extra_nanousd += self._cost(usage)
            self._add(usage)
        answer = self.answering.get(heard.response_id)
        if answer is not None:
            audio = -(-heard.audio_chars // self.audio_chars_per_token)
            text = -(-heard.text_chars // TEXT_CHARS_PER_TOKEN)
            answer.chars += heard.audio_chars
            answer.meter.output_tokens += audio + text
            self.meter.output_tokens += audio + text

    def _estimate(self, answer: Answering) -> Usage:
        self.bill.estimated = True
        audio = answer.chars // self.audio_chars_per_token
        return Usage(
            prompt=answer.meter.prompt_tokens,
            completion=answer.meter.output_tokens,
            audio_out=audio,
        )

    def _cost(self, usage: Usage) -> int:
        permit = self.permit
        assert permit is not None
        price = permit.upstream.price(self.candidate.deployment.model)
        return 0 if price is None else cost(price, usage)

    def _pay(self, hold: Hold, usage: Usage | None) -> None:
        nanousd, self.extra_nanousd = self.extra_nanousd, 0
        if usage is not None:
            nanousd += self._cost(usage)
            self._add(usage)
        self.bill.nanousd += nanousd
        if hold.output_tokens_max is not None:
            self.bill.overrun_nanousd += max(0, nanousd - hold.nanousd)
        tokens = 0 if usage is None else usage.completion
        self.peers.ledger.offer(Settle(hold.id, nanousd, tokens))

    def _add(self, usage: Usage) -> None:
        known = self.relayed.usage or Usage()
        self.relayed.usage = self.bill.usage = Usage(
            prompt=known.prompt + usage.prompt,
            completion=known.completion + usage.completion,
            cached=known.cached + usage.cached,
            audio_in=known.audio_in + usage.audio_in,
            audio_out=known.audio_out + usage.audio_out,
        )

    def _give_back(self, fault: Fault | None, finished: bool) -> None:
        # Answers that were cut: at what came of them.
        for answer in getattr(self, "answering", {}).values():
            self._pay(answer.hold, self._estimate(answer))
        super()._give_back(fault, finished)

    def _settle(self, hold: Hold) -> None:
        """The hold that stood for an answer that will not be given."""
        self._pay(hold, None)
