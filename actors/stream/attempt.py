"""One call to one deployment, from permit to outcome.

Owns, and gives back whatever happens: the permit, the hold, the lease, the upstream
response. Its deadlines are one cancel scope that is re-armed from phase to phase.
Talks to: provider, ledger, vault. Never retries: that is the stream's decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import httpx
import msgspec
import trio

from actors.auditor.messages import AttemptRecord
from actors.ledger.messages import Hold, Meter
from actors.provider.messages import Deadlines, Permit, Proven, Upstream
from actors.router.messages import Candidate, Plan
from actors.stream import faults, settling
from actors.stream.heads import NOTHING_TOLD, facts_of
from actors.stream.hooked import Hooked
from actors.stream.opening import open_call
from actors.stream.paying import is_short, take_hold
from actors.stream.prompt import Prompt
from actors.stream.relay import (
    Relayed,
    Sink,
    read_at_most,
    relay_stream,
    relay_whole,
)
from actors.stream.settling import Bill
from actors.stream.waiting import ask, ask_anywhere
from actors.vault.keyuse import KeyHandle
from actors.vault.messages import Acquire, KeyRefused, LeaseRefused
from runtime import AskError, Later, Ref
from wire.dialect import ClientError
from wire.events import Fault
from wire.exchange import Exchange

if TYPE_CHECKING:
    from actors.provider.actor import Provider
    from actors.stream.actor import Stream
    from actors.stream.messages import Inquiry
    from actors.stream.peers import Peers

UNTIL_ADMITTED = Deadlines()  # Then those of the deployment.
ERROR_BYTES_MAX = 64 * 1024  # Every error body recorded is under 4 kB.


class Attempt:
    """One call. `run` returns None when the client has its answer, else the fault."""

    def __init__(
        self,
        peers: Peers,
        stream: Ref[Stream],
        inquiry: Inquiry,
        plan: Plan,
        candidate: Candidate,
        *,
        sink: Sink,
        prompt: Prompt,
        set_alarm: Callable[[float, Attempt], object],
        opened: float,
        turn_s: float,
        patience_s: float | None = None,
        elsewhere: Sequence[Candidate] = (),
        on_move: Callable[[Attempt], None] | None = None,
    ) -> None:
        self.peers = peers
        self.stream = stream
        self.inquiry = inquiry
        self.plan = plan
        self.candidate = candidate
        self.sink = sink
        self.turn_s = turn_s
        self.patience_s = patience_s
        self.elsewhere = elsewhere  # Who may have a place sooner than this one.
        self.on_move = on_move  # Hears when one of those had.
        self.number = 1  # Its place among its stream's, from 1.
        self.phase = "queue"
        self.keyless = False  # It waits for its key: no provider's fault.
        self.scope = trio.CancelScope()
        self.set_alarm = set_alarm
        self.alarm_at = math.inf
        self.due = math.inf
        self.opened = opened
        self.began = peers.now()
        self.sent_at = self.began
        self.leased_at = self.head_at = self.began
        self.first_content_at: float | None = None
        self.deadlines = UNTIL_ADMITTED
        self.provider: Ref[Provider] | None = None
        self.permit: Permit | None = None
        self.hold: Hold | None = None
        self.bound = plan.output_tokens_max  # Of one choice; a short hold lowers it.
        self.prompt = prompt
        self._measure()
        self.relayed = Relayed()
        self.bill = Bill()
        self.status = 0
        self.told = NOTHING_TOLD
        self.finished = False  # Once it is over: whether it came to its own end.
        self.ended_by = ""  # Set by `end`: the scope was cancelled on purpose.
        self.record: AttemptRecord | None = None
        self.hooked: Hooked | None = None

    def _measure(self) -> None:
        deployment = self.candidate.deployment
        self.length = self.prompt.at(deployment)
        self.chars_per_token = self.prompt.chars_per_token(deployment)
        self.meter = Meter(prompt_tokens=self.length.tokens)

    async def run(self) -> Fault | None:
        """Make the call. Never raises for anything upstream does."""
        fault: Fault | None = None
        finished = False
        try:
            with self.scope:
                fault = await self._run()
                finished = True
            if not finished:
                fault = self._why_cancelled()
        finally:
            # No await below: this runs under cancellation and in crashes too.
            self._give_back(fault, finished)
            # Both are its stream's, which keeps this attempt: no cycle is left.
            self.set_alarm, self.on_move = _no_alarm, None
        return fault

    def end(self, why: str) -> None:
        """Stop the call on purpose: the client left, or the gateway ends it."""
        self.ended_by = why
        self.scope.cancel(reason=why)

    async def _run(self) -> Fault | None:
        # Permit first: a lease for an open provider would burn quota.
        admitted = await self._admit()
        if isinstance(admitted, Fault):
            return admitted
        self.permit = admitted
        upstream = admitted.upstream
        self.deadlines = self._hurried(upstream.deadlines)
        try:
            exchange = open_call(self, upstream)
        except ClientError as error:
            return error.fault()
        held = await take_hold(self, upstream)
        if isinstance(held, Fault):
            return held
        self.hold = held
        if is_short(self, held):
            exchange = open_call(self, upstream)
        return await self._call(upstream, exchange)

    def _hurried(self, deadlines: Deadlines) -> Deadlines:
        """With others left, waiting far beyond what was predicted is waste."""
        patience_s = self.patience_s
        if patience_s is None or not self.inquiry.head.stream:
            return deadlines
        return msgspec.structs.replace(
            deadlines,
            headers_s=min(deadlines.headers_s, patience_s),
            first_content_s=min(deadlines.first_content_s, patience_s),
        )

    async def _admit(self) -> Permit | Fault:
        provider = self.peers.provider(self.candidate.deployment.provider)
        if provider is None:
            return faults.provider_gone(self.candidate.deployment)
        self.provider = provider
        # The next phase is due sooner as a rule: the first alarm serves both.
        connect_at = self.began + self.deadlines.connect_s
        self._arm("queue", self.began + self.turn_s, look_at=connect_at)
        if self.elsewhere:
            return await ask_anywhere(self, provider)
        return await ask(self, provider, self.candidate, self.length.tokens)

    def move(self, candidate: Candidate, provider: Ref[Provider]) -> None:
        """It has a place elsewhere; nothing has been sent so far."""
        self.candidate, self.provider = candidate, provider
        self._measure()
        if self.on_move is not None:
            self.on_move(self)

    async def _lend(self) -> KeyHandle:
        """One lease for one head. Raises LeaseRefused."""
        permit = self.permit
        assert permit is not None
        scope = permit.upstream.key
        assert scope is not None
        self.keyless = True
        lease = self.peers.vault.ask_now(
            Acquire(
                scope=scope,
                stream=self.stream,
                site=self.inquiry.site,
                request_id=self.inquiry.request_id,
                route=self.inquiry.head.model,
                ttl_s=self.deadlines.headers_s,
            )
        )
        if isinstance(lease, Later):
            lease = await lease
        self.keyless = False
        self.leased_at = self.peers.now()
        return lease.handle

    async def _call(self, upstream: Upstream, exchange: Exchange) -> Fault | None:
        self.sent_at = self.peers.now()
        permit = self.permit
        due_s = self.candidate.first_content_s
        if permit is not None and due_s and self.inquiry.head.stream:
            # A call that waits for longer than that is news to the router.
            permit.load.waiting[permit.id] = (self.sent_at, self.sent_at + due_s)
        self._on_phase("connect")
        lend = None if upstream.key is None else self._lend
        trace = self.inquiry.trace
        fields = () if trace is None else trace.fields(trace.child(self.number))
        try:
            response = await upstream.send(
                exchange.upstream, lend, self._on_phase, fields
            )
        except httpx.PoolTimeout:
            return faults.pool_full(upstream.name)
        except httpx.TransportError as error:
            return faults.transport(upstream.name, error)
        except (LeaseRefused, AskError) as error:
            return faults.no_key(upstream.name, error)
        try:
            self.status = response.status_code
            self.head_at = self.peers.now()
            told = facts_of(response, self.inquiry.dialect.name, self.peers.wall())
            self.told = told
            if not 200 <= response.status_code < 300:
                body = await read_at_most(response, ERROR_BYTES_MAX)
                return exchange.unary(
                    response.status_code, response.headers, body
                ).fault
            self.meter.accepted = True
            if self.sink.on_claim is None:  # Nobody else may answer instead.
                self.sink.passed = told.passed
            if self.inquiry.head.stream:
                return await relay_stream(self, exchange.reader(), response)
            return await relay_whole(self, exchange, response)
        except httpx.TransportError as error:
            return faults.transport(upstream.name, error)
        finally:
            await response.aclose()

    # -- what relaying needs ---------------------------------------------------

    @property
    def source(self) -> str:
        """The provider's name, for faults."""
        return self.candidate.deployment.provider

    @property
    def output_tokens_max(self) -> int | None:
        """The bound of the whole answer, all choices together."""
        bound = self.bound
        return None if bound is None else bound * self.inquiry.head.n

    @property
    def is_sent(self) -> bool:
        """Whether the provider has the request."""
        return self.phase not in {"queue", "connect"}

    def now(self) -> float:
        """The runtime's clock."""
        return self.peers.now()

    # -- deadlines -------------------------------------------------------------

    def _on_phase(self, phase: str) -> None:
        """The transport says what it waits for now."""
        match phase:
            case "connect":
                self._arm("connect", self.sent_at + self.deadlines.connect_s)
            case "headers":
                # A whole answer's head comes when the answer is complete.
                limit_s = (
                    self.deadlines.headers_s
                    if self.inquiry.head.stream
                    else self.deadlines.total_s
                )
                self._arm("headers", self.sent_at + limit_s)
            case _:
                pass

    def arm_first_content(self) -> None:
        """The head came; now the first content is due."""
        limit_s = (
            self.deadlines.first_content_s
            if self.inquiry.head.stream
            else self.deadlines.total_s
        )
        self._arm("first_content", self.sent_at + limit_s)

    def arm_idle(self, now: float) -> None:
        """Content flows: only a pause, or the whole, can be too long."""
        if self.phase != "idle":
            self._content_came()
            self._arm("idle", now + self.deadlines.idle_s)
        else:  # The alarm is set; due only moves on.
            deadlines = self.deadlines
            due, total = now + deadlines.idle_s, self.sent_at + deadlines.total_s
            self.due = min(total, due)

    def _content_came(self) -> None:
        permit = self.permit
        assert permit is not None
        permit.load.waiting.pop(permit.id, None)
        if permit.probe:
            provider = self.peers.provider(permit.provider)
            if provider is not None:
                provider.offer(Proven(permit.id, permit.epoch))

    def _arm(self, phase: str, deadline: float, *, look_at: float = math.inf) -> None:
        """Set the time by which this phase must be over.

        Phases follow each other faster than alarms ring: the one alarm looks at `due`
        when it rings, so moving a deadline back costs an assignment. It looks at
        `look_at` already, where something after this phase will be due by then.
        """
        self.phase = phase
        total = self.sent_at + self.deadlines.total_s
        self.due = due = min(total, deadline)
        alarm_at = min(look_at, due)
        if alarm_at < self.alarm_at:
            self.alarm_at = alarm_at
            self.set_alarm(alarm_at, self)

    def ring(self, now: float) -> None:
        """The alarm: too late, or not yet."""
        if self.hooked is not None:
            self.hooked.ring(self, now)
        if now >= self.due:
            self.scope.cancel(reason=f"{self.phase} deadline of {self.source}")
        elif self.due < self.alarm_at or now >= self.alarm_at:
            self.alarm_at = self.due
            self.set_alarm(self.due, self)

    def arm_flush(self, at: float) -> None:
        """Ring `hooked` then."""
        self.set_alarm(at, self)

    def _why_cancelled(self) -> Fault:
        if self.ended_by:
            return faults.ended(self.ended_by)
        if self.keyless:
            return faults.key_late(
                self.candidate.deployment.provider, self.deadlines.connect_s
            )
        return faults.timed_out(
            self.candidate.deployment.provider, self.phase, self.deadlines
        )

    # -- giving back -----------------------------------------------------------

    def _give_back(self, fault: Fault | None, finished: bool) -> None:
        self.finished = finished
        peers, permit = self.peers, self.permit
        now = peers.now()
        kind = settling.outcome_kind(self, fault, finished)
        if self.hooked is not None:
            unfinished = "" if finished else self.ended_by or self.phase
            self.hooked.end(self, fault, unfinished)
        if permit is not None:
            provider = self.provider
            if provider is not None and not provider.gone:
                provider.offer(settling.outcome(self, permit, kind, fault, now))
            peers.router.offer(settling.observed(self, kind, now))
            if kind == "key" and permit.upstream.key is not None:
                # A rotation of this key may have to go back.
                peers.vault.offer(KeyRefused(permit.upstream.key))
            if self.hold is not None:
                peers.ledger.offer(settling.settle(self, permit, self.hold))
        self.record = settling.record(self, kind, fault, now)

    @property
    def left_unheard(self) -> bool:
        """Whether we left a call that had been sent before its end."""
        return self.is_sent and not self.finished


def _no_alarm(_at: float, _attempt: Attempt) -> None:
    """An attempt that has ended rings no more."""
