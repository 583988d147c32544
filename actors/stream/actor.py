"""Stream. Owns one request, from plan to record; read this file to see the product.

It asks for a place in the records, a plan, and then, candidate by candidate, lets an
`Attempt` call a deployment until one answers. It alone decides what happens when the
client leaves. Talks to: auditor, router; through its attempts: provider, ledger, vault.

    auditor  a slot for the record      no slot, no service
    router   a plan                     candidates in order
    attempt  permit, hold, lease, call  until the first content goes to the client
    channel  Begin, bytes, end          or one Whole
"""

from __future__ import annotations

from functools import partial

import trio

from actors.auditor.messages import (
    AuditUnavailable,
    Record,
)
from actors.ledger.messages import HoldRefused, Leave, Standing
from actors.router.messages import Candidate, NoRoute, Plan
from actors.stream import asks, faults, mirroring, policy
from actors.stream.attempt import Attempt
from actors.stream.hedge import race
from actors.stream.messages import (
    ClientGone,
    EndIfOf,
    EndStream,
    Inquiry,
    Piece,
)
from actors.stream.peers import Peers
from actors.stream.policy import Failure, Final
from actors.stream.prompt import Length, Prompt
from actors.stream.recording import record_of
from actors.stream.relay import Sink
from runtime import (
    Actor,
    AskError,
    ControlTell,
    Crashed,
    Exit,
    Later,
    MailboxSpec,
    Ref,
    Stopped,
    StreamChannel,
    handles,
)
from wire.dialect import Reply
from wire.events import Fault

DRAIN_WORD_S = 0.5  # Of a drain's time, for the error events of what it cuts.
LAST_WORD_S = 30.0  # As long as a write may take: then the client is gone.
CONTROL_QUEUED_MAX = 8  # Only control travels this way; chunks use the channel.


class DeadlineCheck(ControlTell["Stream"], frozen=True):
    """An alarm that the stream set for its own attempt, by its place."""

    attempt: int


