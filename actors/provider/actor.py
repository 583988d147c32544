"""Provider. Owns admission and health of one deployment; trips by exiting.

Never does I/O: streams call the deployment themselves, under a permit. Talks to: router
(tells it when calls are pointless). Its life is the breaker: see `breaker.py` for the
verdicts, docs/supervision.md for what the supervisor does between two lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from msgspec import Struct

from actors.herald.messages import AlertKind, Raise
from actors.provider import admission, breaker
from actors.provider.limits import Allowances
from actors.provider.line import Line, Reply
from actors.provider.messages import (
    Admit,
    Load,
    Outcome,
    Permit,
    Proven,
    RefusalReason,
    Refused,
    ReportVitals,
    SetPaused,
    SetShare,
    SetUpstream,
    Upstream,
    Vitals,
)
from actors.router.messages import ProviderChanged
from runtime import (
    Actor,
    ControlTell,
    Deferred,
    Down,
    Exit,
    MailboxSpec,
    MonitorId,
    Ref,
    Supervisor,
    Tripped,
    answers,
    handles,
)

if TYPE_CHECKING:
    from actors.herald.actor import Herald
    from actors.router.actor import Router

THE_KEY = "key"  # A provider has one key; its allowance goes by this name.
# One turn of the loop: thousands of streams may ask in it, handlers take microseconds.
ADMITS_QUEUED_MAX = 4096
PAUSED = "is paused by an operator"  # Clients read it: the reason is not theirs.


class Grant(Struct, frozen=True):
    """A permit that is out."""

    stream: str
    monitor: MonitorId
    epoch: int
    probe: bool


@attrs.define
class ProviderCell:
    """What outlives an incarnation: the pool behind `upstream`, and permits in use."""

    upstream: Upstream
    limits: admission.Limits
    failures_max: int = breaker.FAILURES_MAX
    slow_call_s: float | None = None
    load: Load = attrs.field(factory=Load)
    allowances: Allowances = attrs.field(factory=Allowances)
    grants: dict[int, Grant] = attrs.field(factory=dict[int, Grant])
    permit_of: dict[MonitorId, int] = attrs.field(factory=dict[MonitorId, int])
    permits_given: int = 0
    lives: int = 0
    key_retry_at: float = 0.0
    told_down: bool = False
    paused: str = ""  # Why an operator took it out of use.


class Recount(ControlTell["Provider"], frozen=True):
    """Behind all that waited for this life: release what no Down will come for.

    The Down that was in hand when the last life crashed is not told again.
    """


class Providers(Supervisor):
    """Parent of all providers: static ones from the start, others after reloads.

    Calls of one that is stopped go on; their permits end with it.
    """


class Provider(Actor):
    """Admission and health of one deployment."""

    mailbox = MailboxSpec(ADMITS_QUEUED_MAX, full="shed", down="reject")
    accepts = (
        Admit,
        Outcome,
        Proven,
        ReportVitals,
        SetUpstream,
        SetShare,
        SetPaused,
        Recount,
    )

    def __init__(self, cell: ProviderCell) -> None:
        self.cell = cell
        # A life after the first is on probation: whatever ended the last one may last.
        self.health = breaker.born(probation=cell.lives > 0)
        self.line = Line()
        cell.lives += 1

    def __repr__(self) -> str:
        """As an operator wants it."""
        state = "probation" if self.health.probation else "closed"
        return (
            f"<Provider {self.cell.upstream.name} {state} "
            f"in_flight={len(self.cell.grants)}/{self.cell.limits.in_flight_max} "
            f"queued={len(self.line)} failures={self.health.failures}>"
        )

    def on_start(self) -> None:
        """Say that calls are welcome. Permits of earlier lives are still watched."""
        load = self.cell.load
        load.in_flight_max = self.cell.limits.in_flight_max
        load.probation = self.health.probation
        load.queued = 0
        self._count()
        if self.cell.grants:
            self.ctx.ref.offer(Recount())
        self._tell_router(available=True, until=None, load=load)
        if self.cell.paused:
            self._tell_router(available=False, until=None, why="paused")

    def on_stop(self, why: Exit) -> None:
        """Say that calls are pointless until the next life."""
        self._tell_router(available=False, until=None)
        if isinstance(why, Tripped):
            name = self.cell.upstream.name
            self._tell_herald(
                "provider.down", f"provider {name} is taken out of use: {why}"
            )
            self.cell.told_down = True

    def on_down(self, down: Down) -> None:
        """A stream died without an outcome: its permits come back, nothing is learned.

        Without this a cancelled probe would keep the breaker half-open for ever.
        """
        permit = self.cell.permit_of.pop(down.monitor, None)
        if permit is not None:
            del self.cell.grants[permit]
            self.cell.load.waiting.pop(permit, None)
            self._count()
            self._serve_queue()

    @handles(Recount)
    def recount(self, _msg: Recount) -> None:
        """Streams that are not watched any more have ended."""
        watched = self.ctx.watched
        for permit, grant in list(self.cell.grants.items()):
            if grant.stream not in watched:
                self._release(permit)
        self._serve_queue()

    @answers(Admit)
    def admit(self, msg: Admit) -> Permit | Refused | Deferred[Permit | Refused]:
        """Give a permit, queue the asker, or refuse with a reason."""
        now = self.ctx.now()
        if self.cell.paused:
            return self._refuse("paused", PAUSED)
        if msg.spare and not self._has_spare(probing=msg.probing):
            return self._refuse("busy", "has nothing to spare")
        decision = self._decide(msg, len(self.line), now)
        match decision:
            case "permit" | "probe":
                return self._permit(msg, probe=decision == "probe")
            case "queue" | "busy" if msg.standby:
                return self.line.stand_by(msg) or self._refuse_busy()
            case "queue":
                return self._wait(msg)
            case "busy":
                last = self.line.push_out(msg.site)
                if last is None:
                    return self._refuse_busy()
                # Its site has more than its share of the queue; it waited the least.
                last.reply(self._refuse_busy())
                return self._wait(msg)
            case _:
                return self._not_now(decision, msg, now)

    def _decide(self, msg: Admit, queued: int, now: float) -> admission.Decision:
        return admission.admit(
            self.health,
            self.cell.limits,
            in_flight=len(self.cell.grants),
            probing=self._probing(),
            queued=queued,
            now=now,
            key_retry_at=self.cell.key_retry_at,
            rate_full_until=self.cell.allowances.full_until(
                THE_KEY, msg.prompt_tokens, now
            ),
        )

    def _not_now(self, decision: admission.NotNow, msg: Admit, now: float) -> Refused:
        match decision:
            case "probing":
                return self._refuse(
                    "probing",
                    "is on probation, one call is testing it",
                    now + admission.PROBING_RETRY_S,
                )
            case "cooling":
                return self._refuse(
                    "cooling", "asked for a pause (429)", self.health.cooling_until
                )
            case "rate_limited":
                return self._refuse(
                    "rate_limited",
                    "has no room left in its rate limit",
                    self.cell.allowances.full_until(THE_KEY, msg.prompt_tokens, now),
                )
            case "key_refused":
                return self._refuse(
                    "key_refused",
                    "refused the gateway's key; mend or rotate it",
                    self.cell.key_retry_at,
                )

    @handles(Outcome)
    def outcome(self, msg: Outcome) -> None:
        """Take the permit back, then obey the breaker."""
        self._release(msg.permit)
        if msg.rates:
            self.cell.allowances.learn(THE_KEY, msg.rates, self.ctx.now())
            self._show_allowance()
        if msg.epoch != self.ctx.epoch:
            # A stale result says nothing about this life, but its place is free.
            self._serve_queue()
            return
        now = self.ctx.now()
        before = self.health
        self.health, verdict = breaker.record(
            before,
            msg,
            now,
            self.cell.failures_max,
            slow_call_s=self.cell.slow_call_s,
        )
        if self.health.key_refused and not before.key_refused:
            self.cell.key_retry_at = now + admission.KEY_RETRY_S
            self._tell_router(available=False, until=self.cell.key_retry_at, why="key")
        if self.health.cooling_until != before.cooling_until:
            self._tell_router(
                available=False, until=self.health.cooling_until, why="rate"
            )
        if verdict == "trip":
            raise Tripped(f"{self.health.failures} failures, the last was {msg.kind}")
        if verdict == "promote":
            self._promoted()
        self._serve_queue()

    @handles(Proven)
    def proven(self, msg: Proven) -> None:
        """A probe works: the others need not wait for its end."""
        if msg.epoch != self.ctx.epoch or msg.permit not in self.cell.grants:
            return
        self.health, verdict = breaker.proven(self.health)
        if verdict == "promote":
            self._promoted()
            self._serve_queue()

    def _promoted(self) -> None:
        self.ctx.recovered()
        self.cell.load.probation = False
        self._count()
        if not self.cell.paused:
            self._tell_router(available=True, until=None)
        if self.cell.told_down:
            self.cell.told_down = False
            name = self.cell.upstream.name
            self._tell_herald("provider.up", f"provider {name} works again")

    @handles(SetPaused)
    def set_paused(self, msg: SetPaused) -> None:
        """Take no more calls, or take them again. Who waits is sent elsewhere."""
        self.cell.paused = msg.why
        if msg.why:
            self._tell_router(available=False, until=None, why="paused")
            for reply in self.line.everybody():
                reply.reply(self._refuse("paused", PAUSED))
            self.cell.load.queued = 0
        else:
            self._tell_router(available=True, until=None)

    @handles(SetUpstream)
    def set_upstream(self, msg: SetUpstream) -> None:
        """Take the reloaded deployment; permits and health stay."""
        self.cell.upstream = msg.upstream
        self.cell.limits = admission.Limits(msg.in_flight_max, msg.queue_max)
        self.cell.failures_max = msg.failures_max
        self.cell.slow_call_s = msg.slow_call_s
        self.cell.load.in_flight_max = msg.in_flight_max
        self._serve_queue()

    @handles(SetShare)
    def set_share(self, msg: SetShare) -> None:
        """Other processes have come or gone; calls under way stay."""
        cell = self.cell
        cell.limits = admission.Limits(msg.in_flight_max, cell.limits.queue_max)
        cell.load.in_flight_max = msg.in_flight_max
        self._serve_queue()

    @answers(ReportVitals)
    def vitals(self, _msg: ReportVitals) -> Vitals:
        """For metrics and operators."""
        return Vitals(
            name=self.cell.upstream.name,
            state="probation" if self.health.probation else "closed",
            epoch=self.ctx.epoch,
            in_flight=len(self.cell.grants),
            in_flight_max=self.cell.limits.in_flight_max,
            queued=len(self.line),
            failures=self.health.failures,
            cooling_until=self.health.cooling_until,
            key_refused=self.health.key_refused,
            paused=self.cell.paused,
            room=self.cell.allowances.room(THE_KEY, self.ctx.now()),
        )

    def _probing(self) -> int:
        """How many calls are testing this life; a closed breaker need not count."""
        if not self.health.probation:
            return 0
        epoch = self.ctx.epoch
        return sum(g.probe and g.epoch == epoch for g in self.cell.grants.values())

    def _has_spare(self, *, probing: bool) -> bool:
        return admission.has_spare(
            self.health,
            self.cell.limits,
            in_flight=len(self.cell.grants),
            queued=len(self.line),
            probing=probing,
        )

    def _permit(self, msg: Admit, *, probe: bool) -> Permit:
        cell = self.cell
        cell.permits_given += 1
        permit = cell.permits_given
        epoch = self.ctx.epoch
        monitor = self.ctx.monitor(msg.stream)
        cell.grants[permit] = Grant(msg.stream.id, monitor, epoch, probe)
        cell.permit_of[monitor] = permit
        cell.allowances.take(THE_KEY, msg.prompt_tokens, self.ctx.now())
        self._count()
        self._show_allowance()
        return Permit(
            permit, cell.upstream.name, epoch, probe, cell.upstream, cell.load
        )

    def _release(self, permit: int) -> None:
        grant = self.cell.grants.pop(permit, None)
        if grant is not None:
            del self.cell.permit_of[grant.monitor]
            self.ctx.demonitor(grant.monitor)
            self.cell.load.waiting.pop(permit, None)
            self._count()

    def _count(self) -> None:
        """Show the router how busy this is."""
        load = self.cell.load
        load.in_flight = len(self.cell.grants)
        load.queued = len(self.line)
        load.probing = self._probing() > 0

    def _show_allowance(self) -> None:
        load, now = self.cell.load, self.ctx.now()
        load.rate_full_until = self.cell.allowances.full_until(THE_KEY, 0, now) or 0.0
        tokens = self.cell.allowances.tokens_left(THE_KEY)
        if tokens is not None:
            load.tokens_left, load.tokens_reset_at = tokens

    def _serve_queue(self) -> None:
        """Hand freed permits to those who wait, by turns of their sites.

        What a newcomer would be refused for, they are too: a 429 came meanwhile, or the
        last of the rate limit is gone.
        """
        while (
            not self.health.probation
            and len(self.cell.grants) < self.cell.limits.in_flight_max
        ):
            waiting = self.line.next()
            if waiting is None:
                break
            msg, reply = waiting
            now = self.ctx.now()
            decision = self._decide(msg, 0, now)
            if decision == "permit":
                reply.reply(self._permit(msg, probe=False))
            else:
                assert decision in admission.NOT_NOW, decision
                reply.reply(self._not_now(decision, msg, now))
        self.cell.load.queued = len(self.line)

    def _wait(self, msg: Admit) -> Reply:
        reply = self.line.wait(msg)
        reply.on_abandoned(self._forget_gone)
        self.cell.load.queued = len(self.line)
        return reply

    def _forget_gone(self) -> None:
        self.line.forget_gone()
        self.cell.load.queued = len(self.line)

    def _refuse_busy(self) -> Refused:
        return self._refuse(
            "busy",
            f"has all {self.cell.limits.in_flight_max} calls in flight and "
            f"{len(self.line)} waiting",
        )

    def _refuse(
        self, reason: RefusalReason, why: str, retry_at: float | None = None
    ) -> Refused:
        name = self.cell.upstream.name
        return Refused(name, reason, f"provider {name} {why}", retry_at)

    def _tell_herald(self, kind: AlertKind, message: str) -> None:
        herald: Ref[Herald] | None = self.ctx.lookup("herald")
        if herald is not None:
            herald.offer(Raise(kind, self.cell.upstream.name, message))

    def _tell_router(
        self,
        *,
        available: bool,
        until: float | None,
        load: Load | None = None,
        why: str = "open",
    ) -> None:
        router: Ref[Router] | None = self.ctx.lookup("router")
        if router is not None:
            name = self.cell.upstream.name
            router.offer(ProviderChanged(name, available, until, load, why))
