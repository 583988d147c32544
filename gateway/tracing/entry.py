"""Where a request is in a trace, and which requests' spans are told.

Owns: the decision to sample. Never: does I/O; `offer` must not wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

from actors.auditor.messages import RequestRecord
from gateway.settings.tracing import PER_MILLION, TracingConfig
from wire.trace_context import Trace, parent_of

TRACE_BYTES: Final = 16
SPAN_BYTES: Final = 8
CHANCE_BYTES: Final = 7  # Of a trace's id: what other samplers go by, too.


class Tracing:
    """Places requests in traces."""

    def __init__(
        self,
        settings: TracingConfig,
        offer: Callable[[RequestRecord], None],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._outward = settings.to_providers
        # By the id and not by another die: whoever samples by it, samples the same.
        self._below = settings.sample_per_million * 2 ** (8 * CHANCE_BYTES)
        self._offer = offer
        self._entropy = entropy

    def __repr__(self) -> str:
        """Whether providers hear of it."""
        return f"<Tracing outward={self._outward}>"

    def begin(self, fields: Iterable[tuple[bytes, bytes]]) -> Trace:
        """A request's place, of the header fields that its client sent."""
        parent = parent_of(fields)
        if parent is not None:
            return Trace(
                parent.trace_id,
                self._entropy(SPAN_BYTES).hex(),
                parent.span_id,
                sampled=parent.sampled,
                state=parent.state,
                outward=self._outward,
            )
        drawn = self._entropy(TRACE_BYTES + SPAN_BYTES)
        chance = int.from_bytes(drawn[TRACE_BYTES - CHANCE_BYTES : TRACE_BYTES])
        return Trace(
            drawn[:TRACE_BYTES].hex(),
            drawn[TRACE_BYTES:].hex(),
            sampled=chance * PER_MILLION < self._below,
            outward=self._outward,
        )

    def ended(self, record: RequestRecord) -> None:
        """A request that was traced has ended: tell its spans, if it is sampled."""
        if record.trace.endswith("-1"):
            self._offer(record)