class Stream(Actor):
    """One request."""

    mailbox = MailboxSpec(CONTROL_QUEUED_MAX, full="block", down="reject")
    accepts = (ClientGone, EndStream, EndIfOf, DeadlineCheck)

    def __init__(
        self, peers: Peers, inquiry: Inquiry, channel: StreamChannel[Piece]
    ) -> None:
        self.peers = peers
        self.inquiry = inquiry
        self.opened = peers.now()
        self.opened_at_ms = round(peers.wall() * 1000)
        self.home = peers.home_of(inquiry.site)
        self.channel = channel
        self.sink = Sink(
            channel,
            inquiry.dialect,
            Reply(
                id=inquiry.request_id,
                created=self.opened_at_ms // 1000,
                model=inquiry.head.model,
            ),
            (("x-request-id", inquiry.request_id),),
        )
        self.prompt = Prompt(inquiry.head, None, None)
        self.attempts: list[Attempt] = []
        self.current: Attempt | None = None
        self.pause: trio.CancelScope | None = None
        self.ended_by = ""
        self.plan: Plan | NoRoute | None = None
        self.planned_at = 0.0
        self.slot: int | None = None
        self.fault: Fault | None = None
        self.recorded = False
        self.entered = False
        self.crashed = False

    def on_start(self) -> None:
        """Know who this is, as everybody who is asked has to."""
        self.ref: Ref[Stream] = self.ctx.ref

    def __repr__(self) -> str:
        """As an operator wants it."""
        at = self.current.candidate.deployment if self.current else "no provider"
        phase = self.current.phase if self.current else "planning"
        return f"<Stream {self.ctx.id} {self.inquiry.site} {at} {phase}>"

    def on_drain(self, deadline: float) -> None:
        """End in time for the client to be told why."""
        end_at = max(self.peers.now(), deadline - DRAIN_WORD_S)
        self.ctx.tell_at(end_at, EndStream("the gateway is stopping"))

    def on_stop(self, why: Exit) -> None:
        """Whatever the end: one record, nothing held, and the client knows."""
        self.crashed = isinstance(why, Crashed)
        if isinstance(why, Stopped) and not self.recorded:
            # Cut off where it was: by the drain, or with its client's connection.
            self.sink.gone = True
            self.fault = self.fault or faults.ended(self.ended_by or str(why))
        self._close(str(why))

    @handles(ClientGone)
    def client_gone(self, msg: ClientGone) -> None:
        """Cancel, or read on for the bill where cancelling would not stop it."""
        attempt = self.current
        if attempt is not None and attempt.relayed.over:
            return  # With its whole answer, a moment before the body's end.
        self.sink.gone = True
        self.channel.cancel(msg.why)
        running = sum(one.record is None for one in self.attempts)
        # Of two that race nobody has answered: there is nothing to read on for.
        if attempt is not None and attempt.permit is not None and running == 1:
            choice = policy.on_client_gone(
                attempt.permit.upstream.on_abort, sent=attempt.is_sent
            )
            if choice == "drain":
                self.ended_by = "client gone, drained"
                self.sink.drained_tokens_from = attempt.meter.output_tokens
                self.sink.drain_until = self.peers.now() + policy.DRAIN_S
                # Chunks look at it as they come; where none comes, this does.
                self.ctx.tell_at(self.sink.drain_until, EndStream(self.ended_by))
                return
        self._end(f"client gone ({msg.why})")

    @handles(EndStream)
    def end_stream(self, msg: EndStream) -> None:
        """The gateway wants it over."""
        self._end(msg.why)

    @handles(EndIfOf)
    def end_if_of(self, msg: EndIfOf) -> None:
        """Over, if it is one of those."""
        inquiry, of = self.inquiry, msg.of
        astray = of.astray and inquiry.page
        if (
            inquiry.site in of.sites
            or inquiry.key_id in of.keys
            or (astray and not self.peers.lets(inquiry.key_id, inquiry.page))
        ):
            self._end(of.why)

    @handles(DeadlineCheck)
    def check_deadline(self, msg: DeadlineCheck) -> None:
        """An alarm of an attempt that runs; those of earlier ones mean nothing."""
        attempt = self.attempts[msg.attempt - 1]
        if attempt.record is None:
            attempt.ring(self.peers.now())

    def _set_alarm(self, at: float, attempt: Attempt) -> None:
        self.ctx.tell_at(at, DeadlineCheck(self.attempts.index(attempt) + 1))

    async def main(self) -> None:
        """Serve. ClientGone and the like are heard meanwhile, at any await."""
        self.fault = await self._answer()
        if self.fault is not None and not self.sink.gone:
            # A stalled client has no room for it, and is dropped soon.
            with trio.move_on_after(LAST_WORD_S) as self.pause:
                if self.sink.committed:
                    await self.sink.break_off(self.fault)
                else:
                    await self.sink.refuse(self.fault)
        self._close("")
        plan = self.plan
        if isinstance(plan, Plan) and plan.mirror is not None:
            self._mirror(plan, plan.mirror)

    def _mirror(self, plan: Plan, to: Candidate) -> None:
        """Have another deployment answer as well, now that the client has its own."""
        streams = self.peers.streams
        well = self.fault is None and not self.ended_by and not self.sink.degraded
        if streams is not None and well and len(self.attempts) == 1:
            told = mirroring.mirrored(self.inquiry, plan, to, self.attempts[0])
            if told is not None:
                streams.offer(told)

    async def _answer(self) -> Fault | None:
        inquiry = self.inquiry
        try:
            slot = self.peers.auditor.ask_now(
                asks.slot_for(self.ref, inquiry, self.opened_at_ms, self.home)
            )
            self.slot = await slot if isinstance(slot, Later) else slot
            self.prompt = await self._measure()
            length = self.prompt.for_route()
            standing = await self._enter(length)
            while not isinstance(standing, HoldRefused):
                plan = self.plan = await self._planned(length, standing)
                if not self.planned_at:
                    self.planned_at = self.peers.now()
                if isinstance(plan, NoRoute):
                    fault: Fault | None = faults.no_route(plan)
                else:
                    fault = await self._try_candidates(
                        asks.ordered(plan, inquiry.stored_at)
                    )
                if self.ended_by or not policy.goes_down(fault, lower=standing.lower):
                    return fault
                standing = await self._enter(length, rung_min=standing.rung + 1)
            return faults.hold_refused(standing, for_page=inquiry.for_page)
        except (AuditUnavailable, AskError) as error:
            return faults.not_admitted(error)

    async def _enter(self, length: Length, rung_min: int = 0) -> Standing | HoldRefused:
        """Be counted at the ledger, and learn how thrifty this request must be."""
        standing = self.peers.ledger.ask_now(
            asks.entry_of(self.ref, self.inquiry, length, rung_min)
        )
        if isinstance(standing, Later):
            standing = await standing
        if isinstance(standing, Standing):
            self.entered = True
            self.sink.degraded = (standing.degraded,) if standing.degraded else ()
        return standing

    async def _planned(self, length: Length, standing: Standing) -> Plan | NoRoute:
        """Who may serve this; of a trial, the one that is tried."""
        trial = asks.trial_of(self.inquiry)
        if trial is not None:
            return trial
        wanted = asks.plan_for(self.inquiry, length, standing)
        plan = self.peers.router.ask_now(wanted)
        return await plan if isinstance(plan, Later) else plan

    async def _try_candidates(self, plan: Plan) -> Fault | None:
        failures: list[Failure] = []
        peers = self.peers
        peers.retries.request(peers.now())
        while True:
            step = policy.next_step(
                plan.candidates,
                failures,
                peers.rng,
                may_retry=bool(failures) and peers.retries.has(peers.now()),
            )
            if isinstance(step, Final):
                return step.fault
            if step.retry:
                peers.retries.take(peers.now())
            if step.pause_s:
                await self._wait(step.pause_s)
            if self.ended_by:
                return faults.ended(self.ended_by)
            attempt = self._attempt(plan, step.candidate, failures)
            second = (
                policy.hedge_with(plan.candidates, failures)
                if plan.hedge and self.inquiry.head.stream
                else None
            )
            if second is None:
                fault = await attempt.run()
            else:
                fault = await self._hedged(plan, attempt, second, failures)
            if fault is None or self.sink.committed or self.ended_by:
                return fault
            # It may have found a place elsewhere than it was sent to.
            place = plan.candidates.index(attempt.candidate)
            failures.append(Failure(place, fault))

    def _attempt(self, plan: Plan, place: int, failures: list[Failure]) -> Attempt:
        attempt = Attempt(
            self.peers,
            self.ref,
            self.inquiry,
            plan,
            plan.candidates[place],
            sink=self.sink,
            prompt=self.prompt,
            set_alarm=self._set_alarm,
            opened=self.opened,
            turn_s=self._turn_s(plan, place, failures),
            patience_s=self._patience_s(plan, place, failures),
            elsewhere=self._elsewhere(plan, place, failures),
            on_move=partial(self._answers, plan),
        )
        self.attempts.append(attempt)
        attempt.number = len(self.attempts)
        self._answers(plan, attempt)
        return attempt

    def _answers(self, plan: Plan, attempt: Attempt) -> None:
        """This one is whom the client hears; of a race, once that is known."""
        self.current = attempt
        self.sink.passed = attempt.told.passed
        if plan.explain:
            self.sink.routed = policy.routed(attempt.candidate, len(self.attempts))

    async def _hedged(
        self, plan: Plan, first: Attempt, place: int, failures: list[Failure]
    ) -> Fault | None:
        """Let a second candidate try when the first is late; the quicker answers."""
        peers = self.peers
        peers.hedges.request(peers.now())

        def second() -> Attempt | None:
            if self.ended_by or not peers.hedges.take(peers.now()):
                return None
            return self._attempt(plan, place, failures)

        late_s = max(policy.HEDGE_AFTER_MIN_S, first.candidate.first_content_s)
        results = await race(
            first,
            second,
            late_s=late_s,
            sink=self.sink,
            on_winner=lambda winner: self._answers(plan, winner),
        )
        for attempt, fault in results.items():
            if attempt is self.sink.owner:
                # Its bill, its finish and its headers are the request's.
                self.current = attempt
                return fault
        other = [attempt for attempt in results if attempt is not first]
        if other and results[first] is not None:
            fault = results[other[0]]
            if fault is not None:
                failures.append(Failure(place, fault))
        return results[first]

    def _turn_s(self, plan: Plan, place: int, failures: list[Failure]) -> float:
        """How long it may wait in this provider's queue."""
        waited_s = self.peers.now() - self.opened
        return policy.turn_s(plan.candidates, place, failures, waited_s)

    def _elsewhere(
        self, plan: Plan, place: int, failures: list[Failure]
    ) -> tuple[Candidate, ...]:
        """Whose places it may have as well as this one's."""
        if plan.hedge or self.inquiry.stored_at or self.inquiry.aside is not None:
            return ()  # A second call, a store, or nobody who waits: each has its own.
        return policy.elsewhere(plan.candidates, place, failures)

    def _patience_s(
        self, plan: Plan, place: int, failures: list[Failure]
    ) -> float | None:
        """How long to wait before somebody else is tried, if the budget has that."""
        if len(plan.candidates) == 1:
            return None
        tried = {place, *(failure.candidate for failure in failures)}
        patience_s = policy.patience_s(
            plan.candidates[place], others_left=len(tried) < len(plan.candidates)
        )
        if patience_s is None or not self.peers.retries.has(self.peers.now()):
            return None
        return patience_s

    async def _measure(self) -> Prompt:
        inquiry, counter = self.inquiry, self.peers.counter
        if counter is None or inquiry.operation == "count":
            return self.prompt  # A count bills nothing: no need to be exact here.
        tally = await counter.tally(
            inquiry.dialect, inquiry.body, inquiry.headers, inquiry.head.model
        )
        return Prompt(inquiry.head, counter, tally)

    async def _wait(self, pause_s: float) -> None:
        with trio.move_on_after(pause_s) as self.pause:
            await trio.sleep_forever()
        self.pause = None

    def _end(self, why: str) -> None:
        self.ended_by = why
        if self.pause is not None:
            self.pause.cancel(reason=why)
        for attempt in self.attempts:
            if attempt.record is None:
                attempt.end(why)

    def _close(self, why: str) -> None:
        """Record once, leave the ledger, end the channel. Never waits, never raises."""
        if self.recorded:
            return
        self.recorded = True
        if self.entered:
            self.peers.ledger.offer(Leave(self.ctx.id))
        try:
            record = record_of(self)
            if self.slot is not None:
                self.peers.auditor.offer(Record(self.slot, record))
            # Without a slot nothing was served; operators need to see that most of all.
            self.peers.ended(record)
        finally:
            # Also where that fails: who waits for the end would do so for ever.
            self.sink.owner = None  # It knows its sink: no cycle keeps the prompt.
            self.peers.heart.discard(self.channel)
            self.channel.close(why)
