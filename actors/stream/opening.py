"""What a call is to send, and how its answer is read. Decides; sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.provider.messages import Upstream
from actors.stream.hooked import Hooked
from actors.stream.hooks.api import Started
from actors.stream.hooks.pipeline import Pipeline
from actors.stream.hooks.placed import Placed
from wire.count_exchange import open_count_at
from wire.exchange import Exchange, open_exchange
from wire.side_exchanges import open_embed

if TYPE_CHECKING:
    from actors.stream.attempt import Attempt


def open_call(attempt: Attempt, upstream: Upstream) -> Exchange:
    """Settle what is sent and how the answer is read. Raises ClientError."""
    inquiry = attempt.inquiry
    target = upstream.target(attempt.candidate.deployment.model, attempt.bound)
    speech = upstream.speech
    if inquiry.operation == "count":
        return open_count_at(
            inquiry.dialect,
            speech,
            body=inquiry.body,
            headers=inquiry.headers,
            target=target,
        )
    if inquiry.operation == "embed":
        return open_embed(
            speech.embedder,
            body=inquiry.body,
            headers=inquiry.headers,
            head=inquiry.head,
            target=target,
            model=inquiry.head.model,
        )
    placed = attempt.peers.hooks.of(inquiry.site, inquiry.head.model)
    if placed:
        attempt.hooked = _hooks(attempt, placed)
    return open_exchange(
        inquiry.dialect,
        speech.dialect_for(inquiry.dialect.name),
        body=inquiry.body_for(upstream.name),
        headers=inquiry.headers,
        head=inquiry.head,
        target=target,
        reply=attempt.sink.reply,
        edited=bool(placed),
    )


def _hooks(attempt: Attempt, placed: tuple[Placed, ...]) -> Hooked:
    inquiry = attempt.inquiry
    started = Started(
        request_id=inquiry.request_id,
        site=inquiry.site,
        model=inquiry.head.model,
        provider=attempt.source,
        dialect=inquiry.dialect.name,
        streamed=inquiry.head.stream,
    )
    return Hooked(Pipeline(placed, started, attempt.peers.tick))
