"""The hold that pays for a call, and what it makes of the call. Talks to: ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.ledger.messages import Hold, HoldRefused, TakeHold
from actors.ledger.pricing import has_1h, to_hold
from actors.provider.messages import Upstream
from actors.stream import faults
from runtime import Later
from wire.events import Fault

if TYPE_CHECKING:
    from actors.stream.attempt import Attempt

# A hold for less than this is no hold; OpenAI's Responses take no smaller bound.
SHORT_ANSWER_TOKENS_MIN = 16
SHORT_ANSWER = "short-hold"  # In x-stagedoor-degraded: as long as there was money for.


async def take_hold(attempt: Attempt, upstream: Upstream) -> Hold | Fault:
    """Hold the worst case of it; what is refused is told as the client's fault."""
    deployment = attempt.candidate.deployment
    price = upstream.price(deployment.model)
    attempt.bill.priced = price is not None
    head = attempt.inquiry.head
    bound = attempt.bound or head.max_output_tokens
    held_at = None if price is None else to_hold(price, head.service_tier)
    held = attempt.peers.ledger.ask_now(
        TakeHold(
            stream=attempt.stream,
            site=attempt.inquiry.site,
            provider=deployment.provider,
            model=deployment.model,
            prompt_tokens_max=attempt.length.most,
            output_tokens_max=None if bound is None else bound * head.n,
            price=held_at,
            meter=attempt.meter,
            audio="audio" in head.needs,
            # No dialect writes it but where the client's own body has it.
            cache_1h=(
                held_at is not None
                and has_1h(held_at)
                and _says_1h(attempt.inquiry.body)
            ),
            key_id=attempt.inquiry.key_id,
            asked=attempt.plan.model,
            output_tokens_least=SHORT_ANSWER_TOKENS_MIN * head.n,
            output_tokens_limit=_answer_tokens_most(attempt),
        )
    )
    if isinstance(held, Later):
        held = await held
    if isinstance(held, HoldRefused):
        return faults.hold_refused(held, for_page=attempt.inquiry.for_page)
    return held


def _answer_tokens_most(attempt: Attempt) -> int | None:
    """No answer is longer than its model's window, where that is known."""
    window = attempt.candidate.window_tokens
    return None if window is None else window * attempt.inquiry.head.n


def is_short(attempt: Attempt, held: Hold) -> bool:
    """Whether the hold pays for less than was asked: then the answer is shorter."""
    bound = attempt.bound
    paid = held.output_tokens_max
    if bound is None or paid is None or paid >= bound * attempt.inquiry.head.n:
        return False
    attempt.bound = paid // attempt.inquiry.head.n
    attempt.sink.degrade(SHORT_ANSWER)
    return True


def _says_1h(body: bytes) -> bool:
    """Whether "1h" may be in it: the word, or an escape that spells it otherwise."""
    return b'"1h"' in body or b"\\u0031" in body or b"\\u0068" in body
