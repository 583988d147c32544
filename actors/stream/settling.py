"""What is told of a call once it is over, and what it cost. Decides; sends nothing.

Each function makes one message out of an attempt: for the provider's breaker, for the
router's book, for the ledger, for the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import attrs
import msgspec

from actors.auditor.messages import AttemptRecord
from actors.ledger.messages import Hold, Settle
from actors.ledger.pricing import cost, served
from actors.provider.messages import OUTCOME_OF_FAULT, Outcome, OutcomeKind, Permit
from actors.router.messages import Observed
from wire.events import Fault, Usage

if TYPE_CHECKING:
    from actors.stream.attempt import Attempt


@attrs.define
class Bill:
    """What an attempt cost, or all of a request's, as far as is known."""

    usage: Usage | None = None
    estimated: bool = False
    nanousd: int = 0
    priced: bool = True
    overrun_nanousd: int = 0

    @classmethod
    def sum_of(cls, bills: Sequence[Bill]) -> Bill:
        """All of a request's as one; whose usage it is stays open."""
        if len(bills) == 1:
            return bills[0]
        return cls(
            estimated=any(bill.estimated for bill in bills),
            nanousd=sum([bill.nanousd for bill in bills]),
            priced=all(bill.priced for bill in bills),
            overrun_nanousd=sum([bill.overrun_nanousd for bill in bills]),
        )


def outcome_kind(attempt: Attempt, fault: Fault | None, finished: bool) -> OutcomeKind:
    """What a call says of its provider."""
    if fault is None:
        # Without a fault and unfinished: a crash of ours, or a stop. That must not
        # close the breaker of a provider that has answered nothing.
        return "ok" if finished else "cancelled"
    if not finished and not attempt.ended_by:
        # Waiting for a permit, or for its key, says nothing about the provider's speed.
        ours = attempt.phase == "queue" or attempt.keyless
        return "cancelled" if ours else "slow"
    return OUTCOME_OF_FAULT[fault.kind]


def outcome(
    attempt: Attempt,
    permit: Permit,
    kind: OutcomeKind,
    fault: Fault | None,
    now: float,
) -> Outcome:
    """For the provider: the permit, and what its breaker has to know."""
    return Outcome(
        permit=permit.id,
        epoch=permit.epoch,
        kind=kind,
        model=attempt.candidate.deployment.model,
        retry_after_s=fault.retry_after_s if fault else None,
        first_content_s=_first_content_s(attempt),
        total_s=now - attempt.sent_at,
        rates=attempt.told.rates,
    )


def observed(attempt: Attempt, kind: OutcomeKind, now: float) -> Observed:
    """For the router: how this deployment did."""
    inquiry, usage = attempt.inquiry, attempt.relayed.usage
    return Observed(
        deployment=attempt.candidate.deployment,
        outcome=kind,
        prompt_tokens=attempt.meter.prompt_tokens,
        output_tokens=attempt.meter.output_tokens,
        first_content_s=_first_content_s(attempt),
        total_s=now - attempt.sent_at,
        cached_tokens=usage.cached if usage is not None else 0,
        in_flight=attempt.candidate.in_flight,
        affinity=crc32(inquiry.head.prefix),
        model=attempt.plan.model,
        streamed=inquiry.head.stream,
    )


def record(
    attempt: Attempt, kind: OutcomeKind, fault: Fault | None, now: float
) -> AttemptRecord:
    """For the record of the request."""
    began, first_at = attempt.began, attempt.first_content_at
    deployment = attempt.candidate.deployment
    return AttemptRecord(
        provider=deployment.provider,
        model=deployment.model,
        outcome=kind,
        status=attempt.status,
        code=(fault.code or fault.kind) if fault is not None else "",
        phase=attempt.phase if kind == "slow" else "",
        first_content_ms=0 if first_at is None else round((first_at - began) * 1000),
        total_ms=round((now - began) * 1000),
        upstream_request_id=attempt.told.request_id,
        route=attempt.plan.model,
        cost_nanousd=attempt.bill.nanousd,
        held_at_ms=0 if attempt.hold is None else attempt.hold.at_ms,
        began_ms=round((began - attempt.opened) * 1000),
        queued_ms=round((attempt.sent_at - began) * 1000),
        leased_ms=round((attempt.leased_at - began) * 1000),
        head_ms=round((attempt.head_at - began) * 1000),
    )


def settle(attempt: Attempt, permit: Permit, hold: Hold) -> Settle:
    """For the ledger: what the call cost, which is written into its bill."""
    bill, relayed = attempt.bill, attempt.relayed
    counted = attempt.meter.output_tokens
    bill.usage = relayed.usage
    if bill.usage is None:
        if attempt.meter.accepted or _is_billed_unheard(attempt, permit):
            bill.estimated = True
            bill.usage = Usage(prompt=attempt.meter.prompt_tokens, completion=counted)
    elif _is_partial(attempt):
        # Some say at the start what the prompt was, and only at the end what the
        # answer was: of one that was left early, what came of it was counted here.
        if counted > bill.usage.completion:
            bill.estimated = True
            bill.usage = msgspec.structs.replace(bill.usage, completion=counted)
    else:
        deployment = attempt.candidate.deployment
        attempt.prompt.learned(deployment, bill.usage, relayed.chars)
    price = permit.upstream.price(attempt.candidate.deployment.model)
    if price is not None and bill.usage is not None:
        service = attempt.inquiry.head.service_tier
        bill.nanousd = cost(served(price, service, relayed.service), bill.usage)
        if hold.output_tokens_max is not None:
            bill.overrun_nanousd = max(0, bill.nanousd - hold.nanousd)
    output_tokens = 0 if bill.usage is None else bill.usage.completion
    return Settle(hold.id, bill.nanousd, output_tokens)


def _first_content_s(attempt: Attempt) -> float | None:
    at = attempt.first_content_at
    return None if at is None else at - attempt.sent_at


def _is_billed_unheard(attempt: Attempt, permit: Permit) -> bool:
    """Whether we left before a word came, where that does not stop the bill."""
    return attempt.left_unheard and permit.upstream.on_abort == "drain"


def _is_partial(attempt: Attempt) -> bool:
    """Whether a stream was left before its provider had told what it came to."""
    relayed = attempt.relayed
    streamed = attempt.inquiry.head.stream
    return streamed and (relayed.finish is None or relayed.cut)
