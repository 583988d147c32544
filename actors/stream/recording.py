"""The record of a request, from the stream that served it. Decides; sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.auditor.messages import RequestOutcome, RequestRecord
from actors.router.messages import NoRoute
from actors.stream.planned import planned
from actors.stream.settling import Bill
from wire.dialect import public

if TYPE_CHECKING:
    from actors.stream.actor import Stream


def record_of(stream: Stream) -> RequestRecord:
    """Everything that is kept of it."""
    inquiry, plan, fault = stream.inquiry, stream.plan, stream.fault
    bill = Bill.sum_of([attempt.bill for attempt in stream.attempts])
    last = stream.current  # Of two that raced: the one that answered.
    usage = last.bill.usage or last.relayed.usage if last is not None else None
    first_at = last.first_content_at if last is not None else None
    opened, planned_at = stream.opened, stream.planned_at
    return RequestRecord(
        request_id=inquiry.request_id,
        site=inquiry.site,
        key_id=inquiry.key_id,
        dialect=inquiry.dialect.name,
        model=inquiry.head.model,
        opened_at_ms=stream.opened_at_ms,
        outcome=_outcome(stream),
        status=_status(stream),
        streamed=inquiry.head.stream,
        duration_ms=round((stream.peers.now() - opened) * 1000),
        first_content_ms=0 if first_at is None else round((first_at - opened) * 1000),
        prompt_tokens=usage.prompt if usage is not None else 0,
        cached_tokens=usage.cached if usage is not None else 0,
        output_tokens=usage.completion if usage is not None else 0,
        reasoning_tokens=usage.reasoning if usage is not None else 0,
        usage_estimated=bill.estimated,
        cost_nanousd=bill.nanousd,
        priced=bill.priced,
        overrun_nanousd=bill.overrun_nanousd,
        finish=(last.relayed.finish or "") if last is not None else "",
        code=(fault.code or fault.kind) if fault is not None else "",
        degraded=", ".join(stream.sink.degraded),
        attempts=tuple([a.record for a in stream.attempts if a.record is not None]),
        tenant=stream.home[0],
        env=stream.home[1],
        feature=inquiry.feature,
        user=inquiry.people[0],
        ip=inquiry.people[1],
        planned_ms=round((planned_at - opened) * 1000) if planned_at else 0,
        plan=planned(plan) if plan is not None else (),
        refusal=plan.code if isinstance(plan, NoRoute) else "",
        trace="" if inquiry.trace is None else inquiry.trace.text,
        aside=inquiry.aside.kind if inquiry.aside is not None else "",
        mirror_of=inquiry.aside.of if inquiry.aside is not None else "",
    )


def _status(stream: Stream) -> int:
    if stream.crashed:
        return 500
    # What the client saw; what the provider said is in the attempts.
    return 200 if stream.fault is None else public(stream.fault).status


def _outcome(stream: Stream) -> RequestOutcome:
    if stream.crashed:
        return "crashed"
    if stream.sink.gone:
        return "aborted"
    if stream.fault is not None:
        return "error"
    cut = any(attempt.relayed.cut for attempt in stream.attempts)
    return "cut" if cut else "ok"
