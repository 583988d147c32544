"""What a stream asks before anybody is called, out of what its client asks. Pure.

One function a message: for the slot in the records, for the ledger's word on how
thrifty it must be, for the router's plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from actors.auditor.messages import OpenRecord
from actors.ledger.messages import Enter, Standing
from actors.router.messages import Candidate, MakePlan, Plan
from actors.stream import policy
from actors.stream.messages import Inquiry
from actors.stream.prompt import Length
from runtime import Ref

if TYPE_CHECKING:
    from actors.stream.actor import Stream


def slot_for(
    stream: Ref[Stream], inquiry: Inquiry, opened_at_ms: int, home: tuple[str, str]
) -> OpenRecord:
    """A place in the records."""
    return OpenRecord(
        stream=stream,
        request_id=inquiry.request_id,
        site=inquiry.site,
        key_id=inquiry.key_id,
        dialect=inquiry.dialect.name,
        model=inquiry.head.model,
        streamed=inquiry.head.stream,
        opened_at_ms=opened_at_ms,
        home=home,
    )


def entry_of(
    stream: Ref[Stream], inquiry: Inquiry, length: Length, rung_min: int
) -> Enter:
    """To be counted at the ledger."""
    return Enter(
        stream=stream,
        site=inquiry.site,
        key_id=inquiry.key_id,
        model=inquiry.head.model,
        # A count bills nothing.
        prompt_tokens=0 if inquiry.operation == "count" else length.tokens,
        rung_min=rung_min,
        terms=inquiry.terms,
    )


def plan_for(inquiry: Inquiry, length: Length, standing: Standing) -> MakePlan:
    """Who may serve it, at the standing that its site has."""
    bound = inquiry.head.max_output_tokens
    shorter = standing.output_tokens_max
    if shorter is not None:
        bound = shorter if bound is None else min(bound, shorter)
    return MakePlan(
        site=inquiry.site,
        model=standing.model or inquiry.head.model,
        dialect=inquiry.dialect.name,
        prompt_tokens=length.tokens,
        prompt_tokens_max=length.most,
        output_tokens_max=bound,
        needs=inquiry.head.needs,
        stream=inquiry.head.stream,
        affinity=crc32(inquiry.head.prefix),
        thrift=standing.thrift,
        terms=inquiry.terms,
    )


def trial_of(inquiry: Inquiry) -> Plan | None:
    """The plan of an operator's trial, which nobody makes: whoever is tried."""
    if inquiry.only is None:
        return None
    bound = inquiry.head.max_output_tokens
    only = Candidate(inquiry.only)
    return Plan(inquiry.head.model, (only,), (), output_tokens_max=bound)


def ordered(plan: Plan, stored_at: str) -> Plan:
    """The plan, with whoever stores what this goes on from in front."""
    if not stored_at:
        return plan
    candidates = policy.first_at(plan.candidates, stored_at)
    return msgspec.structs.replace(plan, candidates=candidates)
